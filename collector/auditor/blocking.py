"""The blocking client, whose methods return when the answer is there.

It has the methods of the public package `pyauditor`. It is thin: `protocol.py` says what to send
and what each answer means, `connection.py` carries it. Every method raises an `AuditorError` unless
the answer proves what was asked for.

A client keeps its connections open and may be used by several threads at once; close it, or use it
as a context manager. It keeps nothing on disk, and a request that was under way in a crash may or
may not have been carried out.
"""

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from collector.auditor import protocol
from collector.auditor.connection import Connection
from collector.auditor.errors import (
    AuditorError,
    ForbiddenError,
    ProtocolError,
    RecordExistsError,
    UnexpectedError,
    UnknownRecordError,
    UnprovenError,
)
from collector.auditor.protocol import NO_RUN, Answer, Request
from collector.auditor.query import Operator, QueryBuilder, SortBy, Value
from collector.record import InvalidRecordError, Record

_FIRST_RECORD = QueryBuilder().sort_by(SortBy().ascending("record_id")).limit(1).build()
"""By the id, because that is what a real Auditor's database has an index of."""


class AuditorClientBlocking:
    """A client whose methods return when the answer is there."""

    def __init__(self, connection: Connection, *, plain_errors: bool = False) -> None:
        self._connection = connection
        self._plain = plain_errors

    @property
    def timeout_s(self) -> float:
        """How long it waits for a whole answer, in seconds."""
        return self._connection.timeout_s

    def add(self, record: Record) -> None:
        """Stores a record; one that is stored without a stop time, and now has one, is updated.

        Raises:
            RecordExistsError: when the stored record has a stop time, or this one has none.
            AuditorError: see `collector.auditor.errors`.
        """
        try:
            self.insert_encoded(record.encode())
        except RecordExistsError:
            if record.stop_time is None or self.get_single_record(record.record_id).stop_time:
                raise
            self.update(record)

    def bulk_insert(self, records: Iterable[Record]) -> None:
        """Stores records: all of them, or none.

        Raises:
            RecordExistsError: when at least one of them is stored already; none was stored.
            TooLargeError: when they are over 2 MiB together.
            AuditorError: see `collector.auditor.errors`.
        """
        self.bulk_insert_encoded([record.encode() for record in records])

    def update(self, record: Record) -> None:
        """Sets the stop time of a stored record; nothing else of it can be changed.

        Raises:
            UnknownRecordError: when the record is not stored.
            InvalidRecordError: when the record has no stop time.
            AuditorError: see `collector.auditor.errors`.
        """
        self.update_stop_time(record.record_id, _stop_time(record))

    def insert_encoded(self, encoded: bytes, *, timeout_s: float | None = None) -> Answer:
        """As `add`, for a record that `Record.encode` has encoded; updates nothing."""
        return self._send(protocol.insert(encoded), timeout_s)

    def bulk_insert_encoded(
        self, bodies: Sequence[bytes], *, timeout_s: float | None = None
    ) -> Answer:
        """As `bulk_insert`, for records that `Record.encode` has encoded."""
        return self._send(protocol.bulk_insert(bodies), timeout_s)

    def update_stop_time(self, record_id: str, stop_time: datetime) -> Answer:
        """As `update`, without the rest of the record."""
        return self._send(protocol.update(record_id, stop_time))

    def get_single_record(self, record_id: str) -> Record:
        """Reads one record.

        Args:
            record_id: as it is stored; or percent-encoded, as programs for pyauditor give it.

        Raises:
            UnknownRecordError: when it is not stored.
            AuditorError: see `collector.auditor.errors`.
        """
        try:
            return self._get_single_record(record_id)
        except UnknownRecordError:
            if "%" not in record_id or unquote(record_id) == record_id:
                raise
            return self._get_single_record(unquote(record_id))

    def _get_single_record(self, record_id: str) -> Record:
        try:
            answer = self._send(protocol.single(record_id))
            return protocol.decode_single(answer.body, record_id)
        except UnexpectedError as error:
            # An unknown record and a database that is away are one answer.
            if self.database_answers():
                raise UnknownRecordError(
                    f"no record {record_id!r}", status=error.status, words=error.words
                ) from error
            raise
        except AuditorError as error:
            raise self._spoken(error) from error.__cause__

    def database_answers(self) -> bool:
        """Whether the Auditor's database is there, also where no role may ask for the health.

        Where that is forbidden, a record that the Auditor gives, or its answer to the update of a
        record that is not there, shows it.

        Raises:
            AuditorError: when the Auditor does not answer.
        """
        try:
            self._send(protocol.health())
        except UnexpectedError:
            return False
        except (ForbiddenError, UnprovenError):
            return self._gives_a_record() or self.knows_no_run()
        return True

    def _gives_a_record(self) -> bool:
        try:
            for _ in self.stream_query(_FIRST_RECORD):
                return True
        except (ForbiddenError, ProtocolError, UnexpectedError):
            return False
        return False

    def knows_no_run(self) -> bool:
        """Whether the update of a record that nobody has is answered as an Auditor answers it.

        Needs the right to write, and changes nothing.
        """
        try:
            self._send(protocol.update(NO_RUN, _SOME_TIME))
        except UnknownRecordError:
            return True
        except (ForbiddenError, ProtocolError, UnexpectedError):
            return False
        return False

    def advanced_query(self, query_string: str) -> list[Record]:
        """Reads the records that a query of `QueryBuilder` selects, as a list."""
        return list(self.stream_query(query_string))

    def stream_query(self, query_string: str = "") -> Generator[Record]:
        """Reads the records that a query selects one after the other, in constant memory.

        Raises:
            RefusedError: when the Auditor does not understand the query.
            UnprovenError: at the end, when nobody can say whether it is the end.
            AuditorError: see `collector.auditor.errors`; also after some records, when the
                answer breaks off.
        """
        for records in self.stream_chunks(query_string):
            yield from records

    def stream_chunks(self, query_string: str = "") -> Iterator[list[Record]]:
        """As `stream_query`, but gives the records that came in together as a list."""
        request = protocol.query(query_string)
        decoder = protocol.AnswerDecoder()
        try:
            with self._connection.stream(request) as (answer, chunks, deadline):
                for chunk in chunks:
                    if records := list(decoder.feed(chunk)):
                        yield records
                        deadline.renew()
                if records := list(decoder.finish()):
                    yield records
            if not answer.framed:
                raise UnprovenError(
                    "the answer to a query has no length, so that it may have broken off",
                    status=answer.status,
                )
        except AuditorError as error:
            raise self._spoken(error) from error.__cause__
        if decoder.empty:  # which is also the answer of an Auditor whose database is away
            self._raise_unless_empty()

    def _raise_unless_empty(self) -> None:
        """Returns if an empty answer can be believed.

        Who may only read may not ask for the health, and has no other way to know; who may write
        has one.
        """
        try:
            self._send(protocol.health())
        except ForbiddenError:
            try:
                self._send(protocol.update(NO_RUN, _SOME_TIME))
            except (UnknownRecordError, ForbiddenError):
                return

    def get(self) -> list[Record]:
        """Reads all records. Deprecated: use `advanced_query`, or `stream_query`."""
        warn_deprecated("get")
        return self.advanced_query("")

    def get_started_since(self, timestamp: datetime) -> list[Record]:
        """Reads the records that started at an instant or later. Deprecated, as `get`."""
        warn_deprecated("get_started_since")
        return self.advanced_query(started_since(timestamp))

    def get_stopped_since(self, timestamp: datetime) -> list[Record]:
        """Reads the records that stopped at an instant or later. Deprecated, as `get`."""
        warn_deprecated("get_stopped_since")
        return self.advanced_query(stopped_since(timestamp))

    def health_check(self) -> bool:
        """Whether the Auditor and its database are there."""
        try:
            self._send(protocol.health())
        except AuditorError:
            return False
        return True

    def check(self) -> None:
        """As `health_check`, but says what is wrong.

        Raises:
            AuditorError: see `collector.auditor.errors`.
        """
        self._send(protocol.health())

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _send(self, request: Request, timeout_s: float | None = None) -> Answer:
        try:
            return self._connection.send(request, timeout_s)
        except AuditorError as error:
            raise self._spoken(error, request) from error.__cause__

    def _spoken(self, error: AuditorError, request: Request | None = None) -> AuditorError:
        """The error, its message beginning as programs for pyauditor know it."""
        message = str(error)
        if self._plain or message.startswith(_KNOWN_BEGINNINGS):
            return error
        where = f"{self._connection.address}{'' if request is None else request.target}"
        error.args = (f"{_beginning(error, where)}: {message}",)
        return error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


