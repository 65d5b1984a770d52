"""Requests to an Auditor, and what each of its answers means: written once, without I/O.

A request is data; whoever can send it (`client.py`, both ways) hands the answer to `judge`, which
returns when the answer proves what was asked for, and raises otherwise:

    AuditorError
    ├── RecordExistsError     at least one record is stored already; nothing of the request was
    ├── UnknownRecordError    the record to update, or to read, is not there
    ├── RefusedError          the Auditor never takes this request: 400
    ├── TooLargeError         the body is over 2 MiB: 413
    ├── ForbiddenError        not by this client, or not at this address: 401, 403, 404, 3xx
    ├── UnavailableError      not now: no connection, time-out, TLS, 429, 502, 503, 504
    ├── UnexpectedError       the Auditor's database refused, or is away: other 500s
    └── ProtocolError         no answer that an Auditor gives

Every one of them carries the status and the server's words. After `UnavailableError` the request
may or may not have been carried out; after every other one, nothing was stored by it.

Format: Auditor 0.11. Only a 200 *with an empty body* proves that records were stored: with
`ignore_record_exists_error` the server rolls back, and answers 200 with a warning.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

from collector.record import Component, Meta, Record, as_utc

BODY_LIMIT_BYTES = 2_097_152
"""The largest body that an Auditor reads; beyond it, 413."""

_OBJECT_LIMIT_BYTES = 4 * BODY_LIMIT_BYTES
"""No stored record is longer: it came in a body, and escapes at most double it on the way back."""

_WORDS_LIMIT = 500


class AuditorError(RuntimeError):
    """What went wrong between us and an Auditor.

    A RuntimeError, because programs written for `pyauditor` expect that one.

    Attributes:
        status: of the answer; None when there was none.
        words: what the server said, shortened; empty when it said nothing.
    """

    def __init__(self, message: str, *, status: int | None = None, words: str = "") -> None:
        super().__init__(f"{message}: {words}" if words else message)
        self.status = status
        self.words = words


class RecordExistsError(AuditorError):
    """At least one of the records is stored already; nothing of this request was stored."""


class UnknownRecordError(AuditorError):
    """The record to update, or to read, is not in the Auditor."""


class RefusedError(AuditorError):
    """The Auditor always refuses this request; send something else."""


class TooLargeError(AuditorError):
    """The body is longer than the Auditor reads; send less at a time."""


class ForbiddenError(AuditorError):
    """This client may not do this, or there is no Auditor at this address; tell someone."""


class UnavailableError(AuditorError):
    """There is no answer now, so nobody knows whether the request was carried out; try later.

    Attributes:
        retry_after_s: how long the server asked us to wait, in seconds; None when it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        words: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, words=words)
        self.retry_after_s = retry_after_s


class UnexpectedError(AuditorError):
    """The Auditor's database refused this request, or is away; its health check tells which."""


class ProtocolError(AuditorError):
    """The answer is none that an Auditor gives; look at what stands at this address."""


Kind = Literal["insert", "update", "query", "single", "health"]


class Request(msgspec.Struct, frozen=True):
    """What to send."""

    kind: Kind
    method: Literal["GET", "POST", "PUT"]
    target: str
    """Path and query, encoded."""
    body: bytes | None = None
    """JSON; None for a request without a body."""


