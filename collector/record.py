"""Record, Meta, Component, Score: what an Auditor stores, valid by construction.

A value of these types can be sent: every limit that the server enforces, and those that it does
not state but fails on, are checked when the value is made, so that a bad record is noticed where
its job is still known, and never takes the batch it would have travelled in with it.

The four types behave as those of the public package `pyauditor` do: `with_…` and `insert` change
the object and return it, so that chained calls and calls whose result is ignored both work. What is
put into a record is copied, so that one Meta or Component can be changed for the next record.

Limits and wire format: Auditor 0.11, `POST /record` (names are its `ValidName`, amounts its
`ValidAmount`, values its `ValidValue`).
"""

import math
import operator
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self

import msgspec

NAME_LIMIT_GRAPHEMES = 256
AMOUNT_LIMIT = 2**63 - 1
RECORD_LIMIT_BYTES = 10_000
"""Largest record that the public async client can read back (one object of an answer)."""
_ADDED_BYTES = 32
"""The run time, which the server adds to a record."""

_JOINERS = frozenset("\u200c\u200d")
_PICTURE = "[\u203c-\u3299\U0001f000-\U0001fbff]"
_CLUSTERS = re.compile(
    rf"\r\n|[\U0001f1e6-\U0001f1ff]{{2}}|[\u1100-\u115f]+[\u1160-\u11a7]*[\u11a8-\u11ff]*"
    rf"|{_PICTURE}[\ufe0f\U0001f3fb-\U0001f3ff]*(?:\u200d{_PICTURE}[\ufe0f\U0001f3fb-\U0001f3ff]*)*"
)


class InvalidRecordError(ValueError, RuntimeError):
    """Raised for a value that an Auditor would refuse, or could never give back.

    A RuntimeError too, because programs written for `pyauditor` expect that one.
    """


class Score(msgspec.Struct, gc=False):  # nor the two below: none can be part of a cycle
    """A factor that makes components of one kind comparable, e.g. a HEPscore23 per core.

    Attributes:
        name: 1 to 256 characters, not blank.
        value: finite and at least 0; the unit is the site's convention.
    """

    name: str
    value: float

    def __post_init__(self) -> None:
        check_name(self.name, "score name")
        value = self.value
        if type(value) is not float:
            if isinstance(value, bool) or not hasattr(value, "__float__"):
                raise InvalidRecordError(f"score {self.name!r}: value {value!r} is not a number")
            try:
                self.value = value = float(value)
            except OverflowError:
                value = math.inf
        if not 0 <= value < math.inf:
            raise InvalidRecordError(
                f"score {self.name!r}: value {value!r} is not a finite number of at least 0"
            )


class Component(msgspec.Struct, gc=False):
    """An accounted resource and how much of it was held or used.

    Attributes:
        name: 1 to 256 characters, not blank.
        amount: a whole number, 0 to 2⁶³-1; the unit is the component's (see the mapping).
        scores: factors of this component.
    """

    name: str
    amount: int
    scores: list[Score] = []

    def __post_init__(self) -> None:
        check_name(self.name, "component name")
        self._check_amount()

    def of_amount(self, amount: int) -> Self:
        """A component of the same name with another amount, without scores."""
        other: Self = self.__copy__()  # type: ignore[attr-defined] # without __post_init__
        other.amount, other.scores = amount, []
        other._check_amount()
        return other

    def with_score(self, score: Score) -> Self:
        """Adds a score to this component and returns the component."""
        self.scores.append(score)
        return self

    def _check_amount(self) -> None:
        amount = self.amount
        if type(amount) is not int:
            if isinstance(amount, bool) or not hasattr(amount, "__index__"):
                raise InvalidRecordError(
                    f"component {self.name!r}: amount {amount!r} is not a whole number"
                )
            self.amount = amount = operator.index(amount)  # one of numpy's
        if not 0 <= amount <= AMOUNT_LIMIT:
            raise InvalidRecordError(
                f"component {self.name!r}: amount {amount} is not within 0 and 2^63-1"
            )


