"""The clients: `AuditorClient` (async) and `AuditorClientBlocking`, made by a builder.

They have the methods of the public package `pyauditor`. Both are thin: `protocol.py` says what to
send and what each answer means, and this module only carries it, over httpx. Every method raises
an `AuditorError` unless the answer proves what was asked for.

A client keeps its connections open and may be used by several threads (or tasks) at once; close
it, or use it as a context manager. It keeps nothing on disk, and a request that was under way in a
crash may or may not have been carried out.
"""

import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

import httpx

from collector.auditor import protocol, tls
from collector.auditor.protocol import Answer, Request
from collector.auditor.query import Operator, QueryBuilder, Value
from collector.record import InvalidRecordError, Record

DEFAULT_TIMEOUT_S = 30.0


class _Settings(TypedDict):
    base_url: str
    timeout: float
    verify: ssl.SSLContext
    headers: dict[str, str]


class AuditorClientBuilder:
    """Collects where the Auditor is and how to reach it; then builds a client.

    Each method changes the builder and returns it.
    """

    def __init__(self) -> None:
        self._address = "http://127.0.0.1:8080"
        self._timeout_s = DEFAULT_TIMEOUT_S
        self._certificate: tuple[Path, Path] | None = None
        self._ca: Path | None = None

    def address(self, address: str, port: int) -> Self:
        """Sets host and port, to be reached over HTTP, or over HTTPS after `with_tls`.

        Raises:
            ValueError: when they are none.
        """
        host = f"[{address}]" if ":" in address and not address.startswith("[") else address
        return self.connection_string(f"http://{host}:{port}")

    def connection_string(self, connection_string: str) -> Self:
        """Sets the whole address, `http://HOST:PORT` or `https://HOST:PORT`.

        Raises:
            ValueError: when it is none.
        """
        self._address = protocol.check_address(connection_string)
        return self

    def timeout(self, timeout: float) -> Self:
        """Sets how long to wait for a connection, and for each piece of an answer, in seconds."""
        if not timeout > 0:
            raise ValueError(f"timeout {timeout!r}: expected a number of seconds above 0")
        self._timeout_s = float(timeout)
        return self

    def with_tls(
        self,
        client_cert_path: str | Path,
        client_key_path: str | Path,
        ca_cert_path: str | Path | None = None,
    ) -> Self:
        """Sets the PEM files of the client's certificate, its key, and the CA of the server.

        The address becomes an HTTPS one. Without a CA the system's are trusted.
        """
        self._certificate = (Path(client_cert_path), Path(client_key_path))
        return self if ca_cert_path is None else self.with_ca(ca_cert_path)

    def with_ca(self, ca_cert_path: str | Path) -> Self:
        """Sets the PEM file of the CA of the server, for one that asks for no certificate.

        The address becomes an HTTPS one.
        """
        self._ca = Path(ca_cert_path)
        return self

    def build(self) -> "AuditorClient":
        """Builds a client for async code.

        Raises:
            ValueError: when the TLS files cannot be used; names the file.
        """
        return AuditorClient(httpx.AsyncClient(**self._settings()))

    def build_blocking(self) -> "AuditorClientBlocking":
        """Builds a client for everything else.

        Raises:
            ValueError: when the TLS files cannot be used; names the file.
        """
        return AuditorClientBlocking(httpx.Client(**self._settings()))

    def _settings(self) -> _Settings:
        address = self._address
        if self._certificate or self._ca:
            address = address.replace("http://", "https://", 1)
        return {
            "base_url": address,
            "timeout": self._timeout_s,
            "verify": tls.context(address, self._certificate, self._ca),
            "headers": {"content-type": "application/json", "user-agent": "auditor-collector"},
        }


