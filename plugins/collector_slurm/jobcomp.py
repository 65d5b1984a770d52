"""Reads ended runs from the jobcomp log.

What is promised, and how:

- *Every line.* The checkpoint says how many bytes of which file have been read, and moves past
  whole entries only; files are found by their first lines, wherever they go (`rotation.py`).
- *Every run once.* The log writes a run once more when a finished job is requeued: same job, same
  start, a later end; that is the same run, corrected. A run with another start is another run, and
  gets its start in its id. Jobs that may run again are remembered in the checkpoint until then;
  where nothing says that one may, the log itself is asked (`jobcomp_repeats.py`).
- *One bad line is one entry.* Whatever a line holds, the others are read.
- *What the log does not know* is left out: CPU time, memory that was used, suspended time, and how
  long a job ran before it was resized.
"""

import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import msgspec

from collector.source import (
    Batch,
    Context,
    Filtered,
    Finding,
    Job,
    Lag,
    SourceError,
    Unreadable,
    guarded,
)
from collector_slurm.jobcomp_check import findings
from collector_slurm.jobcomp_checkpoint import UNPACKED, First, JobcompCheckpoint
from collector_slurm.jobcomp_lines import Line, Lines, is_first, remember
from collector_slurm.jobcomp_period import Period, Taken
from collector_slurm.jobcomp_repeats import FirstLine, first_lines, numbers_before, repeated_in
from collector_slurm.jobcomp_text import Entry, end_of_line, entries_of, values_of
from collector_slurm.jobcomp_writer import Writer
from collector_slurm.rotation import Part, RotatedLog, lines_of
from collector_slurm.section import SlurmSection

_BATCH_ENTRIES = 1000


