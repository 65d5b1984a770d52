"""Reads YAML into msgspec structs and finds every mistake, not only the first.

A mistake says where it stands (file, line, key path), what was expected and, for an unknown key,
which key may have been meant. What YAML 1.1 reads as something else than what stands there (`NO`,
`0123`, `12:30`) and keys that are given twice are mistakes too: both would win silently.
"""

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

T = TypeVar("T")

_CORE = (
    (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda _: None),
    (re.compile(r"(?:true|True|TRUE)\Z"), lambda _: True),
    (re.compile(r"(?:false|False|FALSE)\Z"), lambda _: False),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z"), int),
    (re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z"), float),
)
"""Plain scalars of YAML 1.2's core schema that are not text."""

_AMBIGUOUS = re.compile(
    r"(?:y|n|yes|no|on|off)\Z|[-+]?0[0-9_]+\Z|[-+]?0[xob][0-9a-f_]+\Z"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z|[-+]?[0-9]+_[0-9_]+\Z"
    r"|[-+]?\.(?:inf|nan)\Z",
    re.IGNORECASE,
)
"""Plain scalars that YAML 1.1 takes for a boolean or a number, and people for text."""


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong in a file."""

    line: int
    """Counted from 1; 0 for the file as a whole."""
    path: str
    """The keys that lead there, e.g. `sources[0].interval_s`."""
    text: str
    """What was expected, what stands there, what to do."""

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path + ': ' if self.path else ''}{self.text}"


class WrongError(Exception):
    """Raised inside a conversion after its mistake was noted."""


Choose = Callable[[Any, dict[str, yaml.Node]], Any]


class Reader:
    """Converts the nodes of one YAML document and collects its mistakes."""

    def __init__(self, text: str, choose: Choose = lambda to, _: to) -> None:
        """Parses the text.

        Args:
            text: one YAML document.
            choose: says which struct a node is to become where a subclass may stand; raises
                ValueError, or returns the type it was given.
        """
        self.mistakes: list[Mistake] = []
        self._choose = choose
        try:
            self.root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = error.problem or error.context or "cannot be read"
            self.mistakes.append(Mistake(mark.line + 1 if mark else 0, "", f"not YAML: {problem}"))
            self.root = None
        except yaml.YAMLError as error:
            self.mistakes.append(Mistake(0, "", f"not YAML: {error}"))
            self.root = None

    def note(self, node: yaml.Node | None, path: str, text: str) -> None:
        """Notes a mistake at a node."""
        self.mistakes.append(Mistake(node.start_mark.line + 1 if node else 0, path, text))

    def items(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The (key, key node, value node) of a mapping node; notes keys that are wrong."""
        if not isinstance(node, yaml.MappingNode):
            self.note(node, path, f"expected keys and values, not {_shown(node)}")
            return
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self.note(key_node, path, "expected a text as key")
            elif key in seen:
                self.note(key_node, join(path, key), f"given before, in line {seen[key]}; keep one")
            else:
                seen[key] = line
                yield key, key_node, value_node

    def convert(self, node: yaml.Node, to: Any, path: str = "") -> Any:
        """The value of a node as a type; every mistake below it is noted.

        Raises:
            WrongError: when there was one.
        """
        origin = typing.get_origin(to)
        if origin in (typing.Union, types.UnionType):
            return self._convert_union(node, typing.get_args(to), path)
        if origin is dict:
            item = typing.get_args(to)[1]
            return self._all(
                {key: (value, item, join(path, key)) for key, _, value in self.items(node, path)}
            )
        if origin is list:
            item = typing.get_args(to)[0]
            if not isinstance(node, yaml.SequenceNode):
                self.note(node, path, f"expected a list, not {_shown(node)}")
                raise WrongError
            found = self._all(
                {i: (value, item, f"{path}[{i}]") for i, value in enumerate(node.value)}
            )
            return list(found.values())
        if isinstance(to, type) and issubclass(to, msgspec.Struct):
            return self.convert_struct(node, to, path)
        return self._convert_scalar(node, to, path)

    def convert_struct(self, node: yaml.Node, to: type[T], path: str = "") -> T:
        """The value of a mapping node as a struct; see `convert`."""
        wanted: dict[str, tuple[yaml.Node, Any, str]] = {}
        before = len(self.mistakes)
        items = list(self.items(node, path))
        try:
            to = self._choose(to, {key: value for key, _, value in items})
        except ValueError as error:
            self.note(node, path, str(error))
            raise WrongError from error
        fields = {field.encode_name: field for field in msgspec.structs.fields(to)}  # type: ignore[arg-type]
        for key, key_node, value in items:
            if field := fields.get(key):
                wanted[field.name] = (value, field.type, join(path, key))
            else:
                self.note(
                    key_node,
                    join(path, key),
                    f"unknown key{did_you_mean(key, fields) or known_here(fields)}",
                )
        for name, field in fields.items():
            if field.required and field.name not in wanted and isinstance(node, yaml.MappingNode):
                self.note(node, join(path, name), "missing; it has no default")
        try:
            values = self._all(wanted)
        except WrongError:
            values = {}
        if len(self.mistakes) > before:
            raise WrongError
        try:
            return to(**values)
        except (ValueError, TypeError) as error:
            self.note(node, path, str(error))
            raise WrongError from error

    def _all(self, wanted: dict[Any, tuple[yaml.Node, Any, str]]) -> dict[Any, Any]:
        """Converts all, so that all mistakes are found; raises if there was one."""
        values, wrong = {}, False
        for key, (node, to, path) in wanted.items():
            try:
                values[key] = self.convert(node, to, path)
            except WrongError:
                wrong = True
        if wrong:
            raise WrongError
        return values

    def _convert_union(self, node: yaml.Node, choices: tuple[Any, ...], path: str) -> Any:
        """Chooses the member of a union by what stands there: keys, a list, or a scalar."""
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node, path)
            if value is None and type(None) in choices:
                return None
            scalars = [one for one in choices if _is_scalar(one) and one is not type(None)]
            if len(scalars) == 1:
                return self._convert_scalar(node, scalars[0], path)
            if scalars:
                return self._convert_scalar(node, typing.Union[tuple(scalars)], path)  # noqa: UP007 - made at run time
        for choice in choices:
            is_list = typing.get_origin(choice) is list
            if isinstance(node, yaml.SequenceNode) == is_list and not _is_scalar(choice):
                return self.convert(node, choice, path)
        self.note(node, path, f"expected {_named(choices)}, not {_shown(node)}")
        raise WrongError

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        if node.style is not None:
            return node.value
        for pattern, make in _CORE:
            if pattern.match(node.value):
                return make(node.value)
        if _AMBIGUOUS.match(node.value):
            self.note(
                node,
                path,
                f"{node.value} means different things to different readers of YAML; "
                f"if it is text, write '{node.value}'",
            )
            raise WrongError
        return node.value

    def _convert_scalar(self, node: yaml.Node, to: Any, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.note(node, path, f"expected {_named((to,))}, not {_shown(node)}")
            raise WrongError
        value = self._scalar(node, path)
        try:
            if to is datetime:
                return read_instant(value)
            if to is Path:
                return Path(msgspec.convert(value, str))
            if typing.get_origin(to) is typing.Literal:
                return _one_of(value, typing.get_args(to))
            return msgspec.convert(value, to)
        except msgspec.ValidationError as error:
            expected = str(error)
            if value is None:
                expected += "; nothing is given"
            elif isinstance(value, str) != (node.style is not None or value == node.value):
                expected += f"; {node.value} is not in quotes"
            self.note(node, path, _plain(expected))
        except ValueError as error:
            self.note(node, path, str(error))
        raise WrongError


def read_instant(value: Any) -> datetime:
    """Reads an instant: ISO 8601 with a zone, or a date, which is its midnight in UTC.

    Raises:
        ValueError: for anything else, a time without a zone among them.
    """
    example = "expected a date or a time with its zone, as 2026-01-31 or 2026-01-31T12:00:00+01:00"
    if not isinstance(value, str):
        raise ValueError(f"{example}, not {value!r}")  # noqa: TRY004 - reported as the others
    try:
        if len(value) == len("2026-01-31"):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{example}, not {value!r}") from None
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; {example}")
    return instant.astimezone(UTC)


def _one_of(value: Any, words: tuple[str, ...]) -> str:
    if value in words:
        return str(value)
    hint = did_you_mean(str(value), words)
    raise ValueError(f"expected one of {', '.join(words)}, not {value!r}{hint}")


def known_here(known: typing.Iterable[str]) -> str:
    """What could stand in the place of an unknown name."""
    return f"; known here are {', '.join(sorted(known))}"


def did_you_mean(key: str, known: typing.Iterable[str]) -> str:
    """A hint for an unknown name that is close to a known one: `; did you mean "…"?`."""
    known = list(known)
    close = difflib.get_close_matches(key.lower(), [name.lower() for name in known], 1, 0.6)
    if close:
        meant = next(name for name in known if name.lower() == close[0])
        return f'; did you mean "{meant}"?'
    return ""


def join(path: str, key: str) -> str:
    """The key path of a key below another."""
    return f"{path}.{key}" if path else key


def _is_scalar(choice: Any) -> bool:
    origin = typing.get_origin(choice)
    if origin in (list, dict):
        return False
    return not (isinstance(choice, type) and issubclass(choice, msgspec.Struct))


def _named(choices: tuple[Any, ...]) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    found = []
    for choice in choices:
        if choice is type(None):
            continue
        if typing.get_origin(choice) is list:
            found.append("a list")
        elif not _is_scalar(choice):
            found.append("keys and values")
        else:
            found.append(names.get(choice, "a single value"))
    return " or ".join(dict.fromkeys(found))


def _plain(message: str) -> str:
    """The words of msgspec without its notation."""
    for theirs, ours in (
        ("`str`", "a text"),
        ("`int | float`", "a number"),
        ("`float`", "a number"),
        ("`int`", "a whole number"),
        ("`bool`", "true or false"),
        ("`null`", "nothing"),
    ):
        message = message.replace(theirs, ours)
    return message.replace("Expected", "expected")


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"{node.value!r}" if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "keys and values"