class AuditorClientBlocking:
    """A client whose methods return when the answer is there."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def add(self, record: Record) -> None:
        """Stores a record; one that is stored without a stop time, and now has one, is updated.

        Raises:
            RecordExistsError: when the stored record has a stop time, or this one has none.
            AuditorError: see `collector.auditor.protocol`.
        """
        try:
            self.insert_encoded(record.encode())
        except protocol.RecordExistsError:
            if record.stop_time is None or self.get_single_record(record.record_id).stop_time:
                raise
            self.update(record)

    def bulk_insert(self, records: Iterable[Record]) -> None:
        """Stores records: all of them, or none.

        Raises:
            RecordExistsError: when at least one of them is stored already; none was stored.
            TooLargeError: when they are over 2 MiB together.
            AuditorError: see `collector.auditor.protocol`.
        """
        self.bulk_insert_encoded([record.encode() for record in records])

    def update(self, record: Record) -> None:
        """Sets the stop time of a stored record; nothing else of it can be changed.

        Raises:
            UnknownRecordError: when the record is not stored.
            InvalidRecordError: when the record has no stop time.
            AuditorError: see `collector.auditor.protocol`.
        """
        self.update_stop_time(record.record_id, _stop_time(record))

    def insert_encoded(self, encoded: bytes) -> None:
        """As `add`, for a record that `Record.encode` has encoded; updates nothing."""
        self._send(protocol.insert(encoded))

    def bulk_insert_encoded(self, bodies: Sequence[bytes]) -> None:
        """As `bulk_insert`, for records that `Record.encode` has encoded."""
        self._send(protocol.bulk_insert(bodies))

    def update_stop_time(self, record_id: str, stop_time: datetime) -> None:
        """As `update`, without the rest of the record."""
        self._send(protocol.update(record_id, stop_time))

    def get_single_record(self, record_id: str) -> Record:
        """Reads one record.

        Raises:
            UnknownRecordError: when it is not stored.
            AuditorError: see `collector.auditor.protocol`.
        """
        try:
            answer = self._send(protocol.single(record_id))
        except protocol.UnexpectedError as error:
            # An unknown record and a database that is away are one answer; only health tells.
            if self.health_check():
                raise _unknown(record_id, error) from error
            raise
        return protocol.decode_single(answer.body, record_id)

    def advanced_query(self, query_string: str) -> list[Record]:
        """Reads the records that a query of `QueryBuilder` selects, as a list."""
        return list(self.stream_query(query_string))

    def stream_query(self, query_string: str = "") -> Iterator[Record]:
        """Reads the records that a query selects one after the other, in constant memory.

        Raises:
            RefusedError: when the Auditor does not understand the query.
            AuditorError: see `collector.auditor.protocol`; also after some records, when the
                answer breaks off.
        """
        request = protocol.query(query_string)
        decoder = protocol.AnswerDecoder()
        with _transport_errors(request), self._http.stream("GET", request.target) as response:
            _judged(request, response, b"" if response.is_success else _whole(response))
            for chunk in response.iter_bytes():
                yield from decoder.feed(chunk)
            yield from decoder.finish()
        if decoder.empty:  # which is also the answer of an Auditor whose database is away
            with contextlib.suppress(protocol.ForbiddenError):
                self._send(protocol.health())

    def get(self) -> list[Record]:
        """Reads all records. Deprecated: use `advanced_query`, or `stream_query`."""
        _warn_deprecated("get")
        return self.advanced_query("")

    def get_started_since(self, timestamp: datetime) -> list[Record]:
        """Reads the records that started at an instant or later. Deprecated, as `get`."""
        _warn_deprecated("get_started_since")
        return self.advanced_query(_started_since(timestamp))

    def get_stopped_since(self, timestamp: datetime) -> list[Record]:
        """Reads the records that stopped at an instant or later. Deprecated, as `get`."""
        _warn_deprecated("get_stopped_since")
        return self.advanced_query(_stopped_since(timestamp))

    def health_check(self) -> bool:
        """Whether the Auditor and its database are there."""
        try:
            self._send(protocol.health())
        except protocol.AuditorError:
            return False
        return True

    def check(self) -> None:
        """As `health_check`, but says what is wrong.

        Raises:
            AuditorError: see `collector.auditor.protocol`.
        """
        self._send(protocol.health())

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _send(self, request: Request) -> Answer:
        with (
            _transport_errors(request),
            self._http.stream(request.method, request.target, content=request.body) as response,
        ):
            return _judged(request, response, _whole(response))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AuditorClient:
    """A client for async code; its methods are those of `AuditorClientBlocking`, awaited."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def add(self, record: Record) -> None:
        """See `AuditorClientBlocking.add`."""
        try:
            await self._send(protocol.insert(record.encode()))
        except protocol.RecordExistsError:
            if record.stop_time is None:
                raise
            if (await self.get_single_record(record.record_id)).stop_time:
                raise
            await self.update(record)

    async def bulk_insert(self, records: Iterable[Record]) -> None:
        """See `AuditorClientBlocking.bulk_insert`."""
        await self._send(protocol.bulk_insert([record.encode() for record in records]))

    async def update(self, record: Record) -> None:
        """See `AuditorClientBlocking.update`."""
        await self._send(protocol.update(record.record_id, _stop_time(record)))

    async def get_single_record(self, record_id: str) -> Record:
        """See `AuditorClientBlocking.get_single_record`."""
        try:
            answer = await self._send(protocol.single(record_id))
        except protocol.UnexpectedError as error:
            if await self.health_check():
                raise _unknown(record_id, error) from error
            raise
        return protocol.decode_single(answer.body, record_id)

    async def advanced_query(self, query_string: str) -> list[Record]:
        """See `AuditorClientBlocking.advanced_query`."""
        return [record async for record in self.stream_query(query_string)]

    async def stream_query(self, query_string: str = "") -> AsyncIterator[Record]:
        """See `AuditorClientBlocking.stream_query`."""
        request = protocol.query(query_string)
        decoder = protocol.AnswerDecoder()
        with _transport_errors(request):
            async with self._http.stream("GET", request.target) as response:
                body = b"" if response.is_success else await _whole_async(response)
                _judged(request, response, body)
                async for chunk in response.aiter_bytes():
                    for record in decoder.feed(chunk):
                        yield record
                for record in decoder.finish():
                    yield record
        if decoder.empty:
            with contextlib.suppress(protocol.ForbiddenError):
                await self._send(protocol.health())

    async def get(self) -> list[Record]:
        """See `AuditorClientBlocking.get`."""
        _warn_deprecated("get")
        return await self.advanced_query("")

    async def get_started_since(self, timestamp: datetime) -> list[Record]:
        """See `AuditorClientBlocking.get_started_since`."""
        _warn_deprecated("get_started_since")
        return await self.advanced_query(_started_since(timestamp))

    async def get_stopped_since(self, timestamp: datetime) -> list[Record]:
        """See `AuditorClientBlocking.get_stopped_since`."""
        _warn_deprecated("get_stopped_since")
        return await self.advanced_query(_stopped_since(timestamp))

    async def health_check(self) -> bool:
        """See `AuditorClientBlocking.health_check`."""
        try:
            await self._send(protocol.health())
        except protocol.AuditorError:
            return False
        return True

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _send(self, request: Request) -> Answer:
        with _transport_errors(request):
            async with self._http.stream(
                request.method, request.target, content=request.body
            ) as response:
                return _judged(request, response, await _whole_async(response))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


