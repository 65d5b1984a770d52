"""Reads ended runs from the jobcomp log.

What is promised, and how:

- *Every line.* The checkpoint says how many bytes of which file have been read, and moves past
  whole entries only; rotated files are found by their first line (`follow.py`).
- *Every run once.* The log writes a run once more when a finished job is requeued: same job, same
  start, a later end; that is the same run, corrected. A run with another start is another run, and
  gets its start in its id. Jobs that may run again are remembered in the checkpoint until then.
- *What the log does not know* is left out: CPU time, memory that was used, suspended time, and how
  long a job ran before it was resized.
"""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from collector.source import Batch, Context, Finding, Job, Lag, SourceError, Unreadable, Value
from collector.source.command import output_of
from collector_slurm import local_times
from collector_slurm.jobcomp_text import Entry, entries_of, values_of
from collector_slurm.rotation import Part, Place, all_parts, lines_of, parts_since, unread_parts
from collector_slurm.section import SlurmSection

_BATCH_ENTRIES = 1000
_MACHINE_ZONE = Path("/etc/localtime")
_DAY_S = 86400
_WHOLE_LINES_SINCE = (24, 11)
"""The oldest release that was seen to cut no line of the log; 22.05 does."""
_FORGET_ENDED_S = _DAY_S
_FORGET_PENDING_S = 90 * _DAY_S
_AGAIN = frozenset({"REQUEUED", "NODE_FAIL", "PREEMPTED", "RESIZING", "BOOT_FAIL"})
"""States after which the same job may run again."""
_NUMBERS = ("UID", "GID", "NNodes", "AllocCPUS")
_CODES = {
    "BOOT_FAIL": "BF",
    "CANCELLED": "CA",
    "COMPLETED": "CD",
    "DEADLINE": "DL",
    "FAILED": "F",
    "NODE_FAIL": "NF",
    "OUT_OF_MEMORY": "OOM",
    "PREEMPTED": "PR",
    "REQUEUED": "RQ",
    "RESIZING": "RS",
    "REVOKED": "RV",
    "TIMEOUT": "TO",
}


class First(msgspec.Struct, array_like=True):
    """The first run of a job that may run again."""

    start: int
    end: int
    """End of the job's latest run."""
    resized: bool
    again: bool
    """Whether another run must follow."""


class JobcompCheckpoint(msgspec.Struct, kw_only=True, tag_field="mode", tag="jobcomp"):
    """How far the log has been read; instants in epoch seconds."""

    head: str = ""
    position: int = 0
    ended: int = 0
    """End of the last run that was read: the log is in this order."""
    firsts: dict[str, First] = {}
    """Job id → its first run, for jobs that may run again."""

    @property
    def place(self) -> Place | None:
        """Where to read on; None: nothing was read yet."""
        return Place(self.head, self.position) if self.head else None


class Line(msgspec.Struct):
    """An entry with what the entries before it tell about it; kept as `Job.raw`."""

    text: str
    after: int
    """End of the run in the entry before, in epoch seconds."""
    first: bool | None = None
    """Whether it is its job's first run."""


