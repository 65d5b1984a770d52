"""What the embedded Auditor takes in: the bodies of POST and PUT, decoded and checked.

The limits are those of the server (0.11): names are not blank and at most 256 graphemes, amounts
are whole and at least 0, values of scores are at least 0, times are RFC 3339. They are fewer than
`collector.record` sets itself: an Auditor stores a stop before its start, and years before 1970.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from collector.record import NAME_LIMIT_GRAPHEMES, count_graphemes

Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
LAST_US = (datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC) - _EPOCH) // timedelta(microseconds=1)
"""The first and the last instant that can be written with four digits of the year."""
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:\.(\d+))? ?(?:[Zz]|([+-])(\d\d):?(\d\d))",
    re.ASCII,
)
_BLANK = re.compile(r"[^\S\x1c-\x1f]*")
"""White space as Unicode, and the server, has it; Python adds four control characters."""


class Instant:
    """A point in time, in microseconds since 1970, UTC; finer digits are cut off."""

    __slots__ = ("us",)

    def __init__(self, text: str) -> None:
        """Reads RFC 3339 as the server does: also with blanks, lower case and leap seconds.

        Raises:
            ValueError: for anything else, and for years before 1 and after 9999.
        """
        match = _RFC_3339.fullmatch(text)
        if match is None:
            raise ValueError("input contains invalid characters")
        date, minute, second, fraction, sign, hours, minutes = match.groups()
        leap = second == "60"
        instant = datetime.fromisoformat(f"{date}T{minute}{'59' if leap else second}+00:00")
        self.us = (instant - _EPOCH) // timedelta(microseconds=1) + leap * 1_000_000
        if fraction:
            self.us += int(fraction[:6].ljust(6, "0"))
        if sign:
            if int(hours) > 23 or int(minutes) > 59:  # noqa: PLR2004 - of a clock
                raise ValueError("input is out of range")
            offset_us = (int(hours) * 60 + int(minutes)) * 60_000_000
            self.us -= offset_us if sign == "+" else -offset_us
        if not FIRST_US <= self.us <= LAST_US:  # by its zone, or its leap second
            raise ValueError("input is out of range")


class NewScore(msgspec.Struct):
    """A factor of a component."""

    name: str
    value: Annotated[float, msgspec.Meta(ge=0)]

    def __post_init__(self) -> None:
        check_name(self.name)
        self.value += 0.0  # -0.0 becomes 0.0, as in PostgreSQL


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
    if (not text or (text.isspace() and _BLANK.fullmatch(text))) or (
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


def _instant(kind: type, value: Any) -> Any:
    assert kind is Instant
    if not isinstance(value, str):
        raise TypeError("expected an RFC 3339 formatted date and time")
    return Instant(value)


decode_record = msgspec.json.Decoder(NewRecord, dec_hook=_instant).decode
decode_records = msgspec.json.Decoder(list[NewRecord], dec_hook=_instant).decode
decode_stop_time = msgspec.json.Decoder(NewStopTime, dec_hook=_instant).decode
