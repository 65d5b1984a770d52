"""Reads ended runs from slurmdbd, by calling `sacct` for bounded windows of time.

What is promised, and how:

- *Every ended run.* A poll asks for all that ended since the window that was read in full last,
  and again for `overlap_s` before it, because runs reach slurmdbd late; now and then it asks for
  the last `rescan_s` once more. Reading a run twice is harmless: its id is always the same.
- *Every run once.* `-D` shows all runs of a requeued or resized job. The first run of a job keeps
  the plain job id; which one is the first is asked of slurmdbd, not remembered, so that it does
  not depend on what was read before.
- *All of a run.* A window of `sacct` shows only the steps that touch it, and sums CPU time over
  those: so windows tell which runs there are, and their steps are asked for by job id.
- *Nothing unfinished.* Rows without an End, and rows that slurmdbd has not heard everything of,
  are left to a later poll, for `complete_s` at most.
- *Nothing half.* The checkpoint moves to the end of a window after `sacct` has ended well, and
  never before: a crash, a time-out or an outage of slurmdbd makes the next poll read it again.

How `sacct` behaves was measured on Slurm 22.05, 24.11 and 26.05; see `docs/slurm.md`.
"""

import os
import pwd
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import msgspec

from collector.source import Batch, Context, Finding, Job, Lag, SourceError, Unreadable, Value
from collector.source.windows import FLOOR, Part, Reached, Window, WindowReader, ceil
from collector_slurm.columns import Columns
from collector_slurm.command import Sacct
from collector_slurm.jobid import JobId
from collector_slurm.known import Known
from collector_slurm.run import LATER, Pair, Run, Told
from collector_slurm.section import SlurmSection

BATCH_RUNS = 1000
"""How many runs are asked for by id in one call, and stored in one transaction."""
_CHECKED_S = 86400
_AGAIN_S = 0.5
"""After this time slurmdbd knows the end of most jobs, whose epilog began as they ended."""


class SacctCheckpoint(Reached, kw_only=True, tag_field="mode", tag="sacct"):
    """How far slurmdbd has been read."""

    running: dict[str, str] = msgspec.field(default_factory=dict)
    """Runs that were yielded without a stop time: cluster and DBIndex → job id."""


