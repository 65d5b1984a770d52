"""The source `htcondor`: chooses where the accounting is read, and hands on what is read there."""

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
    Finding,
    Job,
    Lag,
    Source,
    SourceError,
    Unreadable,
)
from collector.source.proposal import Proposal
from collector_htcondor.condor_history import CondorHistory
from collector_htcondor.epochs import EpochReader
from collector_htcondor.history import HistoryFiles
from collector_htcondor.identity import Identifiers, schedd_of
from collector_htcondor.jobs import JobReader
from collector_htcondor.modes import offers
from collector_htcondor.open_runs import Tracked
from collector_htcondor.per_job import PerJobDirectory
from collector_htcondor.running import WHERE, Running, RunReader
from collector_htcondor.section import HTCondorSection
from collector_htcondor.witnesses import WITNESSES

__all__ = ["HTCondorSection", "HTCondorSource"]

_PLACES: dict[str, type[CondorHistory | PerJobDirectory]] = {
    "condor_history": CondorHistory,
    "per_job": PerJobDirectory,
}


class HTCondorSource(Source):
    """Reads the jobs, or the runs of jobs, of one schedd or several."""

    Section = HTCondorSection
    user_field: ClassVar[str | None] = "Owner"
    mapping: ClassVar[str] = (
        importlib.resources.files(__package__).joinpath("mapping.yaml").read_text("utf-8")
    )
    section: HTCondorSection

    witnesses: ClassVar[tuple[str, ...]] = (*sorted(WITNESSES), "RunStartDate", "EpochWriteDate")
    kinds: ClassVar[tuple[str, ...]] = ("htcondor", "htcondor-ce")

    @classmethod
    def propose(cls, kind: str) -> Proposal:
        """The section for this machine; see `Source.propose`."""
        from collector_htcondor.proposal import propose  # noqa: PLC0415 - for `init` alone

        return propose(kind)

    def __init__(self, section: SourceSection, context: Context) -> None:
        super().__init__(section, context)
        keys = self.section
        made = JobReader
        if keys.mode == "epochs":
            made = EpochReader
        elif keys.track_running or keys.run == "named":
            made = RunReader
        identifiers = Identifiers(self._sample)
        reader = made(context.fields, keys.run, keys.suspicious, keys.universes, identifiers)
        self._reader = reader
        self._place = _PLACES.get(keys.mode, HistoryFiles)(keys, context, reader)
        self._running = Running(keys, context, reader)

    def _sample(self) -> Iterator[bytes]:
        return self._place.sample()

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        at = _tracked(checkpoint)
        if not self.section.track_running and not any(of.runs for of in at.running.values()):
            yield from self._place.poll(at.place)
            return
        failed: list[SourceError] = []
        left: dict[str, int] = {}
        self._reader.left = left
        try:
            for batch in self._place.poll(at.place):
                at.place = batch.checkpoint
                self._running.close(batch, at, left)
                left.clear()
                batch.checkpoint = msgspec.to_builtins(at)
                yield batch
        except SourceError as error:
            failed.append(error)  # of one schedd of several: the others' runs go on
        finally:
            self._reader.left = None
        if self.section.track_running and not self.context.stop.is_set():
            try:
                yield from self._running.poll(at)
            except SourceError as error:
                failed.append(error)
        if failed:
            raise SourceError("; ".join(map(str, failed)))

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        return self._place.lag(_tracked(checkpoint).place)

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        return self._place.backfill(since, until)

    def readable_since(self) -> datetime | None:
        if self.section.mode == "per_job" and self.section.remove:
            return self.context.now()  # what was read is gone
        return super().readable_since()

    def scheduler_of(self, job_id: str) -> str | None:
        return schedd_of(job_id)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        return (self._running if where == WHERE else self._place).parse(raw, where)

    def check(self) -> Iterator[Finding]:
        yield from self._place.check()
        yield from offers(self.section, self.context.stop)


def _tracked(checkpoint: Checkpoint | None) -> Tracked:
    if isinstance(checkpoint, dict) and "running" in checkpoint:
        return msgspec.convert(checkpoint, Tracked)
    return Tracked(checkpoint)
