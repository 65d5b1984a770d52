"""What a query string of `GET /records` asks for, as conditions in SQL.

The meaning of each operator is the server's (0.11), with its quirks, which are listed here
beside the code that keeps them:

- several fields, and several operators on one field, are and-ed;
- `gt` beside `gte`, or `lt` beside `lte`, switches that field's filter off;
- `equals` on an instant, and a condition with an empty value, is ignored;
- `component` looks at the first component only;
- a record without the meta key matches neither `c` nor `dnc`; an empty list matches `dnc`;
- a record without a stop time matches no filter on `stop_time` or `runtime`;
- without `sort_by` the order is that of the stop times; records without one come last there, and
  first where it is descending.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from collector.embedded.intake import Instant, check_name
from collector.embedded.store import OPEN

_DEPTH_LIMIT = 5
_CONDITIONS_LIMIT = 500
"""SQLite takes about a thousand in one statement."""
_FIELDS = (
    "record_id",
    "start_time",
    "stop_time",
    "runtime",
    "meta",
    "component",
    "sort_by",
    "limit",
)
_OPERATORS = {"gt": ">", "lt": "<", "gte": ">=", "lte": "<=", "equals": "="}
_SORT_COLUMNS = {
    "start_time": "start_us",
    "stop_time": "stop_us",
    "runtime": "runtime_s",
    "record_id": "record_id",
}

Tree = dict[str, Any]
"""What is in the brackets, nested; the leaves are texts."""


class BadQueryError(Exception):
    """Raised for a query string that the server refuses, with its words where they are simple."""


class Selection(msgspec.Struct):
    """What follows `FROM record`, with the values of its parameters."""

    sql: str
    values: list[Any]


def parse(query_string: str) -> Selection:
    """Reads a query string.

    Raises:
        BadQueryError: for anything that is not a query.
    """
    tree = _tree(query_string)
    for name in tree:
        if name not in _FIELDS:
            expected = ", ".join(f"`{field}`" for field in _FIELDS)
            raise BadQueryError(f"unknown field `{name}`, expected one of {expected}")
    tree = {name: value for name, value in tree.items() if value}
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, *parameters: Any) -> None:
        conditions.append(condition)
        values.extend(parameters)

    if "record_id" in tree:
        add("record_id = ?", _name(_leaf(tree["record_id"])))
    if "start_time" in tree:
        for sign, value in _operators(tree["start_time"], _instant_us):
            add(f"start_us {sign} ?", value)
    for field, column, read in (
        ("stop_time", "stop_us", _instant_us),
        ("runtime", "runtime_s", _amount),
    ):
        if field in tree:
            for sign, value in _operators(tree[field], read):
                add(f"{column} {sign} ?", value)
                add(f"{column} < {OPEN}")
    for name, operators in _mapping(tree.get("component", {}), "a map").items():
        for sign, value in _operators(operators, _amount):
            add(f"component = ? AND amount {sign} ?", _name(name), value)
    narrowed = bool(conditions)
    for key, operators in _mapping(tree.get("meta", {}), "a map").items():
        _add_meta(add, _name(key), _mapping(operators, "struct MetaOperator"), narrowed=narrowed)
    if len(conditions) > _CONDITIONS_LIMIT:
        raise BadQueryError(
            f"{len(conditions)} conditions; this Auditor takes at most {_CONDITIONS_LIMIT}"
        )
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    limit = ""
    if "limit" in tree:
        limit = " LIMIT ?"
        values.append(_amount(_leaf(tree["limit"])))
    return Selection(f"{where}{_order(tree.get('sort_by'))}{limit}", values)


def _add_meta(
    add: Callable[..., None], key: str, operators: Mapping[str, Any], *, narrowed: bool
) -> None:
    """Adds the conditions on a key: looked up for each record if others narrow them, else first."""
    there = (
        "EXISTS (SELECT 1 FROM meta WHERE key = ? AND value = ? AND record = id)"
        if narrowed
        else "id IN (SELECT record FROM meta WHERE key = ? AND value = ?)"
    )
    for value in _sequence(operators.get("c")):
        add(there, key, value)
    for value in _sequence(operators.get("dnc")):
        add("EXISTS (SELECT 1 FROM json_each(record.meta) WHERE json_each.key = ?)", key)
        add(
            "NOT EXISTS (SELECT 1 FROM meta WHERE key = ? AND value = ? AND record = id)",
            key,
            value,
        )


def _operators(tree: Any, read: Callable[[str], int]) -> list[tuple[str, int]]:
    """The comparisons that hold for a field: signs of SQL and values."""
    found: dict[str, int] = {}
    for name, leaf in _mapping(tree, "struct Operator").items():
        if name not in _OPERATORS:
            expected = ", ".join(
                f"`{operator}`" for operator in ("gt", "lt", "gte", "lte", "equals")
            )
            raise BadQueryError(f"unknown field `{name}`, expected one of {expected}")
        if text := _leaf(leaf):
            found[name] = read(text)
    if {"gt", "gte"} <= found.keys() or {"lt", "lte"} <= found.keys():
        return []
    if read is _instant_us:
        found.pop("equals", None)
    return [(_OPERATORS[name], value) for name, value in found.items()]


def _order(tree: Any) -> str:
    if tree is None:
        return "ORDER BY stop_us, id"
    directions = _mapping(tree, "enum SortOption")
    for direction, column in directions.items():
        if direction not in {"asc", "desc"}:
            raise BadQueryError(f"unknown variant `{direction}`, expected `asc` or `desc`")
        if _leaf(column) not in _SORT_COLUMNS:
            expected = ", ".join(f"`{name}`" for name in _SORT_COLUMNS)
            raise BadQueryError(f"unknown variant `{column}`, expected one of {expected}")
        return f"ORDER BY {_SORT_COLUMNS[column]} {direction.upper()}, id {direction}"
    return "ORDER BY stop_us, id"


def _tree(query_string: str) -> Tree:
    """Nests `a[b][c]=value`; brackets count only where they are not percent-encoded."""
    tree: Tree = {}
    for part in query_string.split("&"):
        if not part:
            continue
        match = re.fullmatch(
            r"(?P<name>[^\[=]*)(?P<keys>(?:\[[^\]]*(?:\]|$))*)(?:=(?P<value>.*))?", part
        )
        if match is None:
            raise BadQueryError(
                f"parsing failed with error: 'expected field[key]=value' in: {part}"
            )
        keys = [_text(key) for key in re.findall(r"\[([^\]]*)", match["keys"])]
        path = [_text(match["name"]), *keys]
        if len(path) > _DEPTH_LIMIT:
            raise BadQueryError("parsing failed: more brackets than any field has")
        here = tree
        for key in path[:-1]:
            here = here.setdefault(key, {})
            if not isinstance(here, dict):
                raise BadQueryError(f'Multiple values for one key: "{key}"')
        last = path[-1] if path[-1] or len(path) == 1 else str(len(here))  # [] appends
        if last in here:
            raise BadQueryError(f'Multiple values for one key: "{last}"')
        here[last] = _text(match["value"] or "")
    return tree


def _text(encoded: str) -> str:
    try:
        return unquote_to_bytes(encoded.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise BadQueryError(str(error)) from error


def _leaf(tree: Any) -> str:
    if not isinstance(tree, str):
        raise BadQueryError("invalid type: map, expected a text")
    return tree


def _mapping(tree: Any, expected: str) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        raise BadQueryError(f"invalid type: string {_quoted(tree)}, expected {expected}")
    return tree


def _sequence(tree: Any) -> list[str]:
    """The values of a list, by their numbers: `c[0]=site1&c[1]=site2`."""
    if not tree:
        return []
    if isinstance(tree, str) or not all(
        key.isdecimal() and len(key) < 20  # noqa: PLR2004 - digits of 64 bits
        for key in tree
    ):
        raise BadQueryError("invalid type: map, expected a sequence")
    return [_name(_leaf(tree[key])) for key in sorted(tree, key=int)]


def _name(text: str) -> str:
    try:
        check_name(text)
    except ValueError as error:
        raise BadQueryError(str(error)) from error
    return text


def _amount(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text) or not -(2**63) <= int(text) < 2**63:
        raise BadQueryError("invalid digit found in string")
    if int(text) < 0:
        raise BadQueryError(f"Parsing '{text}' failed.")
    return int(text)


def _instant_us(text: str) -> int:
    try:
        return Instant(text).us
    except ValueError as error:
        raise BadQueryError(str(error)) from error


def _quoted(text: Any) -> str:
    return msgspec.json.encode(text).decode()
