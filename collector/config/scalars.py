"""Single values of YAML: what a plain word is, and what a word that readers differ on may mean.

YAML 1.1 reads `NO`, `0123` and `12:30` as something else than people who write them. Such words are
mistakes here, with what to write instead, since either meaning would win silently.
"""

import re
from datetime import UTC, date, datetime
from typing import Any

from collector.config.mistakes import did_you_mean

_CORE = (
    (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda _: None),
    (re.compile(r"(?:true|True|TRUE)\Z"), lambda _: True),
    (re.compile(r"(?:false|False|FALSE)\Z"), lambda _: False),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,4000})\Z"), int),
    (re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z"), float),
)
"""Plain scalars of YAML 1.2's core schema that are not text. (More digits Python does not read.)"""

_AMBIGUOUS = re.compile(
    r"(?:y|n|yes|no|on|off)\Z|[-+]?0[0-9_]+\Z|[-+]?0[xob][0-9a-f_]+\Z"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z|[-+]?[0-9]+_[0-9_]+\Z"
    r"|[-+]?\.(?:inf|nan)\Z",
    re.IGNORECASE,
)
"""Plain scalars that YAML 1.1 takes for a boolean or a number, and people for text."""

_WORDS = {"y": "true", "yes": "true", "on": "true", "n": "false", "no": "false", "off": "false"}


def plain_value(word: str) -> Any:
    """What a word without quotes is.

    Raises:
        AmbiguousError: for one that readers of YAML differ on.
    """
    for pattern, make in _CORE:
        if pattern.match(word):
            return make(word)
    if _AMBIGUOUS.match(word):
        raise AmbiguousError(word)
    return word


class AmbiguousError(ValueError):
    """Raised for a word that readers of YAML differ on."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word

    def advice(self, wanted: frozenset[type]) -> str:
        """What to write instead, where values of these types are wanted."""
        if wanted == {bool} and self.word.lower() in _WORDS:
            return f"expected true or false, not {self.word}; write {_WORDS[self.word.lower()]}"
        number = re.sub(r"^([-+]?)0+(?=\d)", r"\1", self.word.replace("_", ""))
        if wanted and wanted <= {int, float} and re.fullmatch(r"[-+]?\d+", number):
            return f"{self.word} means different numbers to different readers; write {number}"
        return (
            f"{self.word} means different things to different readers of YAML; "
            f"if it is text, write '{self.word}'"
        )


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
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value!r} is out of range; {example}") from None


def one_of(value: Any, words: tuple[str, ...]) -> str:
    """The value, if it is one of some words.

    Raises:
        ValueError: if not, with the words.
    """
    if value in words:
        return str(value)
    hint = did_you_mean(str(value), words)
    raise ValueError(f"expected one of {', '.join(words)}, not {value!r}{hint}")


def plain_words(message: str) -> str:
    """A message of msgspec without its notation."""
    for theirs, ours in (
        ("`str`", "a text"),
        ("`int | float`", "a number"),
        ("`float`", "a number"),
        ("`int`", "a whole number"),
        ("`bool`", "true or false"),
        ("`null`", "nothing"),
    ):
        message = message.replace(theirs, ours)
    return re.sub(r"(?<=\d)\.0\b", "", message.replace("Expected", "expected"))
