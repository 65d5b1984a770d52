"""ClassAd expressions: text → tree.

A tree is a tuple: the kind of node, then what belongs to it. The parser knows what HTCondor's
manual lists under "ClassAd evaluation semantics"; a text with anything else is refused.
"""

import re
from typing import Any

Tree = tuple[Any, ...]

_TOKEN = re.compile(
    r"\s*(?:(?P<real>(?:\d+\.\d+|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?)"
    r"|(?P<integer>(?:0|[1-9]\d*)(?![\w.]))"
    r'|"(?P<string>(?:[^"\\]|\\.)*)"'
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>=\?=|=!=|>>>|<<|>>|&&|\|\||\?:|[<>=!]=|[-+*/%<>!~&^|?:(){}\[\],.]))",
    re.ASCII | re.DOTALL,
)
_TOKEN_LIMIT = 400
_DEPTH_LIMIT = 60

_BINARY: dict[str, int] = {
    "||": 1,
    "&&": 2,
    "|": 3,
    "^": 4,
    "&": 5,
    **dict.fromkeys(("==", "!=", "=?=", "=!=", "is", "isnt"), 6),
    **dict.fromkeys(("<", "<=", ">", ">="), 7),
    **dict.fromkeys(("<<", ">>", ">>>"), 8),
    **dict.fromkeys(("+", "-"), 9),
    **dict.fromkeys(("*", "/", "%"), 10),
}
"""Operator → how strongly it binds."""
_UNARY = frozenset("-+!~")
_SAME = {"is": "=?=", "isnt": "=!="}


class NoExpressionError(ValueError):
    """Raised for a text that is no expression, or one beyond the limits."""


def parse(text: str) -> Tree:
    """The tree of an expression.

    Raises:
        NoExpressionError: when it is none.
    """
    parser = _Parser(_tokens(text))
    tree = parser.choice(_DEPTH_LIMIT)
    parser.take("end")
    return tree


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None or len(found) == _TOKEN_LIMIT:
            raise NoExpressionError(text[at : at + 20])
        value = match[match.lastgroup]
        kind = match.lastgroup
        if kind == "name" and value.lower() in _SAME:
            kind, value = "sign", _SAME[value.lower()]
        found.append((kind, value))
        at = match.end()
    return found


class _Parser:
    """Recursive descent by how strongly operators bind."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "end")]
        self._at = 0

    @property
    def _sign(self) -> str:
        kind, value = self._tokens[self._at]
        return value if kind in ("sign", "end") else ""

    def take(self, sign: str) -> None:
        if self._sign != sign:
            raise NoExpressionError(self._tokens[self._at][1])
        self._at += 1

    def choice(self, depth: int) -> Tree:
        """`a ? b : c`, or what binds more strongly."""
        if depth == 0:
            raise NoExpressionError("it nests too deeply")
        condition = self._binary(0, depth)
        if self._sign != "?":
            return condition
        self.take("?")
        if_true = self.choice(depth - 1)
        self.take(":")
        return ("choice", condition, if_true, self.choice(depth - 1))

    def _binary(self, least: int, depth: int) -> Tree:
        left = self._unary(depth)
        while (strength := _BINARY.get(self._sign, 0)) > least:
            sign = self._sign
            self.take(sign)
            left = (sign, left, self._binary(strength, depth - 1 if depth else 0))
        return left

    def _unary(self, depth: int) -> Tree:
        if depth <= 0:
            raise NoExpressionError("it nests too deeply")
        if self._sign in _UNARY and self._sign:
            sign = self._sign
            self.take(sign)
            return ("unary", sign, self._unary(depth - 1))
        return self._subscripted(self._primary(depth), depth)

    def _subscripted(self, of: Tree, depth: int) -> Tree:
        while self._sign == "[":
            self.take("[")
            of = ("item", of, self.choice(depth - 1))
            self.take("]")
        if self._sign == "?:":  # binds more strongly than any other operator, as HTCondor does it
            self.take("?:")
            return ("default", of, self._otherwise(depth - 1))
        if self._sign == ".":
            raise NoExpressionError("selection from a nested ad")
        return of

    def _otherwise(self, depth: int) -> Tree:
        """What follows `?:`: no operator but the sign of a number."""
        if depth <= 0:
            raise NoExpressionError("it nests too deeply")
        if self._sign != "-":
            return self._subscripted(self._primary(depth), depth)
        self.take("-")
        kind, text = self._tokens[self._at]
        if kind not in ("integer", "real"):
            raise NoExpressionError(text)
        self._at += 1
        return ("unary", "-", ("value", _literal(kind, text)))

    def _primary(self, depth: int) -> Tree:
        kind, value = self._tokens[self._at]
        if kind in ("integer", "real", "string"):
            self._at += 1
            return ("value", _literal(kind, value))
        if kind == "name":
            self._at += 1
            return self._named(value, depth)
        if value == "(":
            self.take("(")
            found = self.choice(depth - 1)
            self.take(")")
            return found
        if value == "{":
            return ("list", *self._items("{", "}", depth))
        raise NoExpressionError(value)

    def _named(self, name: str, depth: int) -> Tree:
        word = name.lower()
        if self._sign == "(":
            return ("call", word, *self._items("(", ")", depth))
        if word in ("true", "false"):
            return ("value", word == "true")
        if word in ("undefined", "error"):
            return (word,)
        if self._sign == "." and word in ("my", "target"):
            self.take(".")
            kind, attribute = self._tokens[self._at]
            if kind != "name":
                raise NoExpressionError(attribute)
            self._at += 1
            return ("attribute", attribute.lower()) if word == "my" else ("undefined",)
        return ("attribute", word)

    def _items(self, opening: str, closing: str, depth: int) -> list[Tree]:
        self.take(opening)
        found: list[Tree] = []
        while self._sign != closing:
            if found:
                self.take(",")
            found.append(self.choice(depth - 1))
        self.take(closing)
        return found


def _literal(kind: str, text: str) -> int | float | str:
    if kind == "string":
        return text.replace('\\"', '"')
    if kind == "real":
        return float(text)
    if len(text) > 19 or int(text) >= 2**63:  # noqa: PLR2004 - digits of 2⁶³
        raise NoExpressionError(text)
    return int(text)