@contextlib.contextmanager
def _transport_errors(request: Request) -> Iterator[None]:
    """Says in our words that no answer came, or only a part of one."""
    try:
        yield
    except httpx.DecodingError as error:
        raise protocol.ProtocolError(f"{request.target}: {error}") from error
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise protocol.UnavailableError(
            f"{request.method} {request.target.partition('?')[0]}: no answer ({reason})"
        ) from error


def _whole(response: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        protocol.add(body, chunk)
    return bytes(body)


async def _whole_async(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        protocol.add(body, chunk)
    return bytes(body)


def _judged(request: Request, response: httpx.Response, body: bytes) -> Answer:
    answer = Answer(response.status_code, dict(response.headers), body)
    protocol.judge(request, answer)
    return answer


def _stop_time(record: Record) -> datetime:
    if record.stop_time is None:
        raise InvalidRecordError(
            f"record {record.record_id!r} has no stop time, and only that can be updated; "
            "give it one: record.with_stop_time(…)"
        )
    return record.stop_time


def _unknown(record_id: str, error: protocol.UnexpectedError) -> protocol.UnknownRecordError:
    return protocol.UnknownRecordError(
        f"no record {record_id!r}", status=error.status, words=error.words
    )


def _started_since(timestamp: datetime) -> str:
    return QueryBuilder().with_start_time(_since(timestamp)).build()


def _stopped_since(timestamp: datetime) -> str:
    return QueryBuilder().with_stop_time(_since(timestamp)).build()


def _since(timestamp: datetime) -> Operator:
    return Operator().gte(Value.set_datetime(timestamp))


def _warn_deprecated(method: str) -> None:
    warnings.warn(
        f"{method} is deprecated; use advanced_query or stream_query with a QueryBuilder",
        DeprecationWarning,
        stacklevel=3,
    )
