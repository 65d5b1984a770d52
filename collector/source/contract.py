"""The plugin contract: what a source is, what it is given, what it gives back.

A source reads the accounting that a scheduler writes and yields **batches** of **jobs**, each with
the **checkpoint** that is right once the batch is stored. It stores nothing itself and sends
nothing: the host maps each job to a Record, commits records and checkpoint together, and hands the
last committed checkpoint to the next poll. A source can therefore not lose a job by crashing; it
loses one only by yielding a checkpoint that lies beyond what it has read. That is the one promise
a source has to keep, and the contract tests (`collector.source.testing`) check it.

A source is found by the entry-point group `collector.sources`; see `docs/write-a-source.md`.
"""

import importlib.metadata
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from collector.config import SourceSection
from collector.config.load import FIELD_NAMES
from collector.config.mistakes import did_you_mean
from collector.job import Job, Value
from collector.logs import Log

if TYPE_CHECKING:
    from collector.source.proposal import Proposal

__all__ = [
    "Batch",
    "Checkpoint",
    "Context",
    "Filtered",
    "Finding",
    "Job",
    "Lag",
    "Source",
    "SourceError",
    "Stop",
    "UnknownPluginError",
    "Unreadable",
    "Value",
    "find_plugin",
    "installed_plugins",
]

ENTRY_POINTS = "collector.sources"

Checkpoint = Any
"""Whatever JSON a source needs to go on reading; opaque to everybody else."""


class SourceError(Exception):
    """Raised by a source that cannot read now: what was tried, what happened, what to do.

    Nothing is lost by it: the next poll starts at the last committed checkpoint.
    """


class Unreadable(msgspec.Struct):
    """A piece of input that is surely accounting, but of which no job can be made."""

    raw: bytes
    where: str
    reason: str
    """What was expected, what stands there, what to do."""


class Filtered(msgspec.Struct, frozen=True):
    """A job that is not to be accounted, by what the batch system says of it."""

    reason: str
    """E.g. `never started`; counted by it."""


class Stop(msgspec.Struct):
    """The end of a run whose record was yielded before without a stop time."""

    id: str
    """`Job.id` of that run."""
    stop_at: datetime
    """End of the run, aware."""


class Batch(msgspec.Struct):
    """Jobs that were read together, and the checkpoint that is right once they are stored.

    Every job of the input is in exactly one of `jobs`, `unreadable` and `filtered`.
    """

    jobs: list[Job] = []
    unreadable: list[Unreadable] = []
    filtered: dict[str, int] = {}
    """Reason → number of jobs that are not to be accounted, e.g. `never started`."""
    stops: list[Stop] = []
    checkpoint: Checkpoint = None
    """None in a backfill, which has none."""
    progress: float | None = None
    """Share of this poll's input that was read so far, 0 to 1; None where it is not known."""

    @property
    def read(self) -> int:
        """How many jobs of the input this batch accounts for."""
        return len(self.jobs) + len(self.unreadable) + sum(self.filtered.values())


class Context(msgspec.Struct):
    """What the host gives to a source: everything that a test wants to replace."""

    name: str
    """The source's name in the configuration."""
    log: Log
    now: Callable[[], datetime]
    """The time, aware."""
    stop: threading.Event
    """Set when the program is to end: yield what is read, and return."""
    fields: frozenset[str] | None = None
    """The fields that mapping and filters name, so that others need not be read; None: all."""


Level = Literal["ok", "note", "warning", "error"]


class Finding(msgspec.Struct):
    """What a check of a source found."""

    ok: bool
    """Whether the source can be used; of an error it is False."""
    text: str
    """What was looked at and what was found; for a problem also what to do."""
    level: Level | None = None
    """`ok`; `note`, what one may want to know, shown with `-v`; `warning`, what may be wrong and
    stops nothing; `error`. By `ok` if it is not given: `ok` or `error`."""

    def __post_init__(self) -> None:
        if self.level is None:
            self.level = "ok" if self.ok else "error"

    @classmethod
    def note(cls, text: str) -> "Finding":
        """What one may want to know, as a mode that could be used instead."""
        return cls(True, text, "note")

    @classmethod
    def warning(cls, text: str) -> "Finding":
        """What may be wrong, and stops nothing."""
        return cls(True, text, "warning")

    @classmethod
    def error(cls, text: str) -> "Finding":
        """What makes the source unusable, and what to do."""
        return cls(False, text, "error")


