"""Builds the query string of `GET /records`: field, operator, value; several are and-ed.

Each method changes the object it is called on and returns it, as those of the public package
`pyauditor`, whose strings these are. What the server would silently take for "no condition", and
answer with far too many records, is refused here.
"""

import datetime as dt
import operator
from collections.abc import Iterable
from typing import Literal, Self
from urllib.parse import quote_plus

from collector.record import as_utc, check_name, instant_text

_SORT_COLUMNS = ("start_time", "stop_time", "runtime", "record_id")
_COUNT_LIMIT = 2**63 - 1


class Value:
    """What a field is compared with: an instant, or a number."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: Literal["time", "number"], text: str) -> None:
        self.kind = kind
        self.text = text

    @staticmethod
    def set_datetime(datetime: dt.datetime) -> "Value":
        """An instant, aware, of any zone."""
        return Value("time", instant_text(as_utc(datetime), "+00:00"))

    @staticmethod
    def set_runtime(runtime: int) -> "Value":
        """A run time in seconds, 0 or more."""
        return Value("number", _whole(runtime, "runtime"))

    @staticmethod
    def set_count(count: int) -> "Value":
        """An amount, 0 or more."""
        return Value("number", _whole(count, "count"))

    def __repr__(self) -> str:
        return f"Value({self.text})"


class Operator:
    """Compares a field with one value, or with two as a range."""

    _order = ("gt", "lt", "gte", "lte", "equals")

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}

    def gt(self, value: Value) -> Self:
        """Greater than."""
        return self._set("gt", "gte", value)

    def gte(self, value: Value) -> Self:
        """Greater than or equal to."""
        return self._set("gte", "gt", value)

    def lt(self, value: Value) -> Self:
        """Less than."""
        return self._set("lt", "lte", value)

    def lte(self, value: Value) -> Self:
        """Less than or equal to."""
        return self._set("lte", "lt", value)

    def equals(self, value: Value) -> Self:
        """Equal to; for numbers only, because the server ignores it for instants.

        Raises:
            ValueError: for an instant.
        """
        if value.kind == "time":
            raise ValueError("equals compares numbers; use gte and lte with the same instant")
        return self._set("equals", "", value)

    def _set(self, name: str, rival: str, value: Value) -> Self:
        if rival in self._values:
            raise ValueError(
                f"{name} beside {rival} on one field makes the server ignore both; use one of them"
            )
        self._values[name] = value
        return self

    def parts(self, field: str, kind: str) -> list[str]:
        """The conditions on a field, encoded.

        Raises:
            ValueError: for a value that the field cannot be compared with.
        """
        for value in self._values.values():
            if value.kind != kind:
                raise ValueError(f"{field} cannot be compared with {value!r}; expected a {kind}")
        return [
            f"{field}[{name}]={_quoted(self._values[name].text)}"
            for name in self._order
            if name in self._values
        ]


class MetaOperator:
    """Asks for values that a meta key has, or has not."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def contains(self, c: str | Iterable[str]) -> Self:
        """All of these values (or this one) are stored under the key."""
        return self._set("c", c)

    def does_not_contain(self, dnc: str | Iterable[str]) -> Self:
        """The key is there, and none of these values (or this one) is stored under it."""
        return self._set("dnc", dnc)

    def _set(self, name: str, values: str | Iterable[str]) -> Self:
        values = [values] if isinstance(values, str) else list(values)
        for value in values:
            check_name(value, "meta value")
        self._values[name] = values
        return self

    def parts(self, key: str) -> list[str]:
        """The conditions on a meta key, encoded."""
        return [
            f"meta[{_quoted(key)}][{name}][{index}]={_quoted(value)}"
            for name in ("c", "dnc")
            for index, value in enumerate(self._values.get(name, []))
        ]


