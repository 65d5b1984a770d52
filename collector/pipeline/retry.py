"""Gives what was rejected another chance: after the configuration, or the Auditor, was mended.

A job is parsed and mapped anew from its raw text; a record is sent again as it is. The rejected row
and what takes its place change in one transaction: after a crash it is one or the other.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import msgspec

from collector.outbox import Entry, Outbox, Put, Rejected, RejectedRow
from collector.pipeline.collect import left_out, reason_of
from collector.pipeline.sources import MappedSource
from collector.record import decode
from collector.source import Unreadable


class _Stop(msgspec.Struct):
    """A stop time that belongs to no record, as the outbox keeps it."""

    record_id: str
    stop_time: datetime


def retry(
    rows: Iterable[RejectedRow], sources: dict[str, MappedSource], outbox: Outbox
) -> Counter[str]:
    """Tries rejected rows again.

    Args:
        rows: what to try.
        sources: by name.
        outbox: that the rows are of.

    Returns:
        Outcome → how many: `to be sent`, `known`, `filtered`, `still rejected`, `no such source`.

    Raises:
        OutboxError: when the outbox is full or cannot be written; what was done stands.
    """
    outcomes: Counter[str] = Counter()
    for row in rows:
        mapped = sources.get(row.source)
        if row.kind == "job" and mapped is None:
            outcomes["no such source"] += 1
        elif row.kind == "job" and mapped is not None:
            outcomes[_retry_job(row, mapped, outbox)] += 1
        else:
            outcomes[_retry_record(row, mapped, outbox)] += 1
    return outcomes


def _retry_job(row: RejectedRow, mapped: MappedSource, outbox: Outbox) -> str:
    try:
        job = mapped.source.parse(row.raw, row.place)
        if isinstance(job, Unreadable):
            return _still(row, job.reason, outbox)
        if reason := left_out(job, mapped.source.section, mapped.mapping):
            outbox.put(row.source, [], filtered={reason: 1}, origin="retry", readmitted=[row.id])
            return "filtered"
        entry = Entry.of(mapped.mapping.record(job), suspicious=job.suspicious)
    except Exception as error:  # noqa: BLE001 - as in collect: one job stops no other
        return _still(row, reason_of(error), outbox)
    put = outbox.put(
        row.source,
        [entry],
        origin="retry",
        corrects=mapped.source.corrects,
        readmitted=[row.id],
    )
    return _outcome(put)


def _retry_record(row: RejectedRow, mapped: MappedSource | None, outbox: Outbox) -> str:
    entries: list[Entry] = []
    stops = []
    if row.kind == "stop":
        stop = msgspec.json.decode(row.raw, type=_Stop)
        stops.append((stop.record_id, stop.stop_time))
    else:
        entries.append(Entry.of(decode(row.raw)))
    put = outbox.put(
        row.source,
        entries,
        stops=stops,
        origin="retry",
        corrects=mapped is not None and mapped.source.corrects,
        readmitted=[row.id],
    )
    return _outcome(put)


def _still(row: RejectedRow, reason: str, outbox: Outbox) -> str:
    """Keeps the row, with the reason of today."""
    rejected = Rejected(row.record_id, reason, row.raw, row.place)
    outbox.put(row.source, [], rejected=[rejected], origin="retry")
    return "still rejected"


def _outcome(put: Put) -> str:
    if put.rejected:
        return "still rejected"
    return "to be sent" if put.stored else "known"
