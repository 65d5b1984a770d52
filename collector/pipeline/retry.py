"""Gives what was rejected another chance, after the configuration or the Auditor was corrected.

A job is parsed and mapped again from its raw text; a record is sent again as it is. The rejected
row and what takes its place change in one transaction: after a crash it is one or the other.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from collector.outbox import (
    Intake,
    NewRecord,
    Origin,
    Outbox,
    PutResult,
    RejectedRow,
    StopTime,
    Unmappable,
)
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.record import decode
from collector.source import Filtered, SourceError, guarded


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
        OutboxError: when the outbox is full or cannot be written; what was done is kept.
    """
    outcomes: Counter[str] = Counter()
    for row in rows:
        mapped = sources.get(row.source)
        if row.kind == "unmappable" and mapped is None:
            outcomes["no such source"] += 1
        elif row.kind == "unmappable" and mapped is not None:
            outcomes[_retry_job(row, mapped, outbox)] += 1
        else:
            outcomes[_retry_record(row, mapped, outbox)] += 1
    return outcomes


def _retry_job(row: RejectedRow, mapped: MappedSource, outbox: Outbox) -> str:
    try:
        job = guarded(mapped.source.parse, row.raw, row.where)
    except SourceError as error:
        return _still(row, str(error), outbox)
    (entry,) = entries_of([job], mapped)
    if isinstance(entry, Unmappable):
        return _still(row, entry.reason, outbox)
    if isinstance(entry, Filtered):
        return _filtered(row, entry.reason, outbox)
    put = outbox.put(
        Intake(
            row.source,
            [entry],
            origin=Origin.RETRY,
            may_correct_stop_time=mapped.source.may_correct_stop_time,
            replaces_rejected=[row.id],
        )
    )
    return _outcome(put)


def _retry_record(row: RejectedRow, mapped: MappedSource | None, outbox: Outbox) -> str:
    records: list[NewRecord] = []
    stops: list[StopTime] = []
    if row.kind == "stop":
        stops.append(msgspec.json.decode(row.raw, type=StopTime))
    else:
        records.append(NewRecord.of(decode(row.raw)))
    put = outbox.put(
        Intake(
            row.source,
            records,
            stops,
            origin=Origin.RETRY,
            may_correct_stop_time=mapped is not None and mapped.source.may_correct_stop_time,
            replaces_rejected=[row.id],
        )
    )
    return _outcome(put)


def _filtered(row: RejectedRow, reason: str, outbox: Outbox) -> str:
    """Drops the row: the job is not to be accounted."""
    outbox.put(
        Intake(
            row.source,
            filtered={reason: 1},
            origin=Origin.RETRY,
            replaces_rejected=[row.id],
        )
    )
    return "filtered"


def _still(row: RejectedRow, reason: str, outbox: Outbox) -> str:
    """Keeps the row, with the reason of today."""
    job = Unmappable(row.record_id, reason, row.raw, row.where)
    outbox.put(Intake(row.source, unmappable=[job], origin=Origin.RETRY))
    return "still rejected"


def _outcome(put: PutResult) -> str:
    if put.rejected:
        return "still rejected"
    return "to be sent" if put.to_be_sent else "known"
