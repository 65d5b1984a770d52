"""Makes batches of the runs that a window shows: each with its steps, and as which run of its job.

A window of `sacct` shows only the steps that touch it, and sums CPU time over those. So it says
which runs there are, and their jobs are asked for by id: that shows all of their runs and steps.
A run that a window showed and that is missing there is an outage of that window: it is read again,
and never becomes a record without its steps.
"""

from collections.abc import Iterable

import msgspec

from collector.source import Batch, Context, Job, SourceError, Unreadable, Value, guarded
from collector_slurm.columns import Columns, aliases_of
from collector_slurm.command import Sacct
from collector_slurm.run import LATER, Pair, RawRun, Run
from collector_slurm.section import SlurmSection


class Made(msgspec.Struct):
    """What was made of some runs."""

    batch: Batch
    settled: list[Run]
    """Those that need not be looked at again once the batch is stored."""
    missing: list[Run]
    """Those that their jobs' ids did not show."""

    def raise_if_missing(self) -> None:
        """Raises a SourceError that names a run that is missing."""
        if self.missing:
            job_id, more = self.missing[0].fields["JobID"], len(self.missing) - 1
            raise SourceError(
                f"sacct showed job {job_id} in a window and not by its id"
                f"{f', and {more} more' if more else ''}; the next poll asks again. If it goes on, "
                f"look at sacct -D -j {job_id}: does slurmdbd's log miss a table?"
            )


class BatchMaker:
    """Makes batches, asking for the steps of runs and for the other runs of their jobs."""

    def __init__(self, section: SlurmSection, context: Context, sacct: Sacct) -> None:
        self._section, self._context, self._sacct = section, context, sacct
        self._identity = section.identity()

    def of(
        self,
        runs: list[Run],
        columns: Columns,
        new_from: int = 0,
        *,
        open_too: bool = False,
        found: Iterable[Run] | None = None,
    ) -> Made:
        """Makes jobs of runs.

        Args:
            runs: the runs.
            columns: what is wanted of them.
            new_from: those left out for good count only when they ended since then, in epoch
                seconds; those left out for now will be read again.
            open_too: whether runs that have not ended are jobs too.
            found: all runs of these jobs, with all that is wanted; None: they are asked for.
        """
        made = Made(Batch(), [], [])
        over: list[Run] = []
        running: list[Run] = []
        complete_after = self._context.now().timestamp() - self._section.complete_s
        for run in runs:
            reason = run.left_out(complete_after)
            if reason is None:
                over.append(run)
            elif open_too and run.is_running:
                running.append(run)
            elif reason not in LATER:
                made.settled.append(run)
                if run.ended >= new_from:
                    made.batch.filtered[reason] = made.batch.filtered.get(reason, 0) + 1
        if found is None:
            complete = all(run.ended < complete_after for run in over)
            found = self._of_jobs([*over, *running], columns.by_id(complete=complete))
        families: dict[Pair, dict[Value, Run]] = {}
        for run in found:
            families.setdefault(run.key, {})[run.fields["DBIndex"]] = run
        for run in over:
            family, reason = families.get(run.key, {}), None
            whole = family.get(run.fields["DBIndex"])
            if whole is None:
                made.missing.append(run)
                continue
            if columns.steps:
                reason = whole.left_out(complete_after)
            if reason in LATER:
                continue
            made.settled.append(run)
            if reason is None:
                self._add(made.batch, whole if columns.steps else run, family, columns)
        for run in running:
            self._add(made.batch, run.without_usage(), families.get(run.key, {}), columns)
        return made

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of `Job.raw`."""

        def make(raw: bytes, where: str) -> Job | Unreadable:
            raw_run = RawRun.of(raw)
            job = Run(raw_run.fields).job(self._identity, where, first=raw_run.first)
            return _spelled(job, aliases_of(self._context.fields or (), raw_run.fields))

        return guarded(make, raw, where)

    def _of_jobs(self, runs: list[Run], columns: Columns) -> Iterable[Run]:
        """Asks for the jobs of runs by their ids."""
        ids = dict.fromkeys(run.fields["JobID"] for run in runs)
        if not ids:
            return
        last: Run | None = None
        for run in self._sacct.of_jobs(ids, columns):
            last = run
            yield run
        if columns.steps and last is not None and last.has_nodes and not last.has_steps:
            # An answer that was cut after the row of a run looks like this too.
            yield from self._sacct.of_jobs([last.fields["JobID"]], columns)

    def _add(self, batch: Batch, run: Run, family: dict[Value, Run], columns: Columns) -> None:
        """Makes a job of a run, one of its family, and puts it into a batch."""
        index = run.fields["DBIndex"]
        where = f"sacct -D -j {run.fields['JobID']}, DBIndex {index}"
        first = (len(family) == 1 and index in family) or _is_first(run, family.values())

        def make(raw_run: RawRun, where: str) -> Job | Unreadable:
            job = run.job(self._identity, where, first=raw_run.first)
            return _spelled(job, columns.aliases)

        job = guarded(make, RawRun(run.fields, first), where)
        if isinstance(job, Job):
            batch.jobs.append(job)
        else:
            batch.unreadable.append(job)


def _spelled(job: Job | Unreadable, aliases: Iterable[tuple[str, str]]) -> Job | Unreadable:
    """A job that has fields under the names that the mapping gives them, too."""
    if isinstance(job, Job) and aliases:
        known = job.fields
        job.fields = {**known, **{name: known[of] for name, of in aliases if of in known}}
    return job


def _is_first(run: Run, family: Iterable[Run]) -> bool:
    """Whether no run of the same job began before it."""
    start = run.began
    return start is None or all(
        one.began is None or one.began >= start for one in family if one.has_nodes
    )