_SOME_TIME = datetime(2001, 1, 1, tzinfo=UTC)
_KNOWN_BEGINNINGS = ("Reqwest Error: ", "The record already exists")


def _beginning(error: AuditorError, where: str) -> str:
    """How pyauditor 0.11.2 begins its message for what happened.

    For an unknown record that is a 404, whatever the status was: a program recognises it by that.
    """
    if isinstance(error, RecordExistsError):
        return "The record already exists in the database"
    status = 404 if isinstance(error, UnknownRecordError) else error.status
    if status is None:
        return f"Reqwest Error: error sending request for url ({where})"
    if status < 400:  # noqa: PLR2004
        return f"Reqwest Error: error decoding response body for url ({where})"
    try:
        named = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        named = f"{status} <unknown status code>"
    kind = "client" if status < 500 else "server"  # noqa: PLR2004
    return f"Reqwest Error: HTTP status {kind} error ({named}) for url ({where})"


def _stop_time(record: Record) -> datetime:
    if record.stop_time is None:
        raise InvalidRecordError(
            f"record {record.record_id!r} has no stop time, and only that can be updated; "
            "give it one: record.with_stop_time(…)"
        )
    return record.stop_time


def started_since(timestamp: datetime) -> str:
    """The query for the records that started at an instant or later."""
    return QueryBuilder().with_start_time(_since(timestamp)).build()


def stopped_since(timestamp: datetime) -> str:
    """The query for the records that stopped at an instant or later."""
    return QueryBuilder().with_stop_time(_since(timestamp)).build()


def _since(timestamp: datetime) -> Operator:
    return Operator().gte(Value.set_datetime(timestamp))


def warn_deprecated(method: str) -> None:
    """Warns at the line that calls the caller."""
    warnings.warn(
        f"{method} is deprecated; use advanced_query or stream_query with a QueryBuilder",
        DeprecationWarning,
        stacklevel=3,
    )
