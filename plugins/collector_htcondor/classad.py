r"""Old-style ClassAd text → values, exactly, and only of the attributes that are wanted.

Pure: nothing here knows files or jobs. The format, as a schedd writes it (HTCondor 25.14) and as
`condor_history -long` prints it: one attribute a line, `Name = expression`; upper and lower case
are the same in names; in a string only `\"` is an escape, and the last quote of the line closes it;
`\n` alone ends a line, while other control characters and invalid UTF-8 are part of a text.

What is not a plain value: lists and nested ads are kept as their text; `undefined` and `error` are
unknown; expressions over attributes of the same ad are computed, see `expressions.py`.
"""

import re
from collections.abc import Iterable

from collector.job import Value
from collector_htcondor.expressions import Expressions
from collector_htcondor.texts import Texts

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
_MEMO_LIMIT, _MEMO_LIMIT_BYTES = 5_000, 200
"""How many texts an AttributeReader remembers the values of, and how long each is at most."""

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
        expressions: Expressions | None = None
        for name, key in wanted:
            text = get(key)
            if text is None:
                continue
            value = memo.get(text, NotImplemented)
            if value is NotImplemented:
                value = plain(text)
                if value is NotImplemented:
                    expressions = expressions or Expressions(ad, plain)
                    value = expressions.value(text)
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
        if text.count(b'"') > 2 + text.count(b'\\"', 1, -1):
            return NotImplemented  # type: ignore[no-any-return]  # of several texts, as `"a" == "b"`
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
