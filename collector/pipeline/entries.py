"""The one way from a job to its record: filter, map, encode; whatever one job does, costs it alone.

A poll, a backfill, its dry run, `reconcile`, `rejected retry`, `check` and `explain` all go this
way, so none of them can say anything else than what happens.
"""

from collections.abc import Iterable, Iterator

from collector.config import SourceSection
from collector.job import Job
from collector.mapping import Mapping
from collector.outbox import NewRecord, Unmappable
from collector.pipeline.sources import MappedSource
from collector.source import Filtered, Unreadable, reason_of
from collector.source.guard import text_of

Read = Job | Filtered | Unreadable
"""What a source makes of one job of its input."""

Entry = NewRecord | Filtered | Unmappable
"""What becomes of it: to be sent; not to be accounted; no record can be made of it."""


def entries_of(jobs: Iterable[Read], mapped: MappedSource) -> Iterator[Entry]:
    """Makes of each job what becomes of it, one by one, in their order.

    Args:
        jobs: as the source read them.
        mapped: the source, and the mapping of its jobs.
    """
    section, mapping = mapped.source.section, mapped.mapping
    for job in jobs:
        if not isinstance(job, Job):
            yield job if isinstance(job, Filtered) else _unmappable(job)
            continue
        try:
            reason = left_out(job, section, mapping)
            if reason is None:
                made: Entry = NewRecord.of(mapping.record(job), suspicious=job.suspicious)
            else:
                made = Filtered(reason)
        except Exception as error:  # noqa: BLE001 - whatever one job does, the others are accounted
            record_id = f"{section.record_prefix}-{job.id}"
            made = Unmappable(record_id, reason_of(error), text_of(job.raw), job.where)
        yield made


def left_out(job: Job, section: SourceSection, mapping: Mapping) -> str | None:
    """Why a job is not to be accounted, by what the configuration says; None if it is."""
    if section.since is not None and job.stop_at is not None and job.stop_at < section.since:
        return "ended before since"
    return mapping.refuses(job)


def _unmappable(unreadable: Unreadable) -> Unmappable:
    return Unmappable(None, unreadable.reason, unreadable.raw, unreadable.where)