class Answer(msgspec.Struct, frozen=True):
    """What came back; of a query's 200 only the head."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes = b""


class StoredRecord(Record):
    """A record as an Auditor gave it back, whoever stored it.

    It is not checked again: the Auditor also holds what we would refuse to send, such as a stop
    before its start, and its readers want to see that.
    """

    components: list[Component] | None = None  # type: ignore[assignment] # null is read, not kept

    def __post_init__(self) -> None:
        """Checks nothing."""
        if self.meta is not None:
            meta = Meta()
            dict.update(meta, self.meta)
            self.meta = meta
        if self.components is None:  # the answer for components that the server cannot read
            self.components = []


def insert(encoded: bytes) -> Request:
    """Stores one record.

    Args:
        encoded: a record, as `Record.encode` gives it.
    """
    return Request("insert", "POST", "/record", encoded)


def bulk_insert(bodies: Sequence[bytes]) -> Request:
    """Stores records: all of them, or none.

    Args:
        bodies: encoded records; together, with a comma between them, at most
            `BODY_LIMIT_BYTES - 2` bytes.
    """
    return Request("insert", "POST", "/records", b"[" + b",".join(bodies) + b"]")


def update(record_id: str, stop_time: datetime) -> Request:
    """Sets the stop time of a stored record, also one that has a stop time.

    Args:
        record_id: of the stored record.
        stop_time: aware.
    """
    document = {
        "record_id": record_id,
        "components": [],  # the server wants the key, and ignores what it holds
        "stop_time": as_utc(stop_time, "stop_time"),
    }
    return Request("update", "PUT", "/record", msgspec.json.encode(document))


def query(query_string: str = "") -> Request:
    """Reads the records that a query selects, as `QueryBuilder.build` gives it; "" reads all."""
    return Request("query", "GET", f"/records?{query_string}" if query_string else "/records")


def single(record_id: str) -> Request:
    """Reads one record."""
    return Request("single", "GET", f"/record/{quote(record_id, safe='')}")


def health() -> Request:
    """Asks whether the Auditor and its database are there."""
    return Request("health", "GET", "/health_check")


def add(body: bytearray, chunk: bytes) -> None:
    """Adds a piece to the body of an answer that is kept whole.

    Raises:
        ProtocolError: when the body is longer than any that an Auditor gives.
    """
    body += chunk
    if len(body) > _OBJECT_LIMIT_BYTES:
        raise ProtocolError(f"an answer of over {_OBJECT_LIMIT_BYTES} bytes, where one is short")


def judge(request: Request, answer: Answer) -> None:
    """Returns if the answer proves what the request asked for.

    Raises:
        AuditorError: what the answer means otherwise; see the tree at the head of this module.
    """
    status = answer.status
    words = _words(answer.body)
    what = f"{request.method} {request.target.partition('?')[0]}"
    if status == 200:  # noqa: PLR2004 - HTTP statuses are names enough, here and below
        if request.kind != "insert" or not answer.body:
            return
        if _is_warning(answer.body):
            raise RecordExistsError("nothing was stored", status=status, words=words)
        raise ProtocolError(
            f"{what} was answered with 200 and a text; only 200 without one proves storage",
            status=status,
            words=words,
        )
    if status == 500 and answer.body == b"RECORD_EXISTS":  # noqa: PLR2004
        raise RecordExistsError("nothing was stored", status=status, words=words)
    if status == 404 and request.kind == "update" and b"unknown record" in answer.body:  # noqa: PLR2004
        raise UnknownRecordError("no such record", status=status, words=words)
    if status in {429, 502, 503, 504}:
        raise UnavailableError(
            f"{what} was answered with {status}",
            status=status,
            words=words,
            retry_after_s=_retry_after_s(answer.headers),
        )
    meaning: type[AuditorError]
    if status == 400:  # noqa: PLR2004
        meaning, text = RefusedError, "the Auditor refuses this"
    elif status == 413:  # noqa: PLR2004
        meaning, text = TooLargeError, f"the Auditor reads at most {BODY_LIMIT_BYTES} bytes"
    elif status in {401, 403, 407}:
        meaning, text = ForbiddenError, "this client may not do this; see its certificate"
    elif status in {404, 405} or 300 <= status < 400:  # noqa: PLR2004
        meaning, text = ForbiddenError, "no Auditor answers at this address"
    elif status == 500:  # noqa: PLR2004
        meaning, text = UnexpectedError, "the Auditor's database refused this, or is away"
    else:
        meaning, text = ProtocolError, "no answer that an Auditor gives"
    raise meaning(f"{what} was answered with {status}, {text}", status=status, words=words)


def decode_single(body: bytes, record_id: str) -> Record:
    """Reads the answer to `single`.

    Raises:
        UnknownRecordError: for a null, the server's answer to an id that it would not store.
        ProtocolError: when it is not a record.
    """
    if body.strip() == b"null":
        raise UnknownRecordError(f"no record {record_id!r}", status=200)
    return _decode_stored(body)


class AnswerDecoder:
    """Reads the answer to a query as it comes in, holding no more than a chunk and a record.

    The answer is a bare concatenation of objects, `{…}{…}`. Between two of them stands `}{"` and
    a letter; within a record that sequence cannot stand, because a quote in a text is escaped, and
    behind a closing quote never comes a letter.
    """

    _boundary = re.compile(rb"\}(?=\{\"[a-z])")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._seen = 0  # up to here the rest holds no boundary
        self.empty = True
        """Whether nothing came so far."""

    def feed(self, chunk: bytes) -> Iterator[Record]:
        """Yields the records that are complete with this chunk.

        Raises:
            ProtocolError: when the answer holds anything but records.
        """
        self.empty = self.empty and not chunk
        rest = self._rest
        rest += chunk
        start = 0
        for boundary in self._boundary.finditer(rest, self._seen):
            yield _decode_stored(rest[start : boundary.end()])
            start = boundary.end()
        del rest[:start]
        self._seen = max(0, len(rest) - 3)
        if len(rest) > _OBJECT_LIMIT_BYTES:
            raise ProtocolError(
                "the answer to a query holds something that is too long for a record"
            )

    def finish(self) -> Iterator[Record]:
        """Yields the last record, when the answer has ended.

        Raises:
            ProtocolError: when the answer broke off within a record.
        """
        if self._rest.strip():
            yield _decode_stored(bytes(self._rest))
        self._rest.clear()


def check_address(url: str) -> str:
    """Returns the address of an Auditor without a slash at its end.

    Raises:
        ValueError: naming what is wrong with it.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"address {url!r}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(
            f"address {url!r} is not an Auditor's; expected http://HOST:PORT or https://HOST:PORT"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"address {url!r}: nothing may follow the path")
    return url.rstrip("/")


_stored = msgspec.json.Decoder(StoredRecord)


def _decode_stored(encoded: bytes | bytearray) -> Record:
    try:
        return _stored.decode(encoded)
    except msgspec.MsgspecError as error:
        raise ProtocolError(
            f"not a record ({error})", words=_words(bytes(encoded[:2000]))
        ) from error


def _words(body: bytes) -> str:
    text = " ".join(body[: 4 * _WORDS_LIMIT].decode(errors="replace").split())
    return text if len(text) <= _WORDS_LIMIT else f"{text[:_WORDS_LIMIT]}…"


def _is_warning(body: bytes) -> bool:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return isinstance(document, dict) and "already exist" in str(document.get("warning"))


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or from an instant, which is compared with the server's own clock."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) < 10:  # noqa: PLR2004 - 30 years
        return float(value)
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None
