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
from collector.outbox import Entry, Outbox, Put, Rejected
from collector.pipeline.sources import MappedSource
from collector.source import Batch, Job


class Collected(msgspec.Struct):
    """What became of the jobs that one poll, or one backfill, has read."""

    read: int = 0
    """Jobs of the input; each is in exactly one of filtered, new, merged, updated, known, rejected,
    beside the stop times, which are in the last five only."""
    filtered: int = 0
    """Not to be accounted: never started, before `since`, left out by a filter."""
    new: int = 0
    """Records that now wait for the Auditor."""
    merged: int = 0
    """Stop times that joined their waiting record."""
    updated: int = 0
    """Stop times that now wait for the Auditor."""
    known: int = 0
    """Sent, or waiting, already."""
    rejected: int = 0
    """Cannot be accounted as they are; see `auditor-collector rejected`."""
    suspicious: int = 0
    """Of new, merged and updated: those with values that cannot be."""

    def add(self, read: int, filtered: int, put: Put) -> None:
        """Adds what became of one batch."""
        self.read += read
        self.filtered += filtered
        self.new += put.new
        self.merged += put.merged
        self.updated += put.updated
        self.known += put.known
        self.rejected += put.rejected
        self.suspicious += put.suspicious

    def counts(self) -> dict[str, int]:
        """What is not 0, by name, for the log."""
        return {name: count for name, count in msgspec.structs.asdict(self).items() if count}


def store(
    batch: Batch, mapped: MappedSource, outbox: Outbox, total: Collected, *, origin: str
) -> None:
    """Maps the jobs of a batch and stores their records with its checkpoint.

    Args:
        batch: of the source; its jobs are let go.
        mapped: the source, and what makes records of its jobs.
        outbox: where they are stored.
        total: what became of the jobs is added to it.
        origin: under which the outbox counts them, `poll` or a backfill's name.

    Raises:
        OutboxError: when nothing could be stored; the batch has to be read again.
    """
    section, mapping = mapped.source.section, mapped.mapping
    entries: list[Entry] = []
    filtered = Counter(batch.filtered)
    rejected = [
        Rejected(None, unreadable.reason, unreadable.raw, unreadable.where)
        for unreadable in batch.unreadable
    ]
    read = batch.read
    for job in _each(batch.jobs):
        if reason := left_out(job, section, mapping):
            filtered[reason] += 1
            continue
        try:
            entries.append(Entry.of(mapping.record(job), suspicious=job.suspicious))
        except Exception as error:  # noqa: BLE001 - whatever one job does, the others are accounted
            record_id = f"{section.record_prefix}-{job.id}"
            rejected.append(Rejected(record_id, reason_of(error), bytes(job.raw), job.where))
    stops = [(f"{section.record_prefix}-{stop.id}", stop.stop_at) for stop in batch.stops]
    put = outbox.put(
        section.name,
        entries,
        stops=stops,
        rejected=rejected,
        filtered=filtered,
        read=read,
        checkpoint=batch.checkpoint,
        origin=origin,
        corrects=mapped.source.corrects,
    )
    total.add(read, sum(filtered.values()), put)


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