class Meta(dict[str, list[str]]):
    """Information about a record: key → values, in the order of insertion; see `insert`."""

    def __init__(self, values: Mapping[str, Iterable[str]] = MappingProxyType({})) -> None:
        super().__init__()
        self.update(values)

    @classmethod
    def of_checked(cls, values: dict[str, list[str]]) -> Self:
        """Makes a meta of keys and texts that `check_name` has let through, or would.

        Not for anything else: what comes out is not looked at again.
        """
        meta = cls.__new__(cls)
        dict.update(meta, values)
        return meta

    def update(self, values: Mapping[str, Iterable[str]]) -> None:  # type: ignore[override] # narrower on purpose
        """Inserts all keys of a mapping."""
        for key in values:
            self.insert(key, values[key])

    def __setitem__(self, key: str, value: Iterable[str]) -> None:
        self.insert(key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """The values of a key; the default where it has none."""
        return super().get(key, default)

    def insert(self, key: str, value: Iterable[str]) -> Self:
        """Sets the values of a key and returns the meta.

        Args:
            key: 1 to 256 characters, not blank.
            value: the values, each 1 to 256 characters and not blank.

        Raises:
            InvalidRecordError: for a key or value that the Auditor would refuse.
        """
        if isinstance(value, str):
            raise InvalidRecordError(
                f"meta {key!r}: expected a list of texts, got the text {value!r}"
            )
        check_name(key, "meta key")
        values = list(value)
        for text in values:
            check_name(text, "value of meta", key)
        super().__setitem__(key, values)
        return self


class Record(msgspec.Struct, eq=False, gc=False):
    """One run of a job: when it ran and what it held.

    Attributes:
        record_id: unique among all records of an Auditor; 1 to 256 characters.
        start_time: aware; kept in UTC.
        stop_time: aware, not before `start_time`; kept in UTC; None while the run lasts.
        meta: what is known about the run beside its resources.
        components: the accounted resources; the server's queries look at the first one only.
    """

    record_id: str
    start_time: datetime
    stop_time: datetime | None = None
    meta: dict[str, list[str]] | None = None
    components: list[Component] = []

    def __post_init__(self) -> None:
        check_name(self.record_id, "record_id")
        self.start_time = as_utc(self.start_time, "start_time")
        if self.stop_time is not None:
            self.with_stop_time(self.stop_time)
        if self.meta is not None and type(self.meta) is not Meta:
            self.meta = Meta(self.meta)

    @property
    def runtime(self) -> int | None:
        """Whole seconds between start and stop; None while there is no stop time."""
        if self.stop_time is None:
            return None
        return int((self.stop_time - self.start_time).total_seconds())

    def with_meta(self, meta: Mapping[str, Iterable[str]]) -> Self:
        """Sets the meta and returns the record."""
        self.meta = Meta(meta)
        return self

    def with_component(self, component: Component) -> Self:
        """Adds a component and returns the record."""
        self.components.append(Component(component.name, component.amount, [*component.scores]))
        return self

    def with_stop_time(self, stop_time: datetime) -> Self:
        """Sets the stop time and returns the record.

        Raises:
            InvalidRecordError: for a naive time, or one before the start.
        """
        stop_time = as_utc(stop_time, "stop_time")
        if stop_time < self.start_time:
            raise InvalidRecordError(
                f"stop_time {stop_time.isoformat()} is before "
                f"start_time {self.start_time.isoformat()}"
            )
        self.stop_time = stop_time
        return self

    def encode(self) -> bytes:
        """The record as JSON for the wire.

        Raises:
            InvalidRecordError: for a record of over 10,000 bytes, which clients cannot read back.
        """
        encoded = _encode(self)
        if len(encoded) + _ADDED_BYTES > RECORD_LIMIT_BYTES:
            raise InvalidRecordError(
                f"record {self.record_id!r} is {len(encoded)} bytes long; "
                f"clients can read back at most {RECORD_LIMIT_BYTES}"
            )
        return encoded

    def to_json(self) -> str:
        """The record as the Auditor gives it back: sorted keys, with its runtime."""
        document = {
            **msgspec.to_builtins(self),
            "start_time": instant_text(self.start_time),
            "stop_time": None if self.stop_time is None else instant_text(self.stop_time),
            "runtime": self.runtime,
        }
        return msgspec.json.encode(document, order="deterministic").decode()

    def __eq__(self, other: object) -> bool:
        """Whether both say the same of a run, wherever they come from."""
        if not isinstance(other, Record):
            return NotImplemented
        return (
            self.record_id == other.record_id
            and self.start_time == other.start_time
            and self.stop_time == other.stop_time
            and self.meta == other.meta
            and self.components == other.components
        )

    __hash__ = None  # type: ignore[assignment] # it can change


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def decode(encoded: bytes) -> Record:
    """Reads one record from JSON.

    Raises:
        InvalidRecordError: when it is not a record, or not a valid one; says what is wrong.
    """
    try:
        return _decode(encoded)
    except msgspec.ValidationError as error:
        raise InvalidRecordError(str(error)) from error
    except msgspec.DecodeError as error:
        raise InvalidRecordError(f"not a record: {error}") from error


def instant_text(instant: datetime, zone: str = "Z") -> str:
    """As the Auditor writes an instant: without a fraction, or with three or six digits of it.

    Args:
        instant: in UTC.
        zone: how UTC is written.
    """
    text = instant.replace(tzinfo=None).isoformat()
    return f"{text.removesuffix('000') if '.' in text else text}{zone}"


def as_utc(instant: datetime, what: str = "time") -> datetime:
    """Converts an aware datetime of any zone to UTC.

    Raises:
        InvalidRecordError: for a naive datetime, and for one in 1970 or before, which is a
            missing value that was treated as a number of seconds.
    """
    if getattr(instant, "tzinfo", None) is not UTC:
        if not isinstance(instant, datetime) or instant.utcoffset() is None:
            raise InvalidRecordError(
                f"{what} {instant!r} has no time zone; give it one, for example "
                "datetime(2026, 1, 31, 12, 0, tzinfo=UTC) or local.astimezone(UTC)"
            )
        try:
            instant = instant.astimezone(UTC)
        except OverflowError:
            raise InvalidRecordError(
                f"{what} {instant!r} is not within the years to 9999"
            ) from None
    if instant.year <= 1970:  # noqa: PLR2004 - the epoch's year
        raise InvalidRecordError(f"{what} {instant.isoformat()} is not a time at which a job ran")
    return instant


def shared(ours: Sequence[Component], stored: Sequence[Component]) -> list[Component]:
    """Those of our components that a stored record has too, in its order.

    A component that a later release or mapping adds is in no record of before: that it is missing
    there says nothing about the run.
    """
    order = {component.name: number for number, component in enumerate(stored)}
    known = [component for component in ours if component.name in order]
    return sorted(known, key=lambda component: order[component.name])


def check_name(text: str, what: str, key: str = "") -> None:
    """Checks a text that the Auditor limits: not blank, no NUL, at most 256 graphemes.

    Raises:
        InvalidRecordError: naming `what` (and `key`) and the text.
    """
    if (
        type(text) is str
        and 0 < len(text) <= NAME_LIMIT_GRAPHEMES
        and text.isprintable()
        and not text.isspace()
    ):
        return  # nearly always; the rest is slower, and says what is wrong
    if type(text) is not str:
        problem = "is not a text"
    elif not text or text.isspace():
        problem = "is blank"
    elif "\0" in text:
        problem = "holds a NUL character, which the Auditor's database refuses"
    elif len(text) > NAME_LIMIT_GRAPHEMES and count_graphemes(text) > NAME_LIMIT_GRAPHEMES:
        problem = f"is longer than {NAME_LIMIT_GRAPHEMES} characters"
    elif not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        problem = "holds a lone surrogate, which is not Unicode text"
    else:
        return
    shown = repr(text if not isinstance(text, str) or len(text) <= 80 else text[:77] + "…")  # noqa: PLR2004 - a line
    raise InvalidRecordError(f"{what}{f' {key!r}' if key else ''} {shown} {problem}")


def count_graphemes(text: str) -> int:
    """Characters as a reader counts them, the way of Unicode's UAX #29.

    Marks and joiners belong to the character before them, flags are pairs of letters, and so on.
    Python does not know the newest scripts' rules; for those the server still has the last word.
    """
    text = _CLUSTERS.sub("x", text)
    return sum(1 for char in text if char not in _JOINERS and unicodedata.category(char)[0] != "M")
