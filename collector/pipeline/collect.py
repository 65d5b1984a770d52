"""Moves the jobs of a source into the outbox: read → map → put, batch by batch.

Each batch is stored with its checkpoint in one transaction, so a crash at any point leaves either
both or neither: the next poll begins where the last stored batch ended. A job that cannot be mapped
goes to the rejected table with the text it was read from, and stops nothing.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from collector.config import SourceSection
from collector.mapping import Mapping
from collector.outbox import (
    REJECTED,
    TO_BE_SENT,
    Intake,
    NewRecord,
    Outbox,
    Outcome,
    PutResult,
    StopTime,
    Unmappable,
)
from collector.pipeline.sources import MappedSource
from collector.source import Batch, Job


class Collected(msgspec.Struct):
    """What became of the jobs that one poll, or one backfill, has read."""

    read: int = 0
    """Jobs of the input; beside the stop times, `outcomes` add up to it."""
    stops_read: int = 0
    """Stop times of runs that were read before."""
    outcomes: Counter[Outcome] = msgspec.field(default_factory=Counter)
    """Of jobs and stop times."""
    suspicious: int = 0
    """Of what will be sent: jobs with impossible values."""

    def add(self, read: int, stops_read: int, filtered: int, put: PutResult) -> None:
        """Adds what became of one batch."""
        self.read += read
        self.stops_read += stops_read
        self.outcomes.update(put.outcomes)
        self.outcomes[Outcome.FILTERED] += filtered
        self.suspicious += put.suspicious

    @property
    def to_be_sent(self) -> int:
        """Records and stop times that wait for the Auditor now."""
        return sum(self.outcomes[outcome] for outcome in TO_BE_SENT)

    @property
    def rejected(self) -> int:
        """What cannot be accounted as it is; see `auditor-collector rejected`."""
        return sum(self.outcomes[outcome] for outcome in REJECTED)

    def counts(self) -> dict[str, int]:
        """What is not 0, by name, for the log."""
        numbers = {"read": self.read, "stops_read": self.stops_read, "suspicious": self.suspicious}
        numbers |= {str(outcome): number for outcome, number in self.outcomes.items()}
        return {name: number for name, number in numbers.items() if number}


def store(
    batch: Batch, mapped: MappedSource, outbox: Outbox, total: Collected, *, origin: str
) -> None:
    """Maps the jobs of a batch and stores their records with its checkpoint.

    Args:
        batch: of the source; its jobs are let go.
        mapped: the source, and what makes records of its jobs.
        outbox: where they are stored.
        total: what became of the jobs is added to it.
        origin: under which the outbox counts them.

    Raises:
        OutboxError: when nothing could be stored; the batch has to be read again.
    """
    section, mapping = mapped.source.section, mapped.mapping
    records: list[NewRecord] = []
    filtered = Counter(batch.filtered)
    unmappable = [
        Unmappable(None, unreadable.reason, unreadable.raw, unreadable.where)
        for unreadable in batch.unreadable
    ]
    read = batch.read
    for job in _each(batch.jobs):
        if reason := left_out(job, section, mapping):
            filtered[reason] += 1
            continue
        try:
            records.append(NewRecord.of(mapping.record(job), suspicious=job.suspicious))
        except Exception as error:  # noqa: BLE001 - whatever one job does, the others are accounted
            record_id = f"{section.record_prefix}-{job.id}"
            unmappable.append(Unmappable(record_id, reason_of(error), bytes(job.raw), job.where))
    stops = [StopTime(f"{section.record_prefix}-{stop.id}", stop.stop_at) for stop in batch.stops]
    put = outbox.put(
        Intake(
            section.name,
            records,
            stops,
            unmappable,
            filtered,
            read=read,
            checkpoint=batch.checkpoint,
            origin=origin,
            may_correct_stop_time=mapped.source.may_correct_stop_time,
        )
    )
    total.add(read, len(stops), sum(filtered.values()), put)


def _each(jobs: list[Job]) -> Iterator[Job]:
    """Empties a list from its beginning: what is let go at once is still in the processor's cache,
    which makes it cheaper.
    """
    jobs.reverse()
    while jobs:
        yield jobs.pop()


def left_out(job: Job, section: SourceSection, mapping: Mapping) -> str | None:
    """Why a job is not to be accounted, by what the configuration says; None if it is."""
    if section.since is not None and job.stop_at is not None and job.stop_at < section.since:
        return "ended before since"
    return mapping.refuses(job)


def reason_of(error: Exception) -> str:
    """Why a job cannot be mapped, in words; with the type of an error that nobody foresaw."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
