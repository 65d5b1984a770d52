"""Gives what was rejected another chance, after the configuration or the Auditor was corrected.

A job is parsed and mapped again from its raw text; a record is sent again as it is. The rejected
row and what takes its place change in one transaction, of some hundred rows: after a crash it is
one or the other.
"""

import itertools
from collections import Counter
from collections.abc import Iterable

import msgspec

from collector.outbox import (
    Intake,
    NewRecord,
    Origin,
    Outbox,
    Outcome,
    RejectedRow,
    StopTime,
    Unmappable,
)
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.record import decode
from collector.source import Filtered, SourceError, guarded

_BATCH = 500
"""Rows in one transaction."""


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
    rows = iter(rows)
    while page := list(itertools.islice(rows, _BATCH)):
        by_source: dict[str, list[RejectedRow]] = {}
        for row in page:
            by_source.setdefault(row.source, []).append(row)
        for name, some in by_source.items():
            _retry_some(name, some, sources.get(name), outbox, outcomes)
    return +outcomes


def _retry_some(
    name: str,
    rows: Iterable[RejectedRow],
    mapped: MappedSource | None,
    outbox: Outbox,
    outcomes: Counter[str],
) -> None:
    """Tries rows of one source again, in one transaction, and counts what becomes of them."""
    records: list[NewRecord] = []
    stops: list[StopTime] = []
    unmappable: list[Unmappable] = []
    filtered: Counter[str] = Counter()
    replaced: list[int] = []
    for row in rows:
        if row.kind == "stop":
            stops.append(msgspec.json.decode(row.raw, type=StopTime))
        elif row.kind != "unmappable":
            records.append(NewRecord.of(decode(row.raw)))
        elif mapped is None:
            outcomes["no such source"] += 1
            continue
        else:
            entry = _entry(row, mapped)
            if isinstance(entry, Unmappable):  # its row stays, with the reason of today
                unmappable.append(entry)
                continue
            if isinstance(entry, Filtered):
                filtered[entry.reason] += 1
            else:
                records.append(entry)
        replaced.append(row.id)
    put = outbox.put(
        Intake(
            name,
            records,
            stops,
            unmappable,
            filtered,
            origin=Origin.RETRY,
            may_correct_stop_time=mapped is not None and mapped.source.may_correct_stop_time,
            replaces_rejected=replaced,
        )
    )
    outcomes["to be sent"] += put.to_be_sent
    outcomes["known"] += put.outcomes[Outcome.KNOWN]
    outcomes["filtered"] += filtered.total()
    outcomes["still rejected"] += put.rejected


def _entry(row: RejectedRow, mapped: MappedSource) -> NewRecord | Filtered | Unmappable:
    """What a job's raw text is by the configuration of today."""
    try:
        job = guarded(mapped.source.parse, row.raw, row.where)
    except SourceError as error:
        return Unmappable(row.record_id, str(error), row.raw, row.where)
    (entry,) = entries_of([job], mapped)
    if isinstance(entry, Unmappable):
        return Unmappable(row.record_id, entry.reason, row.raw, row.where)
    return entry