class Lag(msgspec.Struct):
    """How far a source is behind, and how far it may be before something is lost."""

    behind_s: float
    """Age of the oldest accounting that is not read yet, in seconds; 0 when all is read."""
    kept_s: float | None = None
    """How far back the scheduler's own log reaches, in seconds; None where that is not known, or
    it has lost nothing yet."""

    @classmethod
    def of_files(
        cls,
        now: datetime,
        *,
        unread: float | None,
        oldest: float | None,
        oldest_unread: bool,
    ) -> "Lag":
        """Of log files of which the scheduler removes the oldest, as soon as the newest is full.

        Args:
            now: the time, aware.
            unread: when the oldest accounting that is not read was written, in epoch seconds; None
                if all is read.
            oldest: when the oldest file began; None if there is but one, so that the next rotation
                removes nothing.
            oldest_unread: whether the oldest file holds something that is not read. Then the log
                keeps no more than that, however far back the file reaches: it goes next.
        """
        behind_s = 0.0 if unread is None else max(0.0, now.timestamp() - unread)
        if oldest is None:
            return cls(behind_s)
        return cls(behind_s, behind_s if oldest_unread else max(0.0, now.timestamp() - oldest))


class Source(ABC):
    """Reads one scheduler's accounting.

    One object reads one source for as long as the configuration stays the same. It is called by
    one thread at a time, and keeps no state that a checkpoint does not hold, but to save work.
    """

    Section: ClassVar[type[SourceSection]] = SourceSection
    """The keys of this plugin's section in the configuration: a subclass of SourceSection."""

    mapping: ClassVar[str] = ""
    """The default mapping: YAML, as under `mapping:` in the configuration."""

    field_names: ClassVar[str] = FIELD_NAMES
    """A regular expression of what can be the name of a field; anything else in a mapping rule is a
    constant that its author forgot to write as `{value: …}`."""

    user_field: ClassVar[str | None] = None
    """The field with the name of a job's user, to tell one user's fault from the site's."""

    may_correct_stop_time: ClassVar[bool] = False
    """Whether a run that is read again may carry a corrected stop time. If not, the first reading
    of a run stands, and a later, different one is an artefact (HTCondor after a crash)."""

    witnesses: ClassVar[tuple[str, ...]] = ()
    """Fields that say when a run began and ended; `explain` shows each of them, and which agree
    with the start and the end that were chosen."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """What `auditor-collector init` can write a section for, e.g. `("slurm",)`; see `propose`."""

    @classmethod
    def propose(cls, kind: str) -> "Proposal | None":  # noqa: ARG003 - for plugins with `kinds`
        """The section of a kind for this machine, by asking the scheduler's tools; reads no job."""
        return None

    def __init__(self, section: SourceSection, context: Context) -> None:
        """Keeps both; opens, reads and runs nothing.

        Raises:
            ConfigError: when the section's keys contradict each other.
        """
        self.section = section
        self.context = context

    @abstractmethod
    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Reads what is new since a checkpoint, oldest first, in bounded batches.

        Args:
            checkpoint: of the last batch that was stored; None at the very first poll.

        Yields:
            Batches; each batch's checkpoint covers exactly what was yielded so far. A poll that
            finds nothing may yield nothing, or one empty batch to move its checkpoint.

        Raises:
            SourceError: when the input cannot be read, or breaks off. What was yielded before
                stands.
        """

    def lag(self, checkpoint: Checkpoint | None) -> Lag | None:  # noqa: ARG002 - for those that know
        """How far a checkpoint is behind what there is to read.

        It is asked after each poll, whether that was good or failed, and now and then between two
        batches of a long one; so it has to be cheap: a stat and a small read for each file, no
        command. What the next poll will read in due course is no lag: it is 0 soon after a good
        one.

        Returns:
            None where that is not known, as here.

        Raises:
            SourceError: when the input cannot be read.
        """
        return None

    def unproved(self, checkpoint: Checkpoint | None) -> str | None:  # noqa: ARG002 - likewise
        """Why an empty answer of the scheduler could only be believed, for `status`; cheap, and
        without a command.

        Returns:
            None where it is proved that there was nothing, or something was read.
        """
        return None

    @abstractmethod
    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads the runs that ended in a period, `since <= stop_at < until`, whatever was read
        before.

        Yields:
            Batches without checkpoint.

        Raises:
            SourceError: when the period cannot be read in full.
        """

    def one(self, job_id: str) -> Batch:
        """Reads the runs of one job that have ended, for a script that runs when a job ends.

        Args:
            job_id: as the scheduler gives it to that script.

        Returns:
            A batch without checkpoint; empty when the end is not known yet.

        Raises:
            SourceError: when it cannot be read.
            ValueError: when it is no job id.
        """
        raise SourceError(
            f"plugin {self.section.plugin} cannot read a single job ({job_id}); polls read it"
        )

    def newest(self, number: int) -> list[Job | Unreadable]:
        """Reads the newest jobs that have ended, for `check` and `explain`.

        As here, it asks `backfill` for growing periods until there are enough, or `context.stop` is
        set. A source that can read its newest jobs directly does so.

        Args:
            number: how many are wanted; fewer where there are fewer.

        Raises:
            SourceError: when nothing can be read.
        """
        now, found = self.context.now(), deque[Job | Unreadable](maxlen=number)
        for hours in (1, 6, 24, 7 * 24, 31 * 24):
            found.clear()
            for batch in self.backfill(now - timedelta(hours=hours), now):
                found += batch.unreadable
                found += batch.jobs
            if len(found) == number or self.context.stop.is_set():
                break
        return list(found)

    def readable_since(self) -> datetime | None:
        """Since when every run that ended can still be read, for `reconcile`.

        Returns:
            An instant; None where that is not known, or nothing was lost yet. As here: how far the
            scheduler's own log reaches back.

        Raises:
            SourceError: when the input cannot be read.
        """
        lag = self.lag(None)
        if lag is None or lag.kept_s is None:
            return None
        return self.context.now() - timedelta(seconds=lag.kept_s)

    def scheduler_of(self, job_id: str) -> str | None:  # noqa: ARG002 - for those that know
        """Which scheduler an id names, so that `reconcile` knows its records from those of others.

        Another collector's prefix may begin with ours: `slurm-lab-31` is not job `lab-31` of a
        source with the prefix `slurm`.

        Args:
            job_id: a record id without our prefix.

        Returns:
            The name of a schedd or cluster; "" where ids name none, as here; None for a text that
            cannot be the id of a job of this source.
        """
        return ""

    @abstractmethod
    def parse(self, raw: bytes, where: str) -> Job | Unreadable | Filtered:
        """Makes a job of the raw text of one, as `Job.raw` or `Unreadable.raw` has it."""

    @abstractmethod
    def check(self) -> Iterator[Finding]:
        """Looks whether the source can be read here and now, without reading it all."""


class UnknownPluginError(LookupError):
    """Raised for a plugin name that no installed distribution offers; lists those that are."""


def installed_plugins() -> list[str]:
    """Names of the source plugins that are installed, sorted."""
    return sorted({point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS)})


def find_plugin(name: str) -> type[Source]:
    """Loads the source class of a plugin.

    Raises:
        UnknownPluginError: when no such plugin is installed.
        TypeError: when what is installed under that name is not a Source.
    """
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        plugin = point.load()
        if not (isinstance(plugin, type) and issubclass(plugin, Source)):
            raise TypeError(f"plugin {name!r}: {point.value} is not a subclass of Source")
        return plugin
    installed = installed_plugins()
    hint = did_you_mean(name, installed)
    raise UnknownPluginError(
        f"no source plugin {name!r} is installed; installed are: {', '.join(installed)}{hint}"
    )