class Slurmdbd:
    """Reads runs through `sacct`."""

    def __init__(self, section: SlurmSection, context: Context) -> None:
        self._section = section
        self._context = context
        self._sacct = Sacct(section, context)
        self._identity = section.identity()
        self._known = Known()
        self._windows = WindowReader(section, context)

    def poll(self, checkpoint: SacctCheckpoint | None) -> Iterator[Batch]:
        """Reads what ended since the checkpoint; see `Source.poll`."""
        section, now = self._section, int(self._context.now().timestamp())
        at = checkpoint or self._begin()
        overlap_s = max(section.overlap_s, section.complete_s)  # what was left out for now
        self._known.forget(now - section.settle_s - max(overlap_s, section.rescan_s))
        columns = self._sacct.columns()

        def read(window: Window) -> Iterator[Part]:
            return self._read(window, columns, self._known, at.until)

        is_new = checkpoint is None
        for batch in self._windows.poll(at, read, is_new=is_new, overlap_s=overlap_s):
            batch.checkpoint = msgspec.to_builtins(at)
            yield batch
        if self._context.stop.is_set() or now < FLOOR:
            return
        if section.track_running or at.running:
            for batch in self._track(at, columns, now):
                batch.checkpoint = msgspec.to_builtins(at)
                yield batch

    def lag(self, checkpoint: SacctCheckpoint | None) -> Lag:
        """By the end of the last window; see `WindowReader.lag`."""
        return self._windows.lag(checkpoint or self._begin())

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads the runs that ended in a period; see `Source.backfill`."""
        section, now = self._section, self._context.now().timestamp()
        begin, end = ceil(since.timestamp()), ceil(min(until.timestamp(), now))
        fresh = min(max(begin, int(now - section.complete_s)), end)
        columns, known, complete = self._sacct.columns(), Known(), True

        def read(window: Window) -> Iterator[Part]:
            return self._read(window, columns, known if window.begin >= fresh else None)

        parts = [(begin, fresh), (fresh, end)]
        for number, stretch in enumerate(parts):
            more = stretch[1] < end
            for window, part in self._windows.stretch(*stretch, read, more=more):
                complete = complete and part.complete
                if part.last:
                    part.batch.progress = (window.end - begin) / (end - begin)
                yield part.batch
            if self._context.stop.is_set():
                return
            if number == 1 and not complete:  # nobody may ask for them again
                wait_s = end + section.complete_s - now
                self._context.log.info("waiting for what slurmdbd does not know yet", s=wait_s)
                if self._context.stop.wait(wait_s):
                    return
                parts.append(stretch)

    def one(self, job_id: str) -> Batch:
        """Reads the runs of one job, given by the id that Slurm's scripts have: the raw one.

        Mostly with one call, as slurmctld waits for it: of one job, rows with all steps are few.
        """
        columns, named = self._sacct.columns("JobIDRaw"), str(JobId.parse(job_id))
        batch = Batch()
        for wait_s in (_AGAIN_S, 0):
            found = list(self._sacct.of_jobs([named], columns))  # of its whole array, with some ids
            runs = [run for run in found if run.fields.get("JobIDRaw") == job_id]
            if runs and self._section.leaves_out:
                now = int(self._context.now().timestamp())
                wanted = {run.handle for run in self._sacct.let_through(named, now)}
                runs = [run for run in runs if run.handle in wanted]
            open_too = self._section.track_running
            batch, settled = self._batch(runs, columns, open_too=open_too, found=found)
            if 0 < len(runs) == len(settled) or self._context.stop.wait(wait_s):
                break
        return batch

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of `Job.raw`."""
        try:
            told = Told.of(raw)
        except ValueError as error:
            return Unreadable(raw, where, str(error))
        return Run(told.fields).job(self._identity, where, first=told.first)

    def check(self) -> Iterator[Finding]:
        """Looks whether `sacct` is there, slurmdbd answers, and shows the jobs of others."""
        try:
            yield Finding(ok=True, text=f"{self._sacct.version()} is installed")
            columns = self._sacct.columns("User")
            now = int(self._context.now().timestamp())
            runs = self._sacct.ended_in(Window(now - _CHECKED_S, now), columns)
            users = Counter(run.fields.get("User", "") for run in runs)
            text = f"slurmdbd answers: {users.total()} runs ended within the last day"
            yield Finding(ok=True, text=text + self._hidden(users))
        except SourceError as error:
            yield Finding(ok=False, text=str(error))

    def _begin(self) -> SacctCheckpoint:
        """Where the very first poll begins."""
        until, rescanned = self._windows.start()
        return SacctCheckpoint(until=until, rescanned=rescanned)

    def _hidden(self, users: Counter[Value]) -> str:
        """What it may mean that no run is another user's: slurmdbd does not say what it hides."""
        me = pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0 or set(users) - {me} or self._section.users:
            return ""
        return (
            f", none of another user than {me}: if there should be some, slurmdbd has "
            f"PrivateData=jobs, and {me} needs AdminLevel=Operator (sacctmgr modify user {me} "
            "set adminlevel=operator)"
        )

    def _read(
        self, window: Window, columns: Columns, known: Known | None = None, new_from: int = 0
    ) -> Iterator[Part]:
        """Reads the runs that ended in a window, but for those that are known."""
        rows = _Timed(self._sacct.ended_in(window, columns.of_window()))
        runs = rows if known is None else (run for run in rows if run not in known)
        some = list(islice(runs, BATCH_RUNS))
        last = False
        while not last:
            following = list(islice(runs, 1))
            last = not following
            batch, settled = self._batch(some, columns, new_from)
            complete = len(settled) == len(some)
            yield Part(batch, last, rows.newest, rows.took_s, complete=complete)
            if known is not None:
                known.add(settled)
            some = following + list(islice(runs, BATCH_RUNS - 1))

    def _track(self, at: SacctCheckpoint, columns: Columns, now: int) -> Iterator[Batch]:
        """Reads the runs that began, and the ends of those that no window will show.

        A run whose end slurmdbd learns late, or sets to the past (a job that slurmctld lost), may
        end outside of all windows: so the runs that no longer run are asked for one by one.
        """
        running = {}
        if self._section.track_running:
            running = {run.handle: run for run in self._sacct.running_at(now, columns)}
        new = iter([run for handle, run in running.items() if handle not in at.running])
        while some := list(islice(new, BATCH_RUNS)):
            at.running.update({run.handle: str(run.fields["JobID"]) for run in some})
            yield self._batch(some, columns.without_steps(), open_too=True)[0]
        gone = iter([one for one in at.running.items() if one[0] not in running])
        while chunk := dict(islice(gone, BATCH_RUNS)):
            named = self._sacct.of_jobs(dict.fromkeys(chunk.values()), columns)
            found = {run.handle: run for run in named}
            for handle, job_id in chunk.items():
                if handle not in found:
                    self._context.log.warning("running job vanished from slurmdbd", job=job_id)
                    del at.running[handle]
            of_chunk = [run for handle, run in found.items() if handle in chunk]
            batch, settled = self._batch(of_chunk, columns, found=found.values())
            for run in settled:
                del at.running[run.handle]
            yield batch

    def _batch(
        self,
        runs: list[Run],
        columns: Columns,
        new_from: int = 0,
        *,
        open_too: bool = False,
        found: Iterable[Run] | None = None,
    ) -> tuple[Batch, list[Run]]:
        """Makes jobs of runs.

        Args:
            runs: the runs.
            columns: what is wanted of them.
            new_from: those left out for good count only when they ended since then, in epoch
                seconds; those left out for now will be read again.
            open_too: whether runs that have not ended are jobs too.
            found: all runs of these jobs, with all that is wanted; None: they are asked for.

        Returns:
            The batch, and the runs that need not be looked at again once it is stored.
        """
        batch = Batch()
        over: list[Run] = []
        running: list[Run] = []
        settled: list[Run] = []
        complete_after = self._context.now().timestamp() - self._section.complete_s
        for run in runs:
            reason = run.left_out(complete_after)
            if reason is None:
                over.append(run)
            elif open_too and run.is_running:
                running.append(run)
            elif reason not in LATER:
                settled.append(run)
                if run.ended >= new_from:
                    batch.filtered[reason] = batch.filtered.get(reason, 0) + 1
        if found is None:
            complete = all(run.ended < complete_after for run in over)
            found = self._of_jobs([*over, *running], columns.by_id(complete=complete))
        families: dict[Pair, dict[Value, Run]] = {}
        for run in found:
            families.setdefault(run.key, {})[run.fields["DBIndex"]] = run
        for run in over:
            whole, family, reason = run, families.get(run.key, {}), None
            if columns.steps:
                whole = family.get(run.fields["DBIndex"]) or self._as_ended(run, columns)
                reason = whole.left_out(complete_after)
            if reason in LATER:
                continue
            settled.append(run)
            if reason is None:
                self._add(batch, whole, family)
        for run in running:
            self._add(batch, run.without_usage(), families.get(run.key, {}))
        return batch, settled

    def _of_jobs(self, runs: list[Run], columns: Columns) -> Iterable[Run]:
        """Asks for the jobs of runs by their ids, which shows all of their runs and steps."""
        ids = dict.fromkeys(run.fields["JobID"] for run in runs)
        return self._sacct.of_jobs(ids, columns) if ids else ()

    def _add(self, batch: Batch, run: Run, family: dict[Value, Run]) -> None:
        """Makes a job of a run, one of its family, and puts it into a batch."""
        index = run.fields["DBIndex"]
        where = f"sacct -D -j {run.fields['JobID']}, DBIndex {index}"
        first = (len(family) == 1 and index in family) or _is_first(run, family.values())
        job = run.job(self._identity, where, first=first)
        if isinstance(job, Job):
            batch.jobs.append(job)
        else:
            batch.unreadable.append(job)

    def _as_ended(self, run: Run, columns: Columns) -> Run:
        """A run that its job's id does not show, as its window shows it: without its steps."""
        end = int(run.ended)
        for shown in self._sacct.ended_in(Window(end, end + 1), columns.without_steps()):
            if shown.handle == run.handle:
                return shown
        raise SourceError(
            f"slurmdbd showed job {run.fields['JobID']} and then no more; the next poll asks again"
        )


def _is_first(run: Run, family: Iterable[Run]) -> bool:
    """Whether no run of the same job began before it."""
    start = run.began
    return start is None or all(
        one.began is None or one.began >= start for one in family if one.has_nodes
    )


class _Timed:
    """Runs as `sacct` prints them: how long it took, and when the newest one ended."""

    def __init__(self, runs: Iterator[Run]) -> None:
        self._runs = runs
        self.took_s = 0.0
        self.newest: int | None = None

    def __iter__(self) -> "_Timed":
        return self

    def __next__(self) -> Run:
        before = time.monotonic()
        try:
            run = next(self._runs)
        finally:
            self.took_s += time.monotonic() - before
        end = int(run.ended)
        if self.newest is None or end > self.newest:
            self.newest = end
        return run
