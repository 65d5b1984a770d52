"""Proof that what was answered with success is in the Auditor.

A proxy or a portal that answers 200 with nothing to everybody gives the very answer of an Auditor.
So after the first success of a batch, whatever came before, the Auditor is asked for one of its
records. Only an Auditor that has stored it can show it:

- With the right to read, the record is read back. That is one small request for a batch.
- With the right to write only, or where a proxy breaks what reads, the same record is sent once
  more, and must be answered with RECORD_EXISTS, or the warning that takes its place.

An Auditor stores all of a batch or nothing, so that one record proves the batch. A success that
does not prove anything by itself (no length, a text) is followed by the same question: what is
found there was stored, and is not sent again.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.errors import (
    AuditorError,
    ForbiddenError,
    RecordExistsError,
    RefusedError,
    UnavailableError,
    UnexpectedError,
    UnknownRecordError,
    UnprovenError,
)
from collector.auditor.query import QueryBuilder, SortBy
from collector.outbox import Waiting

_CONTROLS = 5
"""So many records are tried as a control from each end of the ids."""
_READ_AGAIN = timedelta(hours=1)
"""A role that was not allowed to read is asked again after this: rights are granted later."""


class Proof:
    """What is known of the Auditor's answers: whether they can be believed, and read back."""

    def __init__(self, client: AuditorClientBlocking, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now
        self._read_refused_at: datetime | None = None
        self._held: bytes | None = None

    @property
    def may_read(self) -> bool:
        """Whether reading is worth a try: it was not refused, or long ago."""
        if self._read_refused_at is None:
            return True
        return not timedelta(0) <= self._now() - self._read_refused_at < _READ_AGAIN

    def reading_is_refused(self) -> None:
        """Remembers that our role may not read."""
        self._read_refused_at = self._now()

    def of_insert(self, waiting: Waiting) -> None:
        """Returns if the Auditor has a record.

        Raises:
            UnprovenError: when it has not, or does not answer as an Auditor.
            AuditorError: when there is no answer.
        """
        if self.may_read:
            try:
                self._client.get_single_record(waiting.record_id)
            except UnknownRecordError as error:
                raise UnprovenError(
                    f"{waiting.record_id!r} was answered as stored, and is not there: "
                    "what answers is not the Auditor"
                ) from error
            except ForbiddenError:
                self.reading_is_refused()
            except UnavailableError:
                pass  # only what reads may be broken
            else:
                self._held = waiting.body
                return
        self._without_reading(waiting)

    def of_update(self, waiting: Waiting) -> None:
        """Returns if the Auditor has the stop time of a record; else as `of_insert`."""
        if self.may_read:
            try:
                stored = self._client.get_single_record(waiting.record_id)
            except UnknownRecordError as error:
                raise UnprovenError(
                    f"the stop time of {waiting.record_id!r} was answered as stored, and its "
                    "record is not there: what answers is not the Auditor"
                ) from error
            except ForbiddenError:
                self.reading_is_refused()
            except UnavailableError:
                pass
            else:
                if stored.stop_time != waiting.stop_time:
                    raise UnprovenError(
                        f"the stop time of {waiting.record_id!r} was answered as stored, and is "
                        "not there: what answers is not the Auditor"
                    )
                return
        self._without_reading(waiting)

    def takes_others(self) -> bool:
        """Whether the Auditor takes what is not refused: a control.

        A record that it holds is sent as it is held, and must be answered with RECORD_EXISTS; the
        update of a record that nobody has, with 404. Neither changes anything. An Auditor that
        holds nothing, or is in trouble, says no.
        """
        misses = 0
        try:
            for held in self._held_records():
                try:
                    self._client.bulk_insert_encoded([held])
                except RecordExistsError:
                    return self._client.knows_no_run()
                except RefusedError:  # stored by somebody who may store what is refused today
                    continue
                except UnexpectedError:  # the record whose stop time is refused, or an outage
                    misses += 1
                    if misses > 1:
                        return False
                    continue
                return False
        except AuditorError:
            return False
        return False

    def _held_records(self) -> Iterator[bytes]:
        """Records that the Auditor holds, as it holds them: ours, if there is one, or any."""
        if self._held is not None:
            yield self._held
        if not self.may_read:
            return
        for order in (SortBy().ascending("record_id"), SortBy().descending("record_id")):
            query = QueryBuilder().sort_by(order).limit(_CONTROLS).build()
            try:
                yield from map(msgspec.json.encode, self._client.advanced_query(query))
            except ForbiddenError:
                self.reading_is_refused()
                return
            except UnprovenError:  # an empty answer through a proxy that strips lengths
                continue

    def _without_reading(self, waiting: Waiting) -> None:
        try:
            self._client.bulk_insert_encoded([waiting.body])
        except RecordExistsError:
            self._held = waiting.body
            return
        raise UnprovenError(
            f"{waiting.record_id!r} was answered as stored twice, which an Auditor never does"
        )
