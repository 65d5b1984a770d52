"""Reads the records in an Auditor's answers, as they come in and whatever is in them."""

import re
from collections.abc import Iterator

import msgspec

from collector.auditor.errors import ProtocolError, UnknownRecordError
from collector.record import Component, Meta, Record

OBJECT_LIMIT_BYTES = 8 * 2**20
"""No stored record is longer: it came in a body of 2 MiB, and escapes at most double it on the way
back."""

WORDS_LIMIT = 500


class StoredRecord(Record):
    """A record as an Auditor gave it back, whoever stored it.

    It is not checked again: the Auditor also holds what we would refuse to send, such as a stop
    before its start, and its readers want to see that.
    """

    components: list[Component] | None = None  # type: ignore[assignment] # null is read, not kept

    def __post_init__(self) -> None:
        """Checks only that its times have a zone, without which they are no instants.

        Raises:
            ValueError: when one has none.
        """
        for time in (self.start_time, self.stop_time):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"the time {time} has no zone")
        if self.meta is not None:
            meta = Meta()
            dict.update(meta, self.meta)
            self.meta = meta
        if self.components is None:  # the answer for components that the server cannot read
            self.components = []


def decode_single(body: bytes, record_id: str) -> Record:
    """Reads the answer to a request for one record.

    Raises:
        UnknownRecordError: for a null, the server's answer to an id that it would not store.
        ProtocolError: when it is not that record.
    """
    if body.strip() == b"null":
        raise UnknownRecordError(f"no record {record_id!r}", status=200)
    found = _decode_stored(body)
    if found.record_id != record_id:
        raise ProtocolError(f"asked for record {record_id!r}, the answer is another one")
    return found


class AnswerDecoder:
    """Reads the answer to a query as it comes in, holding no more than a chunk and a record.

    The answer is a bare concatenation of objects, `{…}{…}`. Between two of them is `}{"` and
    a letter; within a record that sequence cannot be, because a quote in a text is escaped, and
    after a closing quote never comes a letter.
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
        if len(rest) > OBJECT_LIMIT_BYTES:
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


_stored = msgspec.json.Decoder(StoredRecord)


def _decode_stored(encoded: bytes | bytearray) -> Record:
    try:
        return _stored.decode(encoded)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(
            f"not a record ({type(error).__name__}: {str(error)[:200]})",
            words=shortened(bytes(encoded[:2000])),
        ) from error


def is_warning(body: bytes) -> bool:
    """Whether an answer is the warning that takes the place of RECORD_EXISTS."""
    try:
        warning = _warning.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return "already exist" in warning.warning


class _Warning(msgspec.Struct):
    warning: str


_warning = msgspec.json.Decoder(_Warning)


def shortened(body: bytes) -> str:
    """The server's words on one line, at most `WORDS_LIMIT` characters of them."""
    text = " ".join(body[: 4 * WORDS_LIMIT].decode(errors="replace").split())
    text = "".join(char if char.isprintable() else "�" for char in text)
    return text if len(text) <= WORDS_LIMIT else f"{text[:WORDS_LIMIT]}…"
