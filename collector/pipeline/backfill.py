"""A past period, once: reads it from the sources, and sees that all of it reaches the Auditor.

It shares the outbox and its ledger with a daemon that may be running, and touches no checkpoint.
Records that were sent before are known by the ledger, or by the Auditor, and not sent again, so
repeating a backfill is harmless. A backfill that is killed has lost nothing: what it has put is
sent by the daemon, or by the next backfill; the rest is read again when it is repeated.
"""

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec

from collector.logs import Log
from collector.outbox import ACCEPTED, FOUND_BY_PUT, NewRecord, Outbox, Outcome
from collector.pipeline.collect import Collected, store
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.sender import Sender
from collector.source import Batch, Filtered

Progress = Callable[[str, float | None, Collected], None]
"""Called after each batch: the source's name, the share that is read (0 to 1), the sums so far."""

_LOOK_S = 0.5
PATIENCE_S = 60.0
"""A backfill that delivers nothing for so long ends, and leaves the rest in the outbox."""


class Summary(msgspec.Struct):
    """What became of the jobs of a period."""

    read: int = 0
    filtered: int = 0
    stored: int = 0
    """Records and stop times that the Auditor stored."""
    already_there: int = 0
    """Known by the ledger, waiting before, or found in the Auditor."""
    rejected: int = 0
    """Here, or by the Auditor."""
    waiting: int = 0
    """Not delivered yet."""

    @property
    def delivered(self) -> bool:
        """Whether every job that is to be accounted is in the Auditor."""
        return not self.rejected and not self.waiting


def backfill(
    sources: Sequence[MappedSource],
    outbox: Outbox,
    since: datetime,
    until: datetime,
    *,
    origin: str,
    progress: Progress,
) -> Collected:
    """Puts the runs that ended in a period into the outbox.

    Args:
        sources: to read.
        outbox: where the records are stored; its checkpoints stay as they are.
        since: start of the period, aware.
        until: its end, which is not in it.
        origin: name of this backfill, under which its counts are kept.
        progress: called after each batch.

    Returns:
        What became of the jobs, in sum.

    Raises:
        SourceError: when a source cannot be read in full; what was read is stored.
        OutboxFullError: when there is no room; likewise.
    """
    total = Collected()
    for mapped in sources:
        for batch in mapped.source.backfill(since, until):
            store(batch, mapped, outbox, total, origin=origin)
            progress(mapped.name, batch.progress, total)
    return total


def dry_run(
    sources: Sequence[MappedSource], since: datetime, until: datetime, progress: Progress
) -> tuple[Collected, Counter[str]]:
    """Reads and maps a period, and stores nothing.

    Returns:
        What would become of its jobs, as far as sources and mapping decide it, and how often each
        reason for leaving out or rejecting a job was given.
    """
    total, reasons = Collected(), Counter[str]()
    for mapped in sources:
        for batch in mapped.source.backfill(since, until):
            _try(batch, mapped, total, reasons)
            progress(mapped.name, batch.progress, total)
    return total, reasons


def _try(batch: Batch, mapped: MappedSource, total: Collected, reasons: Counter[str]) -> None:
    total.read += batch.read
    total.outcomes[Outcome.FILTERED] += sum(batch.filtered.values())
    reasons.update(batch.filtered)
    for entry in entries_of(itertools.chain(batch.unreadable, batch.jobs), mapped):
        if isinstance(entry, NewRecord):
            total.outcomes[Outcome.QUEUED] += 1
        else:
            outcome = Outcome.FILTERED if isinstance(entry, Filtered) else Outcome.UNMAPPABLE
            total.outcomes[outcome] += 1
            reasons[entry.reason] += 1


@contextlib.contextmanager
def sending(sender: Sender, log: Log) -> Iterator[None]:
    """Sends what waits, on a thread of its own, inside the `with`.

    Only one process sends: where a daemon runs on the same outbox, it does, and this one waits.
    """
    ended = threading.Event()

    def drain() -> None:
        logged = False
        while not ended.is_set():
            if sender.run_pass().elsewhere and not logged:
                log.info("another process sends on this outbox; waiting for it")
                logged = True
            ended.wait(_LOOK_S)

    thread = threading.Thread(target=drain, name="sender", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_until_sent(
    outbox: Outbox, newest_id: int, stop: threading.Event, patience_s: float = PATIENCE_S
) -> bool:
    """Waits until nothing is left of what was put up to an id, or the stop event is set.

    Args:
        outbox: what waits.
        newest_id: the last that is waited for.
        stop: ends the waiting.
        patience_s: without any progress for so long, it is given up: what waits is safe.

    Returns:
        False: it was given up.
    """
    left, since = -1, time.monotonic()
    while (now_left := outbox.waiting_up_to(newest_id)) and not stop.wait(_LOOK_S):
        if now_left != left:
            left, since = now_left, time.monotonic()
        elif time.monotonic() - since > patience_s:
            return False
    return True


def summary_of(outbox: Outbox, origin: str, put: Collected, newest_id: int) -> Summary:
    """What became of a backfill, by the outbox's books.

    Args:
        outbox: that it went through.
        origin: of the backfill.
        put: what was put.
        newest_id: of the outbox when all was put.
    """
    sums: Counter[str] = Counter()
    for (_, by, outcome, detail), number in outbox.status().counts.items():
        if by == origin and detail != FOUND_BY_PUT:
            sums[outcome] += number
    accepted = sum(sums[outcome] for outcome in ACCEPTED)
    stored = sums[Outcome.SENT] + sums[Outcome.STOP_SENT]
    return Summary(
        read=put.read,
        filtered=put.outcomes[Outcome.FILTERED],
        stored=stored,
        already_there=put.outcomes[Outcome.KNOWN] + accepted - stored,
        rejected=put.rejected + sums[Outcome.REFUSED] + sums[Outcome.COLLISION],
        waiting=outbox.waiting_up_to(newest_id),
    )
