"""Runs a regular expression of `re` by the engine of the package `regex`, which has a time limit.

The two differ in some notations (`regex` reads `{e<=1}` and `[[:alpha:]]` in its own way), in the
release of Unicode that they know, and in what upper and lower case of a letter are (`ı`). So the
pattern is written again from what `re`'s parser makes of it, in notation that has one meaning, with
the characters that `re` says each class matches.
"""

import re
import sys
from collections.abc import Callable
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined] # no public way to the parsed pattern
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

LIMIT_S = 0.1
"""Of processor time, for one search."""

_AT = {
    sre.AT_BEGINNING: "^",
    sre.AT_BEGINNING_STRING: r"\A",
    sre.AT_END: "$",
    sre.AT_END_STRING: r"\Z",
}
_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}
_REPEATS = {sre.MAX_REPEAT: "", sre.MIN_REPEAT: "?", sre.POSSESSIVE_REPEAT: "+"}
_INSIDE_OF_NOTHING = re.search(r"\B", "") is not None
"""Whether the empty text has a place that is no boundary: since Python 3.14."""
_OF_CLASSES = re.ASCII | re.IGNORECASE
_OF_PLACES = re.MULTILINE | re.DOTALL


class SlowSearchError(ValueError):
    """Raised for a text in which a pattern would take too long to find."""


def timed_search(pattern: re.Pattern[str]) -> Callable[[str], re.Match[str] | None]:
    """The search of a pattern, which raises SlowSearchError after LIMIT_S.

    Raises:
        ValueError: when the package is missing, or for a pattern that cannot be written for it.
    """
    try:
        import regex  # noqa: PLC0415 - needed by few sites
    except ImportError:
        raise ValueError(
            f"{pattern.pattern!r} can backtrack without bound, and what would bound it is missing: "
            "install the Python package `regex`, or write it without repetition within repetition"
        ) from None
    written = _sequence(sre_parser.parse(pattern.pattern, pattern.flags), pattern.flags)
    search = regex.compile(written, int(pattern.flags & _OF_PLACES) | regex.VERSION0).search

    def limited(text: str) -> re.Match[str] | None:
        try:
            found: re.Match[str] | None = search(text, timeout=LIMIT_S)
        except TimeoutError:
            raise SlowSearchError(
                f"{pattern.pattern!r} takes more than {LIMIT_S} s on a text of this job"
            ) from None
        return found

    return limited


def _sequence(items: Any, flags: int) -> str:
    return "".join(_item(op, argument, flags) for op, argument in items)


def _item(op: Any, argument: Any, flags: int) -> str:
    match op:
        case sre.LITERAL:
            return _class(_literal(argument), flags)
        case sre.NOT_LITERAL:
            return _class(f"^{_literal(argument)}", flags)
        case sre.ANY:
            return "."
        case sre.IN:
            return _class("".join(_of_class(*one) for one in argument), flags)
        case sre.BRANCH:
            return f"(?:{'|'.join(_sequence(branch, flags) for branch in argument[1])})"
        case sre.SUBPATTERN:
            group, added, removed, inner = argument
            text = _sequence(inner, (flags | added) & ~removed)
            if (added | removed) & _OF_PLACES:
                text = _with_flags(added, removed, text)
            return f"({'?:' if group is None else ''}{text})"
        case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
            least, most, inner = argument
            count = f"{least}," if most is sre.MAXREPEAT else f"{least},{most}"
            return f"(?:{_sequence(inner, flags)}){{{count}}}{_REPEATS[op]}"
        case sre.AT if argument in _AT:
            return _AT[argument]
        case sre.AT:
            word = _class(r"\w", flags)
            same = f"(?<={word})(?={word})|(?<!{word})(?!{word})"
            if argument is sre.AT_BOUNDARY:
                return f"(?!{same})"
            return f"(?:{same})" if _INSIDE_OF_NOTHING else rf"(?:(?!\A\Z)(?:{same}))"
        case sre.ASSERT | sre.ASSERT_NOT:
            behind = "<" if argument[0] < 0 else ""
            sign = "=" if op is sre.ASSERT else "!"
            return f"(?{behind}{sign}{_sequence(argument[1], flags)})"
        case sre.GROUPREF if not flags & re.IGNORECASE:
            return rf"(?:\g<{argument}>)"
        case sre.GROUPREF_EXISTS:
            group, yes, no = argument
            return f"(?({group}){_sequence(yes, flags)}|{_sequence(no or (), flags)})"
        case sre.ATOMIC_GROUP:
            return f"(?>{_sequence(argument, flags)})"
        case sre.FAILURE:
            return "(?!)"
    raise ValueError(f"{op} in a pattern that can backtrack without bound cannot be bounded")


def _of_class(op: Any, argument: Any) -> str:
    if op is sre.NEGATE:
        return "^"
    if op is sre.CATEGORY:
        return _CATEGORIES[argument]
    if op is sre.RANGE:
        return f"{_literal(argument[0])}-{_literal(argument[1])}"
    return _literal(argument)


def _literal(code: int) -> str:
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\U{code:08x}"


def _class(inside: str, flags: int) -> str:
    """A class, given by what is between its brackets."""
    if "\\" not in inside.replace("\\U", "") and not flags & re.IGNORECASE:
        return f"[{inside}]"
    return _spelled_out(f"[{inside}]", flags & _OF_CLASSES)


@cache
def _spelled_out(text: str, flags: int) -> str:
    """The class of all characters that `re` finds in a class, without categories and cases."""
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    runs = (run.span() for run in re.finditer(f"{text}+", every, flags))
    ranges = "".join(f"{_literal(first)}-{_literal(end - 1)}" for first, end in runs)
    return f"[{ranges}]" if ranges else "(?!)"


def _with_flags(added: int, removed: int, text: str) -> str:
    """A group in which `.`, `^` and `$` mean something else than outside."""
    letters = {re.MULTILINE: "m", re.DOTALL: "s"}
    on = "".join(letter for flag, letter in letters.items() if added & flag)
    off = "".join(letter for flag, letter in letters.items() if removed & flag)
    return f"(?{on}{'-' if off else ''}{off}:{text})"