class MetaQuery:
    """Conditions on the meta of a record, by key."""

    def __init__(self) -> None:
        self._operators: dict[str, MetaOperator] = {}

    def meta_operator(self, query_id: str, meta_operator: MetaOperator) -> Self:
        """Adds a condition on a meta key."""
        check_name(query_id, "meta key")
        self._operators[query_id] = meta_operator
        return self

    def parts(self) -> list[str]:
        """The conditions, encoded."""
        return [part for key, operator in self._operators.items() for part in operator.parts(key)]


class ComponentQuery:
    """Conditions on the **first** component of a record: its name, and its amount."""

    def __init__(self) -> None:
        self._operators: dict[str, Operator] = {}

    def component_operator(self, query_id: str, operator: Operator) -> Self:
        """Adds a condition: the first component has this name, and its amount compares so."""
        check_name(query_id, "component name")
        self._operators[query_id] = operator
        return self

    def parts(self) -> list[str]:
        """The conditions, encoded."""
        return [
            part
            for name, operator in self._operators.items()
            for part in operator.parts(f"component[{_quoted(name)}]", "number")
        ]


class SortBy:
    """The order of the answer."""

    def __init__(self) -> None:
        self._part = ""

    def ascending(self, column: str) -> Self:
        """Smallest first, by `start_time`, `stop_time`, `runtime` or `record_id`."""
        return self._set("asc", column)

    def descending(self, column: str) -> Self:
        """Largest first, by `start_time`, `stop_time`, `runtime` or `record_id`."""
        return self._set("desc", column)

    def _set(self, direction: str, column: str) -> Self:
        if column not in _SORT_COLUMNS:
            raise ValueError(
                f"cannot sort by {column!r}; expected one of {', '.join(_SORT_COLUMNS)}"
            )
        self._part = f"sort_by[{direction}]={column}"
        return self

    def parts(self) -> list[str]:
        """The order, encoded."""
        return [self._part] if self._part else []


class QueryBuilder:
    """Builds a query string; an empty one selects all records, ordered by stop time."""

    _order = (
        "record_id", "start_time", "stop_time", "runtime", "meta", "component", "sort_by", "limit"
    )  # fmt: skip

    def __init__(self) -> None:
        self._parts: dict[str, list[str]] = {}

    def with_record_id(self, record_id: str) -> Self:
        """The record with this id."""
        check_name(record_id, "record_id")
        return self._set("record_id", [f"record_id={_quoted(record_id)}"])

    def with_start_time(self, operator: Operator) -> Self:
        """Records whose start compares so."""
        return self._set("start_time", operator.parts("start_time", "time"))

    def with_stop_time(self, operator: Operator) -> Self:
        """Records that have a stop time, which compares so."""
        return self._set("stop_time", operator.parts("stop_time", "time"))

    def with_runtime(self, operator: Operator) -> Self:
        """Records that have a stop time, and whose run time in seconds compares so."""
        return self._set("runtime", operator.parts("runtime", "number"))

    def with_meta_query(self, meta: MetaQuery) -> Self:
        """Records whose meta fulfils these conditions."""
        return self._set("meta", meta.parts())

    def with_component_query(self, component: ComponentQuery) -> Self:
        """Records whose first component fulfils these conditions."""
        return self._set("component", component.parts())

    def sort_by(self, sort_by: SortBy) -> Self:
        """The order of the answer."""
        return self._set("sort_by", sort_by.parts())

    def limit(self, number: int) -> Self:
        """At most this many records."""
        return self._set("limit", [f"limit={_whole(number, 'limit')}"])

    def build(self) -> str:
        """The query string, encoded, without a question mark."""
        return "&".join(part for name in self._order for part in self._parts.get(name, []))

    def _set(self, name: str, parts: list[str]) -> Self:
        self._parts[name] = parts
        return self


def _whole(value: int, what: str) -> str:
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        value = operator.index(value)  # also one of numpy's
    if type(value) is not int or not 0 <= value <= _COUNT_LIMIT:
        raise ValueError(f"{what} {value!r}: expected a whole number, 0 or more")
    return str(value)


def _quoted(text: str) -> str:
    """As the public client quotes: the way of HTML forms."""
    return quote_plus(text, safe="*").replace("~", "%7E")
