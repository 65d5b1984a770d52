"""Calls `sacct`: in UTC and epoch seconds, with bounded questions, and gives the runs it prints.

Source: sacct(1); behaviour measured on Slurm 22.05, 24.11 and 26.05, see `docs/slurm.md`.
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from collector.source import Context, SourceError, Value
from collector.source.command import output_of
from collector.source.windows import Window
from collector_slurm.columns import KEY_COLUMNS, KEYS, Columns, unknown_fields
from collector_slurm.rows import OutputError, runs_of
from collector_slurm.run import RUNNING_STATES, Run
from collector_slurm.section import SlurmSection

_NUMBER = re.compile(r"\d+")
_TOKEN_BYTES = 9
_NOT_PASSED_ON = ("SACCT_", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN")


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for Slurm's commands: times in UTC and as epoch seconds, no habits of a user.

    Source: sacct(1), "ENVIRONMENT VARIABLES".
    """
    kept = {name: value for name, value in given.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "TZ": "UTC", "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C.UTF-8"}


class Sacct:
    """The command, with the options of a section.

    Every method raises a SourceError when it cannot be run, fails, takes too long, or prints what
    is not whole rows; those that give runs raise it at the end, when some may have been given.
    """

    def __init__(self, section: SlurmSection, context: Context) -> None:
        self._section = section
        self._context = context
        self._reported = False
        self._said: list[str] = []
        self._harmless: set[str] = set()
        self.complaint = ""
        """Errors that came with the last window, if that showed no run and if they do not come at
        calls that are known to be good."""

    def version(self) -> str:
        """Slurm's version, as `sacct` calls it."""
        return self._printed("--version")

    def offered(self) -> frozenset[str]:
        """The columns that this `sacct` has."""
        return frozenset(self._printed("--helpformat").split())

    def columns(self, *more: str) -> Columns:
        """Chooses what the mapping needs, and more, of what this `sacct` offers."""
        offered = self.offered()
        missing = [name for name in KEY_COLUMNS if name not in offered]
        if missing:
            raise SourceError(
                f"{self._section.sacct} --helpformat does not offer {', '.join(missing)}; "
                "is it Slurm's sacct, of 20.11 or later?"
            )
        fields = self._context.fields
        if not self._reported:
            self._reported = True
            for text in unknown_fields(fields, offered):
                self._context.log.warning("field is no column of sacct", hint=text)
        return Columns.choose(
            fields if fields is None else fields.union(more),
            offered,
            lambda: secrets.token_urlsafe(_TOKEN_BYTES),
        )

    def ended_in(self, window: Window, columns: Columns, cluster: str = "") -> Iterator[Run]:
        """The runs that ended in a window, by the section's states and filters, without steps.

        Args:
            window: the seconds.
            columns: what is wanted of them.
            cluster: only of this one of the section's clusters.
        """
        # A window of one second would show two.
        for run in self._in(window, self._section.states, columns, cluster=cluster):
            if window.begin <= run.ended < window.end:
                yield run

    def running_at(self, second: int, columns: Columns, *more: str) -> Iterator[Run]:
        """The runs that have started and not ended, by the section's filters, without steps."""
        for run in self._in(Window(second - 1, second + 1), RUNNING_STATES, columns, *more):
            if run.is_running:
                yield run

    def of_jobs(self, ids: Iterable[Value], columns: Columns, cluster: str = "") -> Iterator[Run]:
        """All runs of jobs that are named, with all of their steps if the columns want them."""
        return self._runs([f"--jobs={','.join(map(str, ids))}"], columns, cluster)

    def let_through(self, job_id: str, now: int) -> Iterator[Run]:
        """The runs of a job that the section's states and filters let through: ended, or running
        in this second (`-s R` with a long window would show all that ran in it).
        """
        named = f"--jobs={job_id}"
        yield from self._in(Window(0, now + 2), self._section.states, KEYS, named)
        yield from self.running_at(now, KEYS, named)

    def _in(
        self,
        window: Window,
        states: Iterable[str],
        columns: Columns,
        *more: str,
        cluster: str = "",
    ) -> Iterator[Run]:
        """The runs that a window shows; without `-E`, `-s` would show none."""
        section = self._section
        filters = {
            "partition": section.partitions,
            "user": section.users,
            "group": section.groups,
            "accounts": section.accounts,
            "qos": section.qos,
        }
        arguments = [
            f"--starttime={_utc(window.begin)}",
            f"--endtime={_utc(window.end - 1)}",
            f"--state={','.join(states)}",
            *(f"--{name}={','.join(values)}" for name, values in filters.items() if values),
            *([] if section.users else ["--allusers"]),
            *more,
        ]
        shown = False
        for run in self._runs(arguments, columns.without_steps(), cluster):
            shown = True
            yield run
        errors = {_known_as(line) for line in self._said if "error:" in line.lower()}
        unknown = errors - self._harmless
        self.complaint = "" if shown or not unknown else " | ".join(self._said)

    def _runs(self, arguments: list[str], columns: Columns, cluster: str = "") -> Iterator[Run]:
        section = self._section
        clusters = cluster or ",".join(section.clusters)
        command = [
            section.sacct,
            "--duplicates",
            "--parsable",
            "--noheader",
            "--noconvert",
            f"--delimiter={columns.delimiter}",
            f"--format={','.join(columns.names)}",
            *([] if columns.steps else ["--allocations"]),
            f"--clusters={clusters}" if clusters else "--local",
            *arguments,
        ]
        shown = False
        try:
            for run in runs_of(self._output(command), columns):
                shown = True
                yield run
        except OutputError as error:
            raise SourceError(f"{' '.join(command)!r}: {error}") from error
        if shown:
            self._harmless.update(map(_known_as, self._said))

    def _printed(self, option: str) -> str:
        text = b"".join(self._output([self._section.sacct, option])).decode(errors="replace")
        if text:
            self._harmless.update(map(_known_as, self._said))
        return text.strip()

    def _output(self, command: list[str]) -> Iterator[bytes]:
        def hear(said: str) -> None:
            self._said = said.split(" | ") if said else []

        timeout_s, stop = self._section.timeout_s, self._context.stop
        return output_of(command, timeout_s, stop, environment(), on_said=hear)


def _known_as(line: str) -> str:
    """A line of standard error without what differs from call to call."""
    return _NUMBER.sub("#", line)


def _utc(second: int) -> str:
    """An instant as `sacct -S` reads it, in UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
