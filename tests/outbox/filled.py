"""Entries for an outbox under test, and an Auditor that takes all of them."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from collector.config import OutboxSection
from collector.outbox import (
    NewRecord,
    Outbox,
    Outcome,
    Verdict,
    Waiting,
)
from collector.record import Component, Record

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


START = datetime(2026, 1, 1, tzinfo=UTC)


LIMITS = OutboxSection(min_free_bytes=0)


def entry(
    number: int = 1, *, lasts_s: int | None = 60, start: datetime = START, cores: int = 1
) -> NewRecord:
    stop = None if lasts_s is None else start + timedelta(seconds=lasts_s)
    return NewRecord.of(Record(f"r-{number}", start, stop, None, [Component("Cores", cores)]))


def taken(outbox: Outbox, now: datetime = NOW) -> list[Waiting]:
    return outbox.take(1000, 10**9, now)


def send(outbox: Outbox) -> None:
    """The Auditor takes everything."""
    outbox.settle(
        [
            Verdict(waiting, Outcome.STOP_SENT if waiting.is_stop else Outcome.SENT)
            for waiting in taken(outbox)
        ]
    )


def outcomes(**numbers: int) -> Counter[Outcome]:
    """Outcome → how many, by its word."""
    return Counter({Outcome(word): number for word, number in numbers.items()})
