"""The source `htcondor`: chooses where the accounting is read, and hands on what is read there."""

import importlib.resources
from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

from collector.config import SourceSection
from collector.source import Batch, Checkpoint, Context, Finding, Job, Source, Unreadable
from collector_htcondor.files import HistoryFiles
from collector_htcondor.jobs import EpochReader, JobReader
from collector_htcondor.remote import CondorHistory
from collector_htcondor.section import HTCondorSection

__all__ = ["HTCondorSection", "HTCondorSource"]


class HTCondorSource(Source):
    """Reads the jobs, or the runs of jobs, of one schedd or several."""

    Section = HTCondorSection
    mapping: ClassVar[str] = (
        importlib.resources.files(__package__).joinpath("mapping.yaml").read_text("utf-8")
    )
    section: HTCondorSection

    def __init__(self, section: SourceSection, context: Context) -> None:
        super().__init__(section, context)
        keys = self.section
        made = EpochReader if keys.mode == "epochs" else JobReader
        reader = made(context.fields, keys.run, keys.suspicious)
        place = CondorHistory if keys.mode == "condor_history" else HistoryFiles
        self._place = place(keys, context, reader)

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        return self._place.poll(checkpoint)

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        return self._place.backfill(since, until)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        return self._place.parse(raw, where)

    def check(self) -> Iterator[Finding]:
        return self._place.check()
