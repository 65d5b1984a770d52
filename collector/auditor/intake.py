"""What the embedded Auditor takes in: the bodies of POST and PUT, decoded and checked.

The limits are those of the server (0.11): names are not blank and at most 256 graphemes, amounts
are whole and at least 0, values of scores are at least 0, times are RFC 3339. They are fewer than
`collector.record` sets itself: an Auditor stores a stop before its start, and years before 1970.
"""

from datetime import datetime
from typing import Annotated

import msgspec

from collector.record import NAME_LIMIT_GRAPHEMES, count_graphemes

Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class NewScore(msgspec.Struct):
    """A factor of a component."""

    name: str
    value: Annotated[float, msgspec.Meta(ge=0)]

    def __post_init__(self) -> None:
        check_name(self.name)


class NewComponent(msgspec.Struct):
    """A resource and its amount."""

    name: str
    amount: Amount
    scores: list[NewScore]

    def __post_init__(self) -> None:
        check_name(self.name)


class NewRecord(msgspec.Struct):
    """A record to store."""

    record_id: str
    components: list[NewComponent]
    start_time: Instant
    meta: dict[str, list[str]] | None = None
    stop_time: Instant | None = None

    def __post_init__(self) -> None:
        check_name(self.record_id)
        check_meta(self.meta)


class NewStopTime(msgspec.Struct):
    """A stop time for a stored record; the rest is checked, and ignored."""

    record_id: str
    components: list[NewComponent]
    stop_time: Instant
    meta: dict[str, list[str]] | None = None
    start_time: Instant | None = None

    def __post_init__(self) -> None:
        check_name(self.record_id)
        check_meta(self.meta)


def check_name(text: str) -> None:
    """Checks a text as the server's `ValidName` does.

    Raises:
        ValueError: with the server's words.
    """
    if not text.strip() or (
        len(text) > NAME_LIMIT_GRAPHEMES and count_graphemes(text) > NAME_LIMIT_GRAPHEMES
    ):
        raise ValueError(f"Parsing '{text}' failed")


def check_meta(meta: dict[str, list[str]] | None) -> None:
    """Checks all names of a meta."""
    for key, values in (meta or {}).items():
        check_name(key)
        for value in values:
            check_name(value)


def has_nul(body: bytes) -> bool:
    """Whether a decoded text of this JSON holds U+0000, which PostgreSQL refuses."""
    return b"\\u0000" in body.replace(b"\\\\", b"")


decode_record = msgspec.json.Decoder(NewRecord).decode
decode_records = msgspec.json.Decoder(list[NewRecord]).decode
decode_stop_time = msgspec.json.Decoder(NewStopTime).decode