class JobcompLog:
    """Reads runs from the jobcomp log."""

    def __init__(self, section: SlurmSection, context: Context) -> None:
        assert section.jobcomp_path is not None
        self._section = section
        self._context = context
        self._path: Path = section.jobcomp_path
        self._identity = section.identity()
        self._zone = _zone(section.time_zone)
        self._cuts: bool | None = None
        self._states = {_CODES.get(one, one) for one in map(str.upper, section.states)}

    def poll(self, checkpoint: JobcompCheckpoint | None) -> Iterator[Batch]:
        """Reads what was added since the checkpoint; see `Source.poll`."""
        at = checkpoint or JobcompCheckpoint()
        parts, found = parts_since(self._path, at.place)
        if not found:
            self._context.log.warning(
                "jobcomp log cut: the file that was read last is gone; reading all that there are",
                path=str(self._path),
                position=at.position,
            )
        for part in parts:
            for batch in self._read(part, at):
                batch.checkpoint = msgspec.to_builtins(at)
                yield batch
                if self._context.stop.is_set():
                    return

    def lag(self, checkpoint: JobcompCheckpoint | None) -> Lag:
        """Looks at the next entry, and at the first one that there is; see `Source.lag`."""
        at, parts = checkpoint or JobcompCheckpoint(), all_parts(self._path)
        unread = None
        oldest_unread = False
        for part in unread_parts(parts, at.place)[0]:
            unread = self._next_end(part, at.ended)
            if unread is not None:
                oldest_unread = part.head == parts[0].head
                break
        oldest = self._next_end(parts[0], 0) if len(parts) > 1 else None
        return Lag.of_files(
            self._context.now(), unread=unread, oldest=oldest, oldest_unread=oldest_unread
        )

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads all files that there are, twice; see `Source.backfill`.

        The first reading finds the runs that the log writes once more when their job is requeued
        after its end, so that only the later line of such a run counts.
        """
        requeued = {
            (job.id, job.start_at): job.stop_at
            for batch in self._all()
            for job in batch.jobs
            if job.stop_at and job.fields["State"] == "REQUEUED"
        }
        for batch in self._all():
            jobs = [
                job
                for job in batch.jobs
                if job.stop_at
                and since <= job.stop_at < until
                and job.stop_at >= requeued.get((job.id, job.start_at), since)
            ]
            yield Batch(jobs=jobs, unreadable=batch.unreadable)

    def _all(self) -> Iterator[Batch]:
        """Reads all files that there are, until the end of the program."""
        at = JobcompCheckpoint()
        for part in parts_since(self._path, None)[0]:
            for batch in self._read(part, at):
                if self._context.stop.is_set():
                    return
                yield batch

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of `Job.raw`, and refuses `Unreadable.raw` once more."""
        try:
            line = msgspec.json.decode(raw, type=Line)
            return self._job(line, values_of(line.text), raw, where, first=line.first is not False)
        except (ValueError, msgspec.DecodeError) as error:
            return Unreadable(raw, where, str(error))

    def check(self) -> Iterator[Finding]:
        """Looks whether the log is there and its last line can be read."""
        try:
            parts, _ = parts_since(self._path, None)
        except SourceError as error:
            yield Finding(ok=False, text=str(error))
            return
        size = sum(part.path.stat().st_size for part in parts)
        yield Finding(
            ok=True,
            text=f"{self._path}: {len(parts)} files with {size} bytes, in time of {self._zone}",
        )

    def _read(self, part: Part, at: JobcompCheckpoint) -> Iterator[Batch]:
        """Reads a file; moves the checkpoint with each batch."""
        lines = lines_of(part)
        entries = entries_of(lines, part.position, final=part.final, cuts=self._lines_are_cut)
        at.head, at.position = part.head, part.position
        while some := list(islice(entries, _BATCH_ENTRIES)):
            batch = Batch()
            for entry in some:
                self._take(entry, f"{part.path}:{entry.position}", at, batch)
            at.position = some[-1].end
            self._forget(at)
            yield batch

    def _lines_are_cut(self) -> bool:
        """Whether slurmctld cuts long lines, by the release of Slurm; also if that is not known."""
        if self._cuts is None:
            command, said = [self._section.sacct, "--version"], b""
            with contextlib.suppress(SourceError):
                said = b"".join(output_of(command, self._section.timeout_s, self._context.stop))
            release = re.search(rb"(\d+)\.(\d+)", said)
            self._cuts = not release or tuple(map(int, release.groups())) < _WHOLE_LINES_SINCE
        return self._cuts

    def _take(self, entry: Entry, where: str, at: JobcompCheckpoint, batch: Batch) -> None:
        """Puts an entry where it belongs in the batch."""
        line = Line(entry.text.decode("utf-8", "replace"), at.ended)
        try:
            values = values_of(line.text)
            if reason := self._left_out(values):
                batch.filtered[reason] = batch.filtered.get(reason, 0) + 1
                return
            start, end = self._times(values, line.after)
            line.first = _is_first(values, start, end, at.firsts)
            at.ended = max(at.ended, end)
            raw = msgspec.json.encode(line)
            batch.jobs.append(self._job(line, values, raw, where, first=line.first))
        except ValueError as error:
            batch.unreadable.append(Unreadable(entry.text, where, entry.broken or str(error)))

    def _next_end(self, part: Part, after: int) -> float | None:
        """When the run of the next entry ended; when the file was written, if it does not say.

        None if there is no whole entry: one without its end may wait for the next job's.
        """
        lines = lines_of(part)
        entries = entries_of(lines, part.position, final=part.final, cuts=self._lines_are_cut)
        entry = next(entries, None)
        if entry is None:
            return None
        try:
            return self._times(values_of(entry.text.decode("utf-8", "replace")), after)[1]
        except ValueError:
            return part.path.stat().st_mtime

    def _left_out(self, values: dict[str, str]) -> str | None:
        """Why a run is not to be accounted; None for one that is."""
        if "NodeList" not in values:
            return "never started"
        section = self._section
        partitions = values.get("Partition", "").split(",")
        for name, allowed, given in (
            ("states", self._states, [_CODES.get(values["State"], values["State"])]),
            ("clusters", section.clusters, [values.get("Cluster", "")]),
            ("partitions", section.partitions, partitions),
            ("users", section.users, [values.get("User", ""), values["UID"]]),
            ("groups", section.groups, [values.get("Group", ""), values["GID"]]),
            ("accounts", section.accounts, [values.get("Account", "")]),
            ("qos", section.qos, [values.get("QOS", "")]),
        ):
            if allowed and not set(allowed).intersection(given):
                return f"not in {name}"
        return None

    def _times(self, values: dict[str, str], after: int) -> tuple[int, int]:
        """Start and end of a run, in epoch seconds."""
        starts, ends = (
            local_times.instants(values.get(name, "unknown"), self._zone)
            for name in ("Start", "End")
        )
        end = local_times.end_of(ends, after)
        return local_times.latest(starts, end), end

    def _job(
        self, line: Line, values: dict[str, str], raw: bytes, where: str, *, first: bool
    ) -> Job:
        """Makes the job.

        Raises:
            ValueError: when the values are no run's.
        """
        start, end = self._times(values, line.after)
        if end < start:
            raise ValueError(f"EndTime={values['End']} is before StartTime={values['Start']}")
        fields: dict[str, Value] = {**values, "Start": start, "End": end}
        submit = start
        for name in ("Eligible", "Submit"):
            if name in values:
                submit = local_times.latest(local_times.instants(values[name], self._zone), submit)
                fields[name] = submit
        for name in _NUMBERS:
            fields[name] = int(values[name])
        cluster = values.get("Cluster", "")
        return Job(
            self._identity.of(values["JobID"], cluster, submit, start, first=first),
            datetime.fromtimestamp(start, UTC),
            datetime.fromtimestamp(end, UTC),
            fields,
            raw,
            where,
        )

    @staticmethod
    def _forget(at: JobcompCheckpoint) -> None:
        """Drops the jobs that will not run again."""
        at.firsts = {
            job_id: first
            for job_id, first in at.firsts.items()
            if at.ended - first.end < (_FORGET_PENDING_S if first.again else _FORGET_ENDED_S)
        }


def _is_first(values: dict[str, str], start: int, end: int, firsts: dict[str, First]) -> bool:
    """Whether a run is its job's first; remembers it if another one may follow."""
    again, job_id = values["State"] in _AGAIN, values["JobID"]
    known = firsts.get(job_id)
    if known is None:
        if again or values["State"] == "FAILED":  # RequeueExit runs some of these again
            firsts[job_id] = First(start, end, values["State"] == "RESIZING", again)
        return True
    known.end, known.again = max(known.end, end), again
    return known.start == start and not known.resized


def _zone(name: str | None) -> tzinfo:
    """A time zone with its rules of all years; without a name the machine's."""
    if name is not None:
        return ZoneInfo(name)
    if not _MACHINE_ZONE.exists():
        return UTC
    with _MACHINE_ZONE.open("rb") as file:
        return ZoneInfo.from_file(file, key="the machine's zone")
