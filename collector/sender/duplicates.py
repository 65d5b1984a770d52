"""Records that the Auditor has already: which of a batch, and whether they are the same.

The Auditor says only that *something* of a batch is there. It cannot be asked for a list of ids,
but for a range of times: the runs of a batch were read together and mostly lie close together, so
that one query finds all of them. What it does not find, because the stored version is open, was
corrected, or is another run, a wider query finds, and at last one request for each record.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import IntEnum
from typing import cast

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.errors import UnknownRecordError, UnprovenError
from collector.auditor.query import Operator, QueryBuilder, Value
from collector.outbox import Waiting, instant
from collector.record import Record, decode, shared

SINGLY = 4
"""So many records are asked for one by one: cheaper than a range of unknown length."""
_FOREIGN_PER_RECORD = 20
_FOREIGN_AT_LEAST = 2_000


class Search(IntEnum):
    """How to look for the records of a group; each finds what the one before did not."""

    RUNS = 0
    """By start and stop."""
    STARTS = 1
    """By start: also what is stored without a stop, or with another one."""
    SINGLY = 2
    """By id: also what has another start."""


def find(
    client: AuditorClientBlocking, group: Sequence[Waiting], search: Search
) -> dict[str, Record]:
    """Looks for the records of a group in the Auditor.

    Returns:
        Record id → stored version, of those that were found.

    Raises:
        AuditorError: when the Auditor does not answer.
    """
    if search is Search.SINGLY or len(group) <= SINGLY:
        return _find_singly(client, group)
    found: dict[str, Record] = {}
    is_open = [waiting for waiting in group if waiting.stop_us is None]
    closed = [waiting for waiting in group if waiting.stop_us is not None]
    if search is Search.RUNS:
        _find_range(client, is_open, found, by_stop=False)
        _find_range(client, closed, found, by_stop=True)
    else:
        _find_range(client, group, found, by_stop=False)
    return found


def _find_range(
    client: AuditorClientBlocking,
    group: Sequence[Waiting],
    found: dict[str, Record],
    *,
    by_stop: bool,
) -> None:
    """Queries the range of a group; halves it when too much of others lies in it."""
    if not group:
        return
    wanted = {waiting.record_id for waiting in group}
    query = QueryBuilder().with_start_time(_range([waiting.start_us for waiting in group]))
    if by_stop:
        query = query.with_stop_time(
            _range([waiting.stop_us for waiting in group if waiting.stop_us is not None])
        )
    foreign = 0
    limit = max(_FOREIGN_AT_LEAST, _FOREIGN_PER_RECORD * len(group))
    answer = client.stream_query(query.build())
    with contextlib.closing(answer) as records:
        for record in _as_far_as_it_goes(records):
            if record.record_id in wanted:
                found[record.record_id] = record
                wanted.remove(record.record_id)
                if not wanted:
                    return
            else:
                foreign += 1
                if foreign > limit:
                    break
        else:
            return
    rest = [waiting for waiting in group if waiting.record_id in wanted]
    if len(rest) <= SINGLY:
        found |= _find_singly(client, rest)
        return
    rest.sort(
        key=lambda waiting: waiting.stop_us or waiting.start_us if by_stop else waiting.start_us
    )
    half = len(rest) // 2
    _find_range(client, rest[:half], found, by_stop=by_stop)
    _find_range(client, rest[half:], found, by_stop=by_stop)


def _as_far_as_it_goes(records: Iterator[Record]) -> Iterator[Record]:
    """The records of an answer, also of one that does not prove that it is whole.

    Nothing is concluded from what is not found: a wider search follows, at last by id.
    """
    with contextlib.suppress(UnprovenError):
        yield from records


def _find_singly(client: AuditorClientBlocking, group: Sequence[Waiting]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for waiting in group:
        with contextlib.suppress(UnknownRecordError):
            found[waiting.record_id] = client.get_single_record(waiting.record_id)
    return found


def _range(instants_us: Sequence[int]) -> Operator:
    first, last = (Value.set_datetime(instant(us)) for us in (min(instants_us), max(instants_us)))
    return Operator().gte(first).lte(last)


def difference(waiting: Waiting, stored: Record) -> str:
    """Says what keeps ours from being the same as a stored record; empty if nothing does.

    Meta is not compared: other collectors, and other configurations, say more or less about a run.
    Neither are components that only ours has: a later release has added them.
    Neither is a stop time that is still to be sent: the stored one is open, or ours corrects it.
    """
    ours = decode(waiting.body)
    stop_follows = (
        stored.stop_time is None or waiting.may_correct_stop_time or ours.stop_time is None
    )
    differences = []
    if ours.start_time != stored.start_time:
        differences.append(f"start_time {stored.start_time.isoformat()}")
    if not stop_follows and ours.stop_time != stored.stop_time:
        differences.append(f"stop_time {cast('datetime', stored.stop_time).isoformat()}")
    is_other_run = bool(differences)
    if shared(ours.components, stored.components) != stored.components:
        held = ", ".join(f"{part.name} {part.amount}" for part in stored.components)
        differences.append(f"components {held or 'none'}")
    if not differences:
        return ""
    what = ", ".join(differences)
    if is_other_run:
        return f"another run is stored under this id: {what}; two clusters with one prefix?"
    return f"the same run is stored with other amounts: {what}; another mapping?"
