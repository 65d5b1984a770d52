r"""Old-style ClassAd text → values, exactly, and only of the attributes that are wanted.

Pure: nothing here knows files or jobs. The format, as a schedd writes it (HTCondor 25.14) and as
`condor_history -long` prints it: one attribute a line, `Name = expression`; upper and lower case
are the same in names; in a string only `\"` is an escape, and the last quote of the line closes it;
`\n` alone ends a line, while other control characters and invalid UTF-8 are part of a text.

What is not a plain value: lists and nested ads are kept as their text; `undefined`, `error` and
expressions are unknown, except that arithmetic over attributes of the same ad is computed as
HTCondor does it (`MemoryUsage = ((ResidentSetSize + 1023) / 1024)`).
"""

import re
from collections.abc import Callable, Iterable

from collector.job import Value

_INTEGER = re.compile(rb"-?(?:0|[1-9]\d*)\Z")
_REAL = re.compile(rb"-?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?\Z")
_SPECIAL: dict[bytes, Value] = {
    b"true": True,
    b"false": False,
    b'real("INF")': float("inf"),
    b'real("-INF")': float("-inf"),
    b'real("NaN")': float("nan"),
}
_INTEGERS = range(-(2**63), 2**63)
_TOKEN = re.compile(
    r"(?P<real>\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)|(?P<integer>(?:0|[1-9]\d*)(?![\w.]))"
    r"|(?:[mM][yY]\.)?(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*/%()])",
    re.ASCII,
)
_TOKEN_LIMIT = 200
_DEPTH_LIMIT = 20
_MEMO_LIMIT, _MEMO_LIMIT_BYTES = 5_000, 200
"""How many texts an AttributeReader remembers the values of, and how long each is at most."""

Number = int | float
Texts = dict[bytes, bytes]
Wanted = tuple[str, bytes]
"""The name of an attribute, as text and as it stands in an ad."""


class AttributeReader:
    """Finds the wanted attributes of ads; made once, used for every ad."""

    def __init__(self, names: Iterable[str], *, everything: bool = False) -> None:
        """Prepares.

        Args:
            names: the wanted attributes, in the spelling in which they are given.
            everything: give all others too, as the ad spells them.
        """
        self._spelled: dict[bytes, list[bytes]] = {}
        for name in sorted(set(names)):
            self._spelled.setdefault(name.lower().encode(), []).append(name.encode())
        pattern = rb"[^ \n]+" if everything else _any_case(self._spelled)
        self._find = re.compile(b"\n(" + pattern + b") = ([^\n]*)").findall
        one_spelling = {several[0] for several in self._spelled.values() if len(several) == 1}
        self._usual = frozenset() if everything else frozenset(one_spelling)
        self._memo: dict[bytes, Value | None] = {}

    def texts(self, ad: bytes) -> Texts:
        """The wanted attributes of an ad: name → what stands behind `Name = `.

        Every line counts that follows a newline: the one before the first attribute belongs to the
        ad. Of a name that stands twice, the last counts, as it does for HTCondor.
        """
        found = dict(self._find(ad))
        if self._usual.issuperset(found):
            return found
        return {
            name: text
            for spelled, text in found.items()
            for name in self._spelled.get(spelled.lower(), (spelled,))
        }

    def values(self, texts: Texts, ad: bytes, wanted: Iterable[Wanted]) -> dict[str, Value]:
        """The values of those attributes that are known.

        Args:
            texts: of the ad.
            ad: where an expression finds the names in it.
            wanted: the attributes.
        """
        get, memo = texts.get, self._memo
        found = {}
        for name, key in wanted:
            text = get(key)
            if text is None:
                continue
            value = memo.get(text, NotImplemented)
            if value is NotImplemented:
                value = plain(text)
                if value is NotImplemented:
                    value = _arithmetic(text, ad, _DEPTH_LIMIT)
                elif len(text) <= _MEMO_LIMIT_BYTES:
                    if len(memo) >= _MEMO_LIMIT:
                        memo.clear()
                    memo[text] = value
            if value is not None:
                found[name] = value
        return found


def plain(text: bytes) -> Value | None:
    """The value of an attribute's text that needs nothing else of its ad.

    Returns:
        The value; None for `undefined` and `error`, and for an integer beyond 64 bits;
        NotImplemented for an expression.
    """
    first = text[:1]
    if not first:
        return None
    if first == b'"' and text[-1:] == b'"' and len(text) > 1:
        return text[1:-1].decode(errors="replace").replace('\\"', '"')
    if _INTEGER.match(text):
        number = int(text) if len(text) <= 20 else 2**63  # noqa: PLR2004 - digits and sign of -2⁶³
        return number if number in _INTEGERS else None
    if _REAL.match(text):
        return float(text)
    if first in b"{[" and text[-1:] in b"}]":
        return text.decode(errors="replace")
    word = text.lower()
    if word in (b"undefined", b"error"):
        return None
    special = _SPECIAL.get(text, _SPECIAL.get(word))
    return NotImplemented if special is None else special


