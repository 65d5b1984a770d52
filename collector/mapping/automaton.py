"""The automaton of a regular expression: characters and classes as states, and what follows each.

It is made of what `re`'s own parser makes of the pattern (Glushkov's construction), so that it is
of the pattern that is really run, flags included. Each edge says whether the pattern allows it in
one way or in more. `backtracking.py` reads from it how long a search can take.
"""

import re
from collections.abc import Iterable, Iterator
from re import _constants as sre  # type: ignore[attr-defined] # no public way to the parsed pattern
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_SAMPLES = [chr(code) for code in range(128)] + list("é٣\u2003—ſ\u212aßİı中\U0001f600")
"""Characters of every kind that classes distinguish; those of the pattern are added."""
_LIMIT_POSITIONS = 2000
_MANY = 1_000_000
_COPIES = 4
"""A count up to this is written out, as `aaaa`; a larger one is a loop."""


class TooHardError(Exception):
    """Raised for a pattern of which no automaton shows enough."""


class _Part(NamedTuple):
    """A part of the pattern: positions at which it begins and ends, with the number of ways."""

    empty: int
    """Ways to match nothing."""
    first: dict[int, int]
    last: dict[int, int]


_NOTHING = _Part(1, {}, {})


class Automaton:
    """The states of a pattern, and what follows each.

    Attributes:
        follow: for each state, the states that may come after it, each with the number of ways in
            which the pattern allows that.
        masks: the characters that lead to each state, as bits: one for each character that stands
            for all those that the pattern does not distinguish from it.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        """Builds it; a pattern that may match anywhere begins with a loop over any character.

        Raises:
            TooHardError: for a pattern that is too large, or has back references, or repetition in
                a look-around.
        """
        tree = sre_parser.parse(pattern.pattern, pattern.flags)
        self._samples = sorted({*_SAMPLES, *_neighbours(tree)})
        self._all = (1 << len(self._samples)) - 1
        self.masks: list[int] = []
        self.follow: list[dict[int, int]] = []
        whole = self._sequence(tree, pattern.flags)
        if not _is_anchored(tree, pattern.flags):
            search = self._position(self._all)
            self.follow[search] = {search: 1, **whole.first}

    def _position(self, mask: int) -> int:
        if len(self.masks) >= _LIMIT_POSITIONS:
            raise TooHardError
        self.masks.append(mask)
        self.follow.append({})
        return len(self.masks) - 1

    def _sequence(self, items: Iterable[tuple[Any, Any]], flags: int) -> _Part:
        whole = _NOTHING
        for op, argument in items:
            whole = self._joined(whole, self._part(op, argument, flags))
        return whole

    def _part(self, op: Any, argument: Any, flags: int) -> _Part:
        match op:
            case sre.LITERAL | sre.NOT_LITERAL | sre.ANY | sre.IN:
                position = self._position(self._mask(op, argument, flags))
                return _Part(0, {position: 1}, {position: 1})
            case sre.BRANCH:
                parts = [self._sequence(branch, flags) for branch in argument[1]]
                return _Part(
                    _few(sum(part.empty for part in parts)),
                    {at: ways for part in parts for at, ways in part.first.items()},
                    {at: ways for part in parts for at, ways in part.last.items()},
                )
            case sre.SUBPATTERN:
                _, added, removed, inner = argument
                return self._sequence(inner, (flags | added) & ~removed)
            case sre.ATOMIC_GROUP:
                return self._sequence(argument, flags)
            case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
                least, most, items = argument
                return self._repeated(least, most, items, flags)
            case sre.ASSERT | sre.ASSERT_NOT:
                if _repeats(argument[1]):
                    raise TooHardError
                return _NOTHING
            case sre.AT:
                return _NOTHING
        raise TooHardError

    def _repeated(self, least: int, most: int, items: Any, flags: int) -> _Part:
        part = self._sequence(items, flags)
        if most <= 1:
            return part._replace(empty=_few(part.empty + 1 - least))
        if part.empty and (least > 1 or most <= _COPIES):  # `re` counts the empty ones, too
            raise TooHardError
        if most > _COPIES:
            self._link(part.last, part.first)
            # Each way out may go through one more repetition, of nothing.
            last = {at: _few(ways * (1 + part.empty)) for at, ways in part.last.items()}
            return _Part(part.empty if least else _few(part.empty + 1), part.first, last)
        last = dict(part.last)
        copy = part
        for number in range(2, most + 1):
            before, copy = copy, self._sequence(items, flags)
            self._link(before.last, copy.first)
            last = {**(last if number > least else {}), **copy.last}
        return _Part(int(least == 0), part.first, last)

    def _joined(self, one: _Part, other: _Part) -> _Part:
        self._link(one.last, other.first)
        begins = other.first.items() if one.empty else ()
        ends = one.last.items() if other.empty else ()
        return _Part(
            _few(one.empty * other.empty),
            one.first | {at: _few(ways * one.empty) for at, ways in begins},
            other.last | {at: _few(ways * other.empty) for at, ways in ends},
        )

    def _link(self, last: dict[int, int], first: dict[int, int]) -> None:
        for one, ways in last.items():
            edges = self.follow[one]
            for other, more in first.items():
                edges[other] = _few(edges.get(other, 0) + ways * more)

    def _mask(self, op: Any, argument: Any, flags: int) -> int:
        """The samples that a character or class matches, as bits."""
        return sum(
            1 << number
            for number, char in enumerate(self._samples)
            if any(_matches(op, argument, one, flags) for one in _cases(char, flags))
        )


def _few(ways: int) -> int:
    return min(ways, _MANY)


def _is_anchored(tree: Any, flags: int) -> bool:
    """Whether a pattern matches at the beginning of the text only, as far as it shows at once."""
    items = list(tree)
    if items and items[0][0] is sre.SUBPATTERN:
        return _is_anchored(items[0][1][3], flags | items[0][1][1])
    if not items or items[0][0] is not sre.AT:
        return False
    at = items[0][1]
    return at is sre.AT_BEGINNING_STRING or (
        at is sre.AT_BEGINNING and not flags & sre.SRE_FLAG_MULTILINE
    )


def _items(tree: Any) -> Iterator[tuple[Any, Any]]:
    """All items of a parsed pattern, at any depth."""
    for op, argument in tree:
        yield op, argument
        for part in argument if isinstance(argument, tuple | list) else [argument]:
            if isinstance(part, sre_parser.SubPattern):
                yield from _items(part)
            elif isinstance(part, list) and op is sre.BRANCH:
                for branch in part:
                    yield from _items(branch)


def _repeats(tree: Any) -> bool:
    repeats = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
    return any(op in repeats and argument[1] > 1 for op, argument in _items(tree))


def _neighbours(tree: Any) -> Iterator[str]:
    """The characters that a pattern names, and those beside them."""
    for op, argument in _items(tree):
        for kind, value in argument if op is sre.IN else [(op, argument)]:
            codes = {sre.LITERAL: [value], sre.NOT_LITERAL: [value], sre.RANGE: value}.get(kind, [])
            for code in codes:
                for near in range(max(0, code - 1), min(code + 1, 0x10FFFF) + 1):
                    yield from {chr(near), *_cases(chr(near), sre.SRE_FLAG_IGNORECASE)}


def _cases(char: str, flags: int) -> set[str]:
    if not flags & sre.SRE_FLAG_IGNORECASE:
        return {char}
    return {one for one in (char, char.lower(), char.upper(), char.swapcase()) if len(one) == 1}


_CATEGORIES = {
    sre.CATEGORY_DIGIT: (r"\d", True),
    sre.CATEGORY_NOT_DIGIT: (r"\d", False),
    sre.CATEGORY_SPACE: (r"\s", True),
    sre.CATEGORY_NOT_SPACE: (r"\s", False),
    sre.CATEGORY_WORD: (r"\w", True),
    sre.CATEGORY_NOT_WORD: (r"\w", False),
}


def _matches(op: Any, argument: Any, char: str, flags: int) -> bool:
    """Whether an item of a parsed pattern matches a character."""
    match op:
        case sre.LITERAL:
            return bool(ord(char) == argument)
        case sre.NOT_LITERAL:
            return bool(ord(char) != argument)
        case sre.RANGE:
            return bool(argument[0] <= ord(char) <= argument[1])
        case sre.CATEGORY:
            text, wanted = _CATEGORIES[argument]
            return (re.match(text, char, flags & re.ASCII) is not None) is wanted
        case sre.IN:
            negated = argument[0][0] is sre.NEGATE
            return negated is not any(
                _matches(kind, value, char, flags) for kind, value in argument[negated:]
            )
    return char != "\n" or bool(flags & re.DOTALL)  # any character