class JobcompLog:
    """Reads runs from the jobcomp log."""

    def __init__(self, section: SlurmSection, context: Context) -> None:
        assert section.jobcomp_path is not None
        self._section = section
        self._context = context
        self._path = section.jobcomp_path
        self._log = RotatedLog(section.jobcomp_path, end_of_line)
        self._lines = Lines(section)
        self._writer = Writer(section, context)
        self._reported: set[str] = set()

    def poll(self, checkpoint: JobcompCheckpoint | None) -> Iterator[Batch]:
        """Reads what was added since the checkpoint; see `Source.poll`."""
        self._writer.forget()
        at, files = checkpoint or JobcompCheckpoint(), self._log.files()
        if at.positions is None:
            at.take_over(files.parts)
            for number in numbers_before(files.parts, at):
                at.numbers.add(number)
        if at.head and at.head not in {part.head for part in files.parts}:
            self._warn_of_a_gap(at.head, at.position)
        problems = list(files.problems)
        for part in files.parts:
            try:
                for some in self._read(part, at, files.parts):
                    batch = _batch_of(some)
                    batch.checkpoint = msgspec.to_builtins(at)
                    yield batch
                    if self._context.stop.is_set():
                        return
            except SourceError as error:
                problems.append(str(error))  # the other files are read all the same
        if problems:
            raise SourceError("; ".join(problems))

    def lag(self, checkpoint: JobcompCheckpoint | None) -> Lag:
        """Looks at the next entry, and at the first one that there is; see `Source.lag`."""
        at, parts = checkpoint or JobcompCheckpoint(), self._log.files().parts
        at.take_over(parts)
        unread = None
        oldest_unread = False
        for part in parts:
            position = at.position_in(part)
            unread = None if position is None else self._next_end(part, position, at.ended)
            if unread is not None:
                oldest_unread = part.head == parts[0].head
                break
        oldest = self._next_end(parts[0], 0, 0) if len(parts) > 1 else None
        return Lag.of_files(
            self._context.now(), unread=unread, oldest=oldest, oldest_unread=oldest_unread
        )

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads all files that there are, twice; see `Source.backfill`.

        The first reading finds the runs that the log writes once more when their job is requeued
        after its end, so that only the later line of such a run counts.
        """
        requeued = {
            (one.job.id, one.job.start_at): one.job.stop_at
            for one in self._all()
            if one.job is not None and one.job.fields["State"] == "REQUEUED"
        }

        def last_word(one: Taken) -> bool:
            job = one.job
            if job is None or job.stop_at is None:
                return True
            return job.stop_at >= (requeued.get((job.id, job.start_at)) or job.stop_at)

        period = Period.of(since, until, self._lines.zone)
        selected = filter(last_word, period.select(self._all(), self._now()))
        while some := list(islice(selected, _BATCH_ENTRIES)):
            yield _batch_of(some)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable | Filtered:
        """Makes a job of `Job.raw`; and of `Unreadable.raw`, if what it holds can be read now."""
        return guarded(self._parse, raw, where)

    def check(self) -> Iterator[Finding]:
        """Looks whether the log is there, and how many of its last lines can be read."""
        self._writer.forget()
        try:
            files = self._log.files()
        except SourceError as error:
            yield Finding.error(str(error))
            return
        yield from findings(self._path, files, self._lines, self._now(), self._entries)
        try:
            self._writer.release()
        except SourceError as error:
            yield Finding.warning(
                f"the release of Slurm is not known ({error}), so lines that look cut are treated "
                "as cut, as by releases before 24.05.2; set sacct to the command"
            )

    def _all(self) -> Iterator[Taken]:
        """Reads all files that there are, until the end of the program.

        Raises:
            SourceError: at the end, if some could not be read.
        """
        self._writer.forget()
        at, files = JobcompCheckpoint(), self._log.files()
        at.take_over(files.parts)
        problems = list(files.problems)
        for part in files.parts:
            try:
                for some in self._read(part, at, files.parts):
                    yield from some
                    if self._context.stop.is_set():
                        return
            except SourceError as error:
                problems.append(str(error))
        if problems:
            raise SourceError("; ".join(problems))

    def _read(self, part: Part, at: JobcompCheckpoint, parts: list[Part]) -> Iterator[list[Taken]]:
        """Reads a file; moves the checkpoint with each list."""
        position = at.position_in(part)
        if position is None:
            return
        if position == 0 and at.positions and at.positions.get(part.head):
            self._warn_of_a_gap(part.head, at.positions[part.head])
        entries = self._entries(part, position)
        limit = max(self._now(), part.written_at)
        while some := list(islice(entries, _BATCH_ENTRIES)):
            repeated = repeated_in(some, at.numbers)
            earlier = first_lines(parts, part, some[-1].end, repeated) if repeated else {}
            taken = [
                self._take(entry, f"{part.path}:{entry.position}", at, limit, earlier)
                for entry in some
            ]
            at.move(part, some[-1].end)
            at.forget(parts)
            yield taken
        if part.final and part.size_bytes is None:
            at.move(part, UNPACKED)
            yield []

    def _take(
        self,
        entry: Entry,
        where: str,
        at: JobcompCheckpoint,
        limit: float,
        earlier: dict[int, FirstLine],
    ) -> Taken:
        """Finds out what an entry is."""

        def make(entry: Entry, where: str) -> Taken:
            if entry.broken:
                raise ValueError(entry.broken)
            line = Line(entry.text.decode("utf-8", "replace"), at.ended)
            values = values_of(line.text)
            if reason := self._lines.left_out(values):
                end = None
                with contextlib.suppress(ValueError):
                    end = self._lines.times(values, line.after, limit)[1]
                return Taken(filtered=reason, end=end)
            times = self._lines.times(values, line.after, limit)
            self._recall(values, earlier, at)
            line.first = is_first(values, times[0], at)
            job = self._lines.job(line, values, times, where)
            remember(values, times, at)
            at.ended = max(at.ended, min(times[1], int(limit)))
            return Taken(job=job, end=times[1])

        made = guarded(make, entry, where)
        return Taken(unreadable=made) if isinstance(made, Unreadable) else made

    def _recall(
        self, values: dict[str, str], earlier: dict[int, FirstLine], at: JobcompCheckpoint
    ) -> None:
        """Remembers a job's first run that nothing said would be followed by another."""
        number = int(values["JobIDRaw"])
        found = earlier.get(number) if number in at.numbers else None
        if (
            found is None
            or values["JobID"] in at.firsts
            or found.values["Start"] == values["Start"]
        ):
            return
        start, end = self._lines.times(found.values, 0, self._now())
        resized = found.values["State"] == "RESIZING"
        at.firsts[values["JobID"]] = First(start, end, resized, again=False)

    def _entries(self, part: Part, position: int) -> Iterator[Entry]:
        lines = lines_of(part, position)
        return entries_of(lines, position, final=part.final, cuts=self._writer.cuts_lines)

    def _parse(self, raw: bytes, where: str) -> Job | Filtered:
        if raw.startswith(b"{"):
            line = msgspec.json.decode(raw, type=Line)
        else:  # an entry of the log that could not be read then; it may be now
            line = Line(raw.decode("utf-8", "replace"), 0)
        values = values_of(line.text)
        if reason := self._lines.left_out(values):
            return Filtered(reason)
        times = self._lines.times(values, line.after, self._now())
        return self._lines.job(line, values, times, where)

    def _next_end(self, part: Part, position: int, after: int) -> float | None:
        """When the run of the next entry ended; when the file was written, if it does not say.

        None if there is no whole entry: one without its end may wait for the next job's.
        """
        entry = next(self._entries(part, position), None)
        if entry is None:
            return None

        def end(entry: Entry, _: str) -> float:
            values = values_of(entry.text.decode("utf-8", "replace"))
            return self._lines.times(values, after, max(self._now(), part.written_at))[1]

        found = guarded(end, entry, "")
        return part.written_at if isinstance(found, Unreadable) else found

    def _warn_of_a_gap(self, head: str, position: int) -> None:
        if head not in self._reported:
            self._reported.add(head)
            self._context.log.warning(
                "jobcomp log cut: the file that was read last is gone; reading all that there is",
                path=str(self._path),
                position=position,
                hint="put it back beside the log if there is a copy",
            )

    def _now(self) -> float:
        return self._context.now().timestamp()


def _batch_of(entries: Iterable[Taken]) -> Batch:
    batch = Batch()
    for entry in entries:
        if entry.job is not None:
            batch.jobs.append(entry.job)
        elif entry.unreadable is not None:
            batch.unreadable.append(entry.unreadable)
        else:
            batch.filtered[entry.filtered] = batch.filtered.get(entry.filtered, 0) + 1
    return batch
