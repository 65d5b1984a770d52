"""The Slurm source: chooses where the accounting is read, and hands on what is read there."""

import importlib.resources
from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from collector.config import SourceSection
from collector.source import (
    Batch,
    Checkpoint,
    Context,
    Filtered,
    Finding,
    Job,
    Lag,
    Source,
    SourceError,
    Unreadable,
)
from collector.source.command import StoppedError
from collector.source.proposal import Proposal
from collector_slurm.jobcomp import JobcompLog
from collector_slurm.jobcomp_checkpoint import JobcompCheckpoint
from collector_slurm.names import NumberedRuns
from collector_slurm.sacct import SacctCheckpoint, Slurmdbd
from collector_slurm.section import SlurmSection

_EPILOG_TIMEOUT_S = 5
"""slurmctld waits for its epilog; what sacct has not said by then is left to the polls."""


class SlurmSource(Source):
    """Reads the runs of one Slurm cluster, or several: from slurmdbd or from the jobcomp log."""

    Section: ClassVar[type[SourceSection]] = SlurmSection
    user_field: ClassVar[str | None] = "User"
    mapping: ClassVar[str] = (
        importlib.resources.files("collector_slurm").joinpath("mapping.yaml").read_text("utf-8")
    )
    may_correct_stop_time: ClassVar[bool] = True
    section: SlurmSection

    witnesses: ClassVar[tuple[str, ...]] = (
        *("Submit", "Eligible", "Start", "End", "ElapsedRaw", "Elapsed", "Suspended", "State"),
        *("StartTime", "EndTime", "SubmitTime", "EligibleTime", "JobState"),
    )
    kinds: ClassVar[tuple[str, ...]] = ("slurm",)

    @classmethod
    def propose(cls, kind: str) -> Proposal:  # noqa: ARG003 - there is one
        """The section for this machine; see `Source.propose`."""
        from collector_slurm.proposal import propose  # noqa: PLC0415 - for `init` alone

        return propose()

    def __init__(self, section: SourceSection, context: Context) -> None:
        """Keeps both; see `Source`."""
        assert isinstance(section, SlurmSection)
        super().__init__(section, context)
        self._slurmdbd = Slurmdbd(section, context)
        self._numbered = NumberedRuns(context)
        self._log = JobcompLog(section, context) if section.mode == "jobcomp" else None

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Reads what is new; see `Source.poll`."""
        try:
            for batch in self._poll(checkpoint):
                self._numbered.count(batch.jobs)
                yield batch
        except StoppedError:
            return
        finally:
            self._numbered.report()

    def _poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        if self._log is not None:
            return self._log.poll(_of_jobcomp(checkpoint))
        return self._slurmdbd.poll(_of_sacct(checkpoint))

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        """Tells how far a checkpoint is behind; see `Source.lag`."""
        if self._log is not None:
            return self._log.lag(_of_jobcomp(checkpoint))
        return self._slurmdbd.lag(_of_sacct(checkpoint))

    def unproved(self, checkpoint: Checkpoint | None) -> str | None:
        """Says whether sacct has not shown a run yet; see `Source.unproved`."""
        if self._log is not None:
            return None
        return self._slurmdbd.unproved(_of_sacct(checkpoint))

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads the runs that ended in a period; see `Source.backfill`."""
        try:
            yield from self._reader().backfill(since, until)
        except StoppedError:
            return

    def one(self, job_id: str) -> Batch:
        """Reads the runs of one job, for a script that Slurm runs when the job has ended.

        Args:
            job_id: `SLURM_JOB_ID`.

        Returns:
            A batch without checkpoint; empty when slurmdbd does not know of the end yet, which is
            then left to the next poll.

        Raises:
            SourceError: when slurmdbd cannot be asked within seconds, or `mode` is jobcomp.
            ValueError: when it is not a job id.
        """
        if self.section.mode == "jobcomp":
            raise SourceError(
                "collect-job goes with mode: sacct; with mode: jobcomp a poll costs next to "
                "nothing, so a short interval_s brings jobs as soon"
            )
        timeout_s = min(self.section.timeout_s, _EPILOG_TIMEOUT_S)
        section = msgspec.structs.replace(self.section, timeout_s=timeout_s)
        return Slurmdbd(section, self.context).one(job_id)

    def scheduler_of(self, job_id: str) -> str | None:
        """The cluster of a job's id; see `Source.scheduler_of`."""
        return self.section.identity().cluster_of(job_id)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable | Filtered:
        """Makes a job of the raw text of one; see `Source.parse`."""
        return self._reader().parse(raw, where)

    def check(self) -> Iterator[Finding]:
        """Looks whether Slurm's accounting can be read; see `Source.check`."""
        yield from self._reader().check()

    def _reader(self) -> Slurmdbd | JobcompLog:
        return self._log or self._slurmdbd


def _of_jobcomp(checkpoint: Checkpoint | None) -> JobcompCheckpoint | None:
    at = _converted(checkpoint)
    return at if isinstance(at, JobcompCheckpoint) else None


def _of_sacct(checkpoint: Checkpoint | None) -> SacctCheckpoint | None:
    at = _converted(checkpoint)
    if isinstance(at, JobcompCheckpoint):
        return SacctCheckpoint(until=at.ended, rescanned=at.ended) if at.ended else None
    return at


def _converted(checkpoint: Checkpoint | None) -> SacctCheckpoint | JobcompCheckpoint | None:
    if checkpoint is None:
        return None
    return msgspec.convert(checkpoint, SacctCheckpoint | JobcompCheckpoint)
