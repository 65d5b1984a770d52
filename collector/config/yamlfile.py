"""Reads YAML into msgspec structs and finds every mistake, not only the first.

A mistake says where it is (file, line, key path), what was expected and, for an unknown key, which
key may have been meant. A part with mistakes does not hide those of others: it becomes a draft, in
which wrong values are replaced by defaults, and what is sound in it is checked on.
"""

import types
import typing
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec
import yaml

from collector.config.mistakes import Mistake, Places, close_to, join, known_here
from collector.config.scalars import (
    AmbiguousError,
    one_of,
    plain_value,
    plain_words,
    read_instant,
)
from collector.config.yamltext import compose
from collector.mapping.keys import conditions_of, conflicts_of, declared

T = TypeVar("T", bound=msgspec.Struct)

LIMIT_VALUES = 100_000
"""Values of a configuration, those that aliases (`*name`) repeat included."""

WRONG: Final = object()
"""Instead of a value that has a mistake."""

Choose = Callable[[Any, dict[str, yaml.Node]], Any]


class Reader:
    """Converts the nodes of one YAML document and collects its mistakes.

    Attributes:
        root: the document's node; None if it is empty or not YAML.
        mistakes: those that were found so far.
        places: where each key is.
    """

    def __init__(
        self,
        text: str | yaml.Node | None,
        choose: Choose = lambda to, _: to,
        places: Places | None = None,
    ) -> None:
        """Parses the text.

        Args:
            text: one YAML document, or the node of one.
            choose: says which struct a node is to become where a subclass may be meant. It raises
                LookupError(key, text) for a key that names none; then unknown keys are not noted.
            places: to be filled.
        """
        self.mistakes: list[Mistake] = []
        self.places = Places() if places is None else places
        self.root = text if not isinstance(text, str) else None
        self._choose = choose
        self._values = 0
        if isinstance(text, str):
            self.root, mistake = compose(text, str(self.places.file))
            self.mistakes += [] if mistake is None else [mistake]

    def note(self, node: yaml.Node | None, path: str, text: str) -> None:
        """Notes a mistake at a node."""
        file, line = self._place(node)
        self.mistakes.append(
            Mistake(line, path, text, "" if file == str(self.places.file) else file)
        )

    def is_sound(self, path: str) -> bool:
        """Whether there is no mistake at a key path or below it."""
        below = (f"{path}.", f"{path}[")
        return not any(one.path == path or one.path.startswith(below) for one in self.mistakes)

    @property
    def is_complete(self) -> bool:
        """Whether all values were read: there were not too many."""
        return self._values <= LIMIT_VALUES

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
                self.places[join(path, key)] = self._place(key_node)
                yield key, key_node, value_node

    def convert(self, node: yaml.Node, to: Any, path: str = "") -> Any:
        """The value of a node as a type; every mistake at or below it is noted.

        Returns:
            WRONG if there is none; a list has WRONG for wrong items, a dict likewise; for a struct
            with a mistake a draft, see `convert_struct`.
        """
        self._values += 1
        if self._values > LIMIT_VALUES:
            if self._values == LIMIT_VALUES + 1:
                text = f"more than {LIMIT_VALUES:,} values; write repeated parts (*name) out"
                self.note(node, path, text)
            return WRONG
        bare = _bare(to)
        origin = typing.get_origin(bare)
        if origin in (typing.Union, types.UnionType):
            return self._convert_union(node, bare, to, path)
        if origin is dict:
            item = typing.get_args(bare)[1]
            return {
                key: self.convert(value, item, join(path, key))
                for key, _, value in self.items(node, path)
            }
        if origin is list:
            return self._convert_list(node, typing.get_args(bare)[0], path)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self.convert_struct(node, bare, path)
        return self._convert_scalar(node, to, path)

    def convert_struct(self, node: yaml.Node, to: type[T], path: str = "") -> T:
        """The value of a mapping node as a struct.

        Returns:
            WRONG if the node has no keys. With a mistake anywhere in it, a draft: wrong values are
            defaults, and None where there is no default.
        """
        before = len(self.mistakes)
        items = list(self.items(node, path))
        self.places.setdefault(path, self._place(node))
        if not isinstance(node, yaml.MappingNode):
            return cast("T", WRONG)
        is_known = True
        try:
            to = self._choose(to, {key: value for key, _, value in items})
        except LookupError as error:
            is_known = False
            key, text = error.args
            if text:
                there = next((value for name, _, value in items if name == key), node)
                self.note(there, join(path, key), text)
        fields = {field.encode_name: field for field in msgspec.structs.fields(to)}
        fields = {key: field for key, field in fields.items() if field.type is not Places}
        given: dict[str, yaml.Node] = {}
        doubtful: set[str] = set()  # keys that are meant by unknown ones
        values: dict[str, Any] = {}
        for key, key_node, value in items:
            if field := fields.get(key):
                given[key] = key_node
                found = self.convert(value, field.type, join(path, key))
                if found is not WRONG:
                    values[field.name] = found
            elif is_known:
                meant = close_to(key, fields)
                if meant is not None:
                    doubtful.add(meant)
                hint = known_here(fields) if meant is None else f'; did you mean "{meant}"?'
                self.note(key_node, join(path, key), f"unknown key{hint}")
        for key, field in fields.items():
            if field.required and field.name not in values:
                if key not in given and key not in doubtful:
                    self.note(node, join(path, key), "missing; it has no default")
                values[field.name] = None
        try:
            struct = to(**values)
        except Exception as error:  # a plugin's own checks; with a draft they may fail in any way
            if len(self.mistakes) == before:
                if not isinstance(error, ValueError | TypeError):
                    raise
                self.note(node, path, str(error))
            return cast("T", WRONG)
        self._note_conflicts(node, struct, path, given, doubtful)
        return struct

    def _note_conflicts(
        self,
        node: yaml.Node,
        struct: msgspec.Struct,
        path: str,
        given: dict[str, yaml.Node],
        doubtful: set[str],
    ) -> None:
        """Notes which keys of a struct do not go together, of those without another mistake."""

        def is_sound(key: str) -> bool:
            return key not in doubtful and self.is_sound(join(path, key))

        for field in msgspec.structs.fields(struct):
            if field.encode_name not in given:
                continue
            for key, wanted in conditions_of(type(struct), field.name, field.type).items():
                if is_sound(key) and (here := getattr(struct, key)) not in wanted:
                    text = (
                        f"goes with {_either(key, wanted)} only, and this has "
                        f"{_either(key, (here,))}; leave it out"
                    )
                    self.note(given[field.encode_name], join(path, field.encode_name), text)
        for keys, text in list(conflicts_of(struct, is_sound)):
            there = next((given[key] for key in keys if key in given), node)
            self.note(there, join(path, keys[0]), text)

    def _convert_list(self, node: yaml.Node, item: Any, path: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            self.note(node, path, f"expected a list, not {_shown(node)}{_dash(node, item)}")
            return WRONG
        found = []
        for number, value in enumerate(node.value):
            where = f"{path}[{number}]"
            self.places[where] = self._place(value)
            found.append(self.convert(value, item, where))
        return found

    def _convert_union(self, node: yaml.Node, union: Any, to: Any, path: str) -> Any:
        """Chooses the member of a union by what is there: keys, a list, or a scalar."""
        choices = typing.get_args(union)
        if isinstance(node, yaml.ScalarNode):
            scalars = [one for one in choices if _is_scalar(one) and one is not type(None)]
            value = self._scalar(node, scalars, path)
            if value is WRONG:
                return WRONG
            if value is None and type(None) in choices:
                return None
            if scalars:
                one = scalars[0] if len(scalars) == 1 else typing.Union[tuple(scalars)]  # noqa: UP007 - made at run time
                found = self._convert_scalar(node, one, path)
                check = declared(to, "check")
                return found if check is None else self._check(node, found, check, path)
        for choice in choices:
            is_list = typing.get_origin(choice) is list
            if isinstance(node, yaml.SequenceNode) == is_list and not _is_scalar(choice):
                return self.convert(node, choice, path)
        self.note(node, path, f"expected {_named(choices)}, not {_shown(node)}")
        return WRONG

    def _scalar(self, node: yaml.ScalarNode, wanted: list[Any], path: str) -> Any:
        if node.style is not None:
            return node.value
        try:
            return plain_value(node.value)
        except AmbiguousError as error:
            self.note(node, path, error.advice(frozenset(map(_bare, wanted))))
            return WRONG

    def _convert_scalar(self, node: yaml.Node, to: Any, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.note(node, path, f"expected {_named((to,))}, not {_shown(node)}")
            return WRONG
        value = self._scalar(node, [to], path)
        if value is WRONG:
            return WRONG
        bare, check = _bare(to), declared(to, "check")
        try:
            if bare is datetime:
                found: Any = read_instant(value)
            elif bare is Path:
                found = Path(msgspec.convert(value, str))
            elif typing.get_origin(bare) is typing.Literal:
                found = one_of(value, typing.get_args(bare))
            else:
                found = msgspec.convert(value, to)
        except msgspec.ValidationError as error:
            self.note(node, path, _advice(node, value, to, str(error)))
        except ValueError as error:
            self.note(node, path, str(error))
        else:
            return found if check is None else self._check(node, found, check, path)
        return WRONG

    def _check(self, node: yaml.Node, value: Any, check: Callable[[Any], object], path: str) -> Any:
        if value is WRONG:
            return WRONG
        try:
            check(value)
        except ValueError as error:
            self.note(node, path, str(error))
            return WRONG
        return value

    def _place(self, node: yaml.Node | None) -> tuple[str, int]:
        if node is None:
            return str(self.places.file), 0
        return node.start_mark.name, node.start_mark.line + 1


def _bare(to: Any) -> Any:
    """A type without what it is annotated with."""
    return typing.get_args(to)[0] if typing.get_origin(to) is typing.Annotated else to


def _is_scalar(choice: Any) -> bool:
    bare = _bare(choice)
    if typing.get_origin(bare) in (list, dict):
        return False
    return not (isinstance(bare, type) and issubclass(bare, msgspec.Struct))


def _advice(node: yaml.ScalarNode, value: Any, to: Any, message: str) -> str:
    """What a scalar of the wrong type should be."""
    if value is None:
        return plain_words(message) + "; nothing is given"
    is_text = isinstance(value, str)
    if not is_text and _bare(to) is str:
        if hint := declared(to, "instead"):
            return str(hint).format(node.value)
        if check := declared(to, "check"):
            try:
                check(node.value)
            except ValueError as error:
                return str(error)
        return plain_words(message) + f"; {node.value} is not in quotes: write '{node.value}'"
    if is_text and _bare(to) in (int, float):
        expected = f"{_named((to,))}, not {value!r}"
        if node.style is not None and isinstance(_number(value), int | float):
            return f"expected {expected}; write {value} without quotes"
        if isinstance(_number(value.replace(",", ".")), int | float):
            return f"expected {expected}; write {value.replace(',', '.')}"
        if isinstance(_number(number := value.rstrip("smhdkKMGTBi ")), int | float):
            return f"expected {expected}; write {number}, without a unit"
        return f"expected {expected}"
    if is_text and node.style is not None and _bare(to) is bool:
        return plain_words(message) + f"; write {value} without quotes"
    return plain_words(message)


def _number(text: str) -> Any:
    try:
        return plain_value(text)
    except AmbiguousError:
        return text


def _dash(node: yaml.Node, item: Any) -> str:
    is_struct = not _is_scalar(item) and isinstance(node, yaml.MappingNode)
    return "; begin each entry with a dash, as - name: …" if is_struct else ""


def _either(key: str, values: tuple[Any, ...]) -> str:
    """`mode: a or b`."""
    words = [{True: "true", False: "false", None: "null"}.get(one, str(one)) for one in values]
    return f"{key}: {' or '.join(words)}"


def _named(choices: tuple[Any, ...]) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    found = []
    for choice in map(_bare, choices):
        if choice is type(None):
            continue
        if typing.get_origin(choice) is list:
            found.append("a list")
        elif not _is_scalar(choice):
            found.append("keys and values")
        else:
            found.append(names.get(choice, "a single value"))
    return " or ".join(dict.fromkeys(found))


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"{node.value!r}" if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "keys and values"
