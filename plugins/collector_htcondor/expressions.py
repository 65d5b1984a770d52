"""Computes ClassAd expressions over the attributes of one ad, as HTCondor does.

Anything that a user writes may be an expression, so the work for one ad is bounded: each attribute
is computed once, and all together may take `STEPS`. What takes more, what is not known here (some
functions, nested ads) and what is `undefined` or `error` has no value. Held against `classad2`,
HTCondor's own parser, by a property test.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from collector.job import Value
from collector_htcondor.expression_functions import FUNCTIONS
from collector_htcondor.expression_text import NoExpressionError, Tree, parse
from collector_htcondor.expression_values import (
    ERROR,
    UNDEFINED,
    UnknownError,
    arithmetic,
    compare,
    identical,
    is_number,
    truth,
    wrapped,
)

STEPS = 5_000
"""How many parts of expressions are computed for one ad."""
_TEXT_LIMIT = 2_000
_DEPTH_LIMIT = 20
_ATTRIBUTE = re.compile(rb"\n([^ \n]+) = ([^\n]*)")
_COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!="))

Plain = Callable[[bytes], Any]
"""The value of a text that is no expression; NotImplemented for one that is."""


class Expressions:
    """Computes expressions of one ad."""

    def __init__(self, ad: bytes, plain: Plain) -> None:
        """Prepares.

        Args:
            ad: each of its lines after a newline.
            plain: see `Plain`.
        """
        self._ad, self._plain = ad, plain
        self._texts: dict[str, bytes] | None = None
        self._known: dict[str, Any] = {}
        self._steps = STEPS
        self._depth = 0

    def value(self, text: bytes) -> Value | None:
        """The value of an expression; None if it has none, or it is not known."""
        try:
            found = self._of_text(text)
        except (UnknownError, NoExpressionError, RecursionError, ArithmeticError, ValueError):
            return None
        return found if isinstance(found, (bool, int, float, str)) else None

    def _of_text(self, text: bytes) -> Any:
        if len(text) > _TEXT_LIMIT:
            raise UnknownError("the expression is too long")
        self._step(1 + len(text) // 10)
        return self._of(parse(text.decode(errors="replace")))

    def _step(self, steps: int = 1) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise UnknownError("the ad's expressions take too long")

    def _attribute(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if self._texts is None:
            self._texts = {
                key.decode(errors="replace").lower(): text
                for key, text in _ATTRIBUTE.findall(self._ad)
            }
        text = self._texts.get(name)
        if text is None:
            return UNDEFINED
        self._known[name] = ERROR  # of an attribute that depends on itself
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise UnknownError("attributes depend on each other too deeply")
        found = self._literal(text)
        if found is NotImplemented:
            found = self._of_text(text)
        self._depth -= 1
        self._known[name] = found
        return found

    def _literal(self, text: bytes) -> Any:
        word = text.lower()
        if word == b"undefined":
            return UNDEFINED
        if word == b"error":
            return ERROR
        if text[:1] in b"{[":
            return NotImplemented
        found = self._plain(text)
        return UNDEFINED if found is None else found

    def _of(self, tree: Tree) -> Any:
        self._step()
        kind = tree[0]
        if kind == "value":
            return tree[1]
        if kind == "attribute":
            return self._attribute(tree[1])
        if kind in ("undefined", "error"):
            return UNDEFINED if kind == "undefined" else ERROR
        if kind == "call":
            return self._called(tree[1], tree[2:])
        if kind == "list":
            return [self._of(item) for item in tree[1:]]
        if kind == "item":
            return self._item(self._of(tree[1]), self._of(tree[2]))
        if kind == "unary":
            return _unary(tree[1], self._of(tree[2]))
        if kind in ("choice", "default"):
            return self._chosen(tree)
        if kind in ("&&", "||"):
            return self._joined(kind == "||", tree[1], tree[2])
        left, right = self._of(tree[1]), self._of(tree[2])
        if kind in ("=?=", "=!="):
            return identical(left, right) == (kind == "=?=")
        return (compare if kind in _COMPARISONS else arithmetic)(kind, left, right)

    def _chosen(self, tree: Tree) -> Any:
        found = self._of(tree[1])
        if tree[0] == "default":
            return self._of(tree[2]) if found is UNDEFINED else found
        holds = truth(found)
        if holds is UNDEFINED or holds is ERROR:
            return holds
        return self._of(tree[2 if holds else 3])

    def _joined(self, decides: bool, left: Tree, right: Tree) -> Any:
        """`a || b` is decided by a true one, `a && b` by a false one."""
        first = truth(self._of(left))
        if first is decides or first is ERROR:
            return first
        second = truth(self._of(right))
        if second is decides or second is ERROR:
            return second
        return UNDEFINED if UNDEFINED in (first, second) else not decides

    def _item(self, of: Any, index: Any) -> Any:
        if not isinstance(of, list) or type(index) is not int:
            raise UnknownError("a subscript")
        return of[index] if 0 <= index < len(of) else ERROR

    def _called(self, name: str, arguments: tuple[Tree, ...]) -> Any:
        if name == "ifthenelse":
            if len(arguments) != 3:  # noqa: PLR2004 - condition, then, else
                return ERROR
            return self._chosen(("choice", *arguments))
        function = FUNCTIONS.get(name)
        if function is None:
            raise UnknownError(name)
        values = [self._of(argument) for argument in arguments]
        self._step(sum(len(value) for value in values if isinstance(value, (str, list))) // 10)
        try:
            found = function(*values)
        except TypeError:  # too few or too many
            raise UnknownError(name) from None
        return wrapped(found)


def _unary(sign: str, of: Any) -> Any:
    if of is UNDEFINED or of is ERROR:
        return of
    if sign == "!":
        holds = truth(of)
        return holds if holds is ERROR else not holds
    if sign == "~":
        return ~of if type(of) is int else ERROR
    if not is_number(of) or isinstance(of, bool):
        return ERROR
    found = -of if sign == "-" else of
    return wrapped(found) if not isinstance(found, float) or math.isfinite(found) else found