def attribute(ad: bytes, name: str) -> bytes | None:
    """The text of one attribute of an ad, whatever its name's case; None when it has none."""
    found = re.findall(b"\n(?i:" + re.escape(name.encode()) + b") = ([^\n]*)", ad)
    return found[-1] if found else None


def names(ad: bytes) -> list[bytes]:
    """The names of an ad's attributes, in lower case and in their order."""
    return [name.lower() for name in re.findall(rb"\n([^ \n]+) = ", ad)]


def _arithmetic(text: bytes, ad: bytes, depth: int) -> Number | None:
    """The value of an expression of `+ - * / %` over numbers and attributes; None for any other.

    As in HTCondor, a quotient of integers is an integer, cut towards zero.
    """
    tokens: list[tuple[str, str]] = []
    rest = text.decode(errors="replace").strip()
    while rest:
        match = _TOKEN.match(rest)
        if match is None or match.lastgroup is None or len(tokens) == _TOKEN_LIMIT:
            return None
        tokens.append((match.lastgroup, match[match.lastgroup]))
        rest = rest[match.end() :].lstrip()

    def lookup(name: str) -> Number:
        found = attribute(ad, name)
        value = None if found is None or depth == 0 else plain(found)
        if found is not None and value is NotImplemented:
            value = _arithmetic(found, ad, depth - 1)
        if type(value) not in (int, float):
            raise ValueError(name)
        return value  # type: ignore[return-value]

    try:
        value = _Parser(tokens, lookup).value()
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value if isinstance(value, float) or value in _INTEGERS else None


class _Parser:
    """Recursive descent over tokens; raises ValueError at what is no arithmetic."""

    def __init__(self, tokens: list[tuple[str, str]], lookup: Callable[[str], Number]) -> None:
        self._tokens = [*tokens, ("end", "")]
        self._lookup = lookup

    def value(self) -> Number:
        found = self._sum()
        self._take("")
        return found

    def _sum(self) -> Number:
        found = self._product()
        while (sign := self._tokens[0][1]) in ("+", "-"):
            self._take(sign)
            found = found + self._product() if sign == "+" else found - self._product()
        return found

    def _product(self) -> Number:
        found = self._factor()
        while (sign := self._tokens[0][1]) in ("*", "/", "%"):
            self._take(sign)
            by = self._factor()
            if sign == "*":
                found = found * by
            elif isinstance(found, float) or isinstance(by, float):
                if sign == "%":
                    raise ValueError(sign)
                found = found / by
            else:
                quotient = abs(found) // abs(by) * (1 if (found < 0) == (by < 0) else -1)
                found = quotient if sign == "/" else found - by * quotient
        return found

    def _factor(self) -> Number:
        kind, text = self._tokens[0]
        self._take(text)
        if kind == "integer":
            return int(text)
        if kind == "real":
            return float(text)
        if kind == "name":
            return self._lookup(text)
        if text == "-":
            return -self._factor()
        if text == "+":
            return self._factor()
        if text != "(":
            raise ValueError(text)
        found = self._sum()
        self._take(")")
        return found

    def _take(self, text: str) -> None:
        if self._tokens[0][1] != text:
            raise ValueError(text)
        if text:
            del self._tokens[0]


def _any_case(words: Iterable[bytes]) -> bytes:
    """A pattern of any of the words, whatever their case.

    A tree over common beginnings whose first letters stand as literals: so the search leaves most
    lines of an ad after one comparison (measured: 15 µs an ad, 40 µs for `(?i:A|B|…)`).
    """
    tree: dict[int, dict] = {}  # type: ignore[type-arg]
    for word in words:
        node = tree
        for char in word:
            node = node.setdefault(char, {})
        node[-1] = {}

    def pattern_of(node: dict[int, dict]) -> bytes:  # type: ignore[type-arg]
        ways = [
            b"" if char < 0 else re.escape(bytes([char])) + pattern_of(rest)
            for char, rest in sorted(node.items(), reverse=True)
        ]
        return ways[0] if len(ways) == 1 else b"(?:" + b"|".join(ways) + b")"

    firsts = [
        re.escape(first) + b"(?i:" + pattern_of(rest) + b")"
        for char, rest in sorted(tree.items())
        for first in sorted({bytes([char]).upper(), bytes([char])})
    ]
    return b"(?:" + b"|".join(firsts) + b")"
