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

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

import msgspec

from collector.source import Batch, Context, Finding, Job, Lag, SourceError, Unreadable
from collector.source.windows import FLOOR, Part, Reached, Window, WindowReader, ceil
from collector_slurm.batches import BatchMaker
from collector_slurm.canary import Answer, Canary, Proof, unproved_since
from collector_slurm.columns import Columns
from collector_slurm.command import Sacct
from collector_slurm.jobid import JobId
from collector_slurm.known import Known
from collector_slurm.sacct_check import findings
from collector_slurm.section import SlurmSection

BATCH_RUNS = 1000
"""How many runs are asked for by id in one call, and stored in one transaction."""
_AGAIN_S = 0.5
"""After this time slurmdbd knows the end of most jobs, whose epilog began as they ended."""


class SacctCheckpoint(Reached, kw_only=True, tag_field="mode", tag="sacct"):
    """How far slurmdbd has been read."""

    running: dict[str, str] = msgspec.field(default_factory=dict)
    """Runs that were yielded without a stop time: cluster and DBIndex → job id."""
    canaries: dict[str, Canary] = msgspec.field(default_factory=dict)
    """See `Witnesses`."""
    unproved: dict[str, int] = msgspec.field(default_factory=dict)
    """See `Witnesses`."""


class Slurmdbd:
    """Reads runs through `sacct`."""

    def __init__(self, section: SlurmSection, context: Context) -> None:
        self._section = section
        self._context = context
        self._sacct = Sacct(section, context)
        self._proof = Proof(section, context, self._sacct)
        self._batches = BatchMaker(section, context, self._sacct)
        self._known = Known()
        self._windows = WindowReader(section, context)

    def poll(self, checkpoint: SacctCheckpoint | None) -> Iterator[Batch]:
        """Reads what ended since the checkpoint; see `Source.poll`."""
        section, now = self._section, int(self._context.now().timestamp())
        at = checkpoint or self._begin()
        overlap_s = max(section.overlap_s, section.complete_s)  # what was left out for now
        self._known.forget(now - section.settle_s - max(overlap_s, section.rescan_s))
        columns = self._sacct.columns()
        again = self._proof.begin(at)
        at.until = at.until if again is None else min(at.until, again)

        def read(window: Window) -> Iterator[Part]:
            return self._read(window, columns, at, self._known)

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
        nowhere = SacctCheckpoint(until=0, rescanned=0)
        self._proof.begin(nowhere)

        def read(window: Window) -> Iterator[Part]:
            return self._read(window, columns, nowhere, known if window.begin >= fresh else None)

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

        The raw id of an array's last task is that of the whole array, whose steps would take long
        to come, while slurmctld waits: so the first call asks for rows without steps, which are
        cheap, and the second one for the steps of this task.
        """
        columns, named = self._sacct.columns("JobIDRaw"), str(JobId.parse(job_id))
        batch = Batch()
        for wait_s in (_AGAIN_S, 0):
            rows = [*self._sacct.of_jobs([named], columns.without_steps())]
            runs = [run for run in rows if run.fields.get("JobIDRaw") == job_id]
            if runs and columns.steps:
                rows = [
                    *self._sacct.of_jobs(
                        dict.fromkeys(run.fields["JobID"] for run in runs), columns
                    )
                ]
                runs = [run for run in rows if run.fields.get("JobIDRaw") == job_id]
            if runs and self._section.leaves_out:
                now = int(self._context.now().timestamp())
                wanted = {run.handle for run in self._sacct.let_through(named, now)}
                runs = [run for run in runs if run.handle in wanted]
            open_too = self._section.track_running
            made = self._batches.of(runs, columns, open_too=open_too, found=rows)
            batch = made.batch
            if 0 < len(runs) == len(made.settled) or self._context.stop.wait(wait_s):
                break
        return batch

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of `Job.raw`."""
        return self._batches.parse(raw, where)

    def unproved(self, checkpoint: SacctCheckpoint | None) -> str | None:
        """Why an empty answer is only believed; see `Source.unproved`."""
        return unproved_since(checkpoint.unproved) if checkpoint else None

    def check(self) -> Iterator[Finding]:
        """Looks whether slurmdbd can be read; see `collector_slurm.sacct_check`."""
        return findings(self._section, self._context, self._sacct)

    def _begin(self) -> SacctCheckpoint:
        """Where the very first poll begins."""
        until, rescanned = self._windows.start()
        return SacctCheckpoint(until=until, rescanned=rescanned)

    def _read(
        self, window: Window, columns: Columns, at: SacctCheckpoint, known: Known | None = None
    ) -> Iterator[Part]:
        """Reads the runs that ended in a window, but for those that are known."""
        moves = at.back is not None or window.end > at.until
        reach = self._proof.reach(window, at) if moves else window
        answer = Answer(self._sacct.ended_in(reach, columns.of_window()), window)
        runs = iter(answer) if known is None else (run for run in answer if run not in known)
        some = list(islice(runs, BATCH_RUNS))
        last = False
        while not last:
            following = list(islice(runs, 1))
            last = not following
            made = self._batches.of(some, columns, at.until)
            try:
                made.raise_if_missing()
                if last and moves:
                    self._proof.demand(window, answer, at)
            except SourceError:
                yield Part(made.batch)  # those that are whole need not wait
                raise
            newest = max((one.ended for one in answer.newest.values()), default=None)
            complete = len(made.settled) == len(some)
            yield Part(made.batch, last, newest, answer.took_s, complete=complete)
            if known is not None:
                known.add(made.settled)
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
            yield self._batches.of(some, columns.without_steps(), open_too=True).batch
        gone = iter([one for one in at.running.items() if one[0] not in running])
        while chunk := dict(islice(gone, BATCH_RUNS)):
            named = self._sacct.of_jobs(dict.fromkeys(chunk.values()), columns)
            found = {run.handle: run for run in named}
            if not found:
                self._proof.demand_any(at)
            for handle, job_id in chunk.items():
                if handle not in found:
                    self._context.log.warning("running job vanished from slurmdbd", job=job_id)
                    del at.running[handle]
            of_chunk = [run for handle, run in found.items() if handle in chunk]
            made = self._batches.of(of_chunk, columns, found=found.values())
            for run in made.settled:
                del at.running[run.handle]
            yield made.batch
