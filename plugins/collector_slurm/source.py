"""The Slurm source: chooses where the accounting is read, and hands on what is read there."""

import importlib.resources
from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from collector.command import StoppedError
from collector.config import SourceSection
from collector.source import (
    Batch,
    Checkpoint,
    Context,
    Finding,
    Job,
    Lag,
    Source,
    SourceError,
    Unreadable,
)
from collector_slurm.jobcomp_log import JobcompCheckpoint, JobcompLog
from collector_slurm.section import SlurmSection
from collector_slurm.slurmdbd import SacctCheckpoint, Slurmdbd


class SlurmSource(Source):
    """Reads the runs of one Slurm cluster, or several: from slurmdbd or from the jobcomp log."""

    Section: ClassVar[type[SourceSection]] = SlurmSection
    mapping: ClassVar[str] = (
        importlib.resources.files("collector_slurm").joinpath("mapping.yaml").read_text("utf-8")
    )
    corrects: ClassVar[bool] = True
    section: SlurmSection

    def __init__(self, section: SourceSection, context: Context) -> None:
        """Keeps both; see `Source`."""
        assert isinstance(section, SlurmSection)
        super().__init__(section, context)

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Reads what is new; see `Source.poll`."""
        try:
            if self.section.mode == "jobcomp":
                yield from JobcompLog(self.section, self.context).poll(_of_jobcomp(checkpoint))
            else:
                yield from self._slurmdbd().poll(_of_sacct(checkpoint))
        except StoppedError:
            return

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        """Tells how far a checkpoint is behind; see `Source.lag`."""
        if self.section.mode == "jobcomp":
            return JobcompLog(self.section, self.context).lag(_of_jobcomp(checkpoint))
        return self._slurmdbd().lag(_of_sacct(checkpoint))

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
            SourceError: when slurmdbd cannot be asked, or `mode` is jobcomp.
            ValueError: when it is not a job id.
        """
        if self.section.mode == "jobcomp":
            raise SourceError("collect-job asks slurmdbd; it goes with mode: sacct")
        return self._slurmdbd().one(job_id)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of the raw text of one; see `Source.parse`."""
        return self._reader().parse(raw, where)

    def check(self) -> Iterator[Finding]:
        """Looks whether Slurm's accounting can be read; see `Source.check`."""
        yield from self._reader().check()

    def _reader(self) -> Slurmdbd | JobcompLog:
        if self.section.mode == "jobcomp":
            return JobcompLog(self.section, self.context)
        return self._slurmdbd()

    def _slurmdbd(self) -> Slurmdbd:
        return Slurmdbd(self.section, self.context)


def _of_jobcomp(checkpoint: Checkpoint | None) -> JobcompCheckpoint | None:
    at = _converted(checkpoint)
    return at if isinstance(at, JobcompCheckpoint) else None


def _of_sacct(checkpoint: Checkpoint | None) -> SacctCheckpoint | None:
    at = _converted(checkpoint)
    if isinstance(at, JobcompCheckpoint):
        return SacctCheckpoint(until=at.ended, rescanned=at.ended)
    return at


def _converted(checkpoint: Checkpoint | None) -> SacctCheckpoint | JobcompCheckpoint | None:
    if checkpoint is None:
        return None
    return msgspec.convert(checkpoint, SacctCheckpoint | JobcompCheckpoint)
