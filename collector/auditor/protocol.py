"""Requests to an Auditor, and what each of its answers means: written once, without I/O.

A request is data; whoever can send it (`connection.py`) hands the answer to `raise_for_answer`,
which returns when the answer proves what was asked for, and raises one of `errors.py` otherwise.

Format: Auditor 0.11. Only a 200 *with a body that is known to be empty* proves that something was
stored: with `ignore_record_exists_error` the server rolls back, and answers 200 with a warning; a
proxy or a portal answers 200 with a page, or breaks off after the head. An Auditor always gives the
length of an empty body, and never a type. What a 200 cannot prove (a proxy that answers 200 with
nothing to everybody) the sender asks for: see `collector.sender.proof`.
"""

import string
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

from collector.auditor.errors import (
    AuditorError,
    ForbiddenError,
    ProtocolError,
    RecordExistsError,
    RefusedError,
    TimedOutError,
    TooLargeError,
    UnavailableError,
    UnexpectedError,
    UnknownRecordError,
    UnprovenError,
)
from collector.auditor.reading import (
    OBJECT_LIMIT_BYTES,
    AnswerDecoder,
    decode_single,
    is_warning,
    shortened,
)
from collector.record import as_utc

__all__ = [
    "BODY_LIMIT_BYTES",
    "Answer",
    "AnswerDecoder",
    "AuditorError",
    "ForbiddenError",
    "ProtocolError",
    "RecordExistsError",
    "RefusedError",
    "Request",
    "TimedOutError",
    "TooLargeError",
    "UnavailableError",
    "UnexpectedError",
    "UnknownRecordError",
    "UnprovenError",
    "add",
    "bulk_insert",
    "check_address",
    "decode_single",
    "health",
    "insert",
    "query",
    "raise_for_answer",
    "single",
    "update",
]

BODY_LIMIT_BYTES = 2_097_152
"""The largest body that an Auditor reads; beyond it, 413."""

NO_RUN = "auditor-collector: no run has this id"
"""A record id that is never stored: what an Auditor answers to its update shows that it is one."""

_QUERY_SAFE = string.punctuation.replace("#", "")
"""`QueryBuilder` has encoded what has to be; of a query by hand the rest is encoded here."""

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

    @property
    def framed(self) -> bool:
        """Whether it says itself where its body ends, so that an empty one is known to be."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers


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
    if not query_string:
        return Request("query", "GET", "/records")
    return Request("query", "GET", f"/records?{quote(query_string, safe=_QUERY_SAFE)}")


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
    if len(body) > OBJECT_LIMIT_BYTES:
        raise ProtocolError(f"an answer of over {OBJECT_LIMIT_BYTES} bytes, where one is short")


def raise_for_answer(request: Request, answer: Answer) -> None:
    """Returns if the answer proves what the request asked for.

    Raises:
        AuditorError: what the answer means otherwise; see the tree in `errors.py`.
    """
    status = answer.status
    words = shortened(answer.body)
    what = f"{request.method} {request.target.partition('?')[0]}"
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise ProtocolError(
            f"{what} was answered with {status}, in an encoding that was not asked for",
            status=status,
        )
    if status == 200:  # noqa: PLR2004 - HTTP statuses are names enough, here and below
        _raise_unless_proven(request, answer, what, words)
        return
    if status == 500 and answer.body.strip() == b"RECORD_EXISTS":  # noqa: PLR2004
        raise RecordExistsError("nothing was stored", status=status, words=words)
    if status == 404 and request.kind == "update" and b"unknown record" in answer.body:  # noqa: PLR2004
        raise UnknownRecordError("no such record", status=status, words=words)
    later = _meaning_of_later(status)
    if later is not None:
        raise later(
            f"{what} was answered with {status}",
            status=status,
            words=words,
            retry_after_s=_retry_after_s(answer.headers),
        )
    meaning, text = _meaning(status, request.method)
    raise meaning(f"{what} was answered with {status}, {text}", status=status, words=words)


def _raise_unless_proven(request: Request, answer: Answer, what: str, words: str) -> None:
    if request.kind in {"query", "single"}:  # what they hold is their proof
        return
    if request.kind == "insert" and is_warning(answer.body):
        raise RecordExistsError("nothing was stored", status=answer.status, words=words)
    if answer.body:
        problem = "with 200 and a text; only 200 without one is an Auditor's success"
    elif not answer.framed:
        problem = "with 200 and no length, so that the answer may have broken off"
    elif "content-type" in answer.headers:
        problem = "with 200 and a content type, which is not an Auditor's answer"
    else:
        return
    raise UnprovenError(f"{what} was answered {problem}", status=answer.status, words=words)


def _meaning_of_later(status: int) -> type[UnavailableError] | None:
    if status in {408, 504}:
        return TimedOutError
    if status in {425, 429} or (500 < status < 600 and status != 511):  # noqa: PLR2004
        return UnavailableError
    return None


def _meaning(status: int, method: str) -> tuple[type[AuditorError], str]:
    if status == 400:  # noqa: PLR2004
        return RefusedError, "the Auditor refuses this"
    if status == 413:  # noqa: PLR2004
        return TooLargeError, f"the Auditor reads at most {BODY_LIMIT_BYTES} bytes"
    if status in {401, 403}:
        right = "read_access_cn" if method == "GET" else "write_access_cn"
        return ForbiddenError, (
            "this client may not do this; if the Auditor has roles, the common name of its "
            f"certificate belongs into {right}"
        )
    if status in {407, 511}:
        return ForbiddenError, "a proxy on the way asks for a login"
    if status in {404, 405} or 300 <= status < 400:  # noqa: PLR2004
        return ForbiddenError, "no Auditor answers at this address"
    if status == 500:  # noqa: PLR2004
        return UnexpectedError, "the Auditor's database refused this, or is away"
    if 200 < status < 300:  # noqa: PLR2004
        return UnprovenError, "which is not an Auditor's success"
    return ProtocolError, "no answer that an Auditor gives"


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
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"address {url!r}: expected ASCII characters without blanks")
    if parts.query or parts.fragment:
        raise ValueError(f"address {url!r}: nothing may follow the path")
    return url.rstrip("/")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or from an instant, which is compared with the server's own clock."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) < 10:  # noqa: PLR2004 - 30 years
        return float(value)
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
