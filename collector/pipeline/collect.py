"""Moves the jobs of a source into the outbox: read → map → put, batch by batch.

Each batch is stored with its checkpoint in one transaction, so a crash at any point leaves either
both or neither: the next poll begins where the last stored batch ended. A job that cannot be mapped
goes to the rejected table with the text it was read from, and stops nothing.
"""

from collections import Counter, deque

import msgspec

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
from collector.outbox.tried import JOBS
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.source import Batch, Filtered, Job, Unreadable


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
    tried: deque[tuple[str, str]] = msgspec.field(default_factory=lambda: deque(maxlen=JOBS))
    """(user, reason) of the newest jobs that no rule left out; see `Tried.add`."""
    reasons: deque[str] = msgspec.field(default_factory=lambda: deque(maxlen=JOBS))
    """Why the last of the rejected jobs were rejected."""

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
        batch: of the source; it stays as it is.
        mapped: the source, and what makes records of its jobs.
        outbox: where they are stored.
        total: what became of the jobs is added to it.
        origin: under which the outbox counts them.

    Raises:
        OutboxError: when nothing could be stored; the batch has to be read again.
    """
    section = mapped.source.section
    records: list[NewRecord] = []
    filtered = Counter(batch.filtered)
    unmappable: list[Unmappable] = []
    jobs: list[Job | Unreadable] = [*batch.unreadable, *batch.jobs]
    tried: deque[tuple[Job | Unreadable, str]] = deque(maxlen=JOBS)
    for job, entry in zip(jobs, entries_of(jobs, mapped), strict=True):
        if isinstance(entry, Filtered):
            filtered[entry.reason] += 1
            continue
        if isinstance(entry, NewRecord):
            records.append(entry)
            tried.append((job, ""))
        else:
            unmappable.append(entry)
            tried.append((job, entry.reason))
    stops = [StopTime(f"{section.record_prefix}-{stop.id}", stop.stop_at) for stop in batch.stops]
    put = outbox.put(
        Intake(
            section.name,
            records,
            stops,
            unmappable,
            filtered,
            read=batch.read,
            checkpoint=batch.checkpoint,
            origin=origin,
            may_correct_stop_time=mapped.source.may_correct_stop_time,
        )
    )
    total.add(batch.read, len(stops), sum(filtered.values()), put)
    total.reasons.extend(one.reason for one in unmappable)
    total.tried.extend((_user_of(job, mapped), reason) for job, reason in tried)


def _user_of(job: Job | Unreadable, mapped: MappedSource) -> str:
    """Whose job it is, as the batch system says; empty where that is not known."""
    name = mapped.source.user_field
    return str(job.fields.get(name, "")) if isinstance(job, Job) and name is not None else ""
