"""Regular expressions of the configuration, run so that no user's text can stop the process.

`re` runs them. Where its time could grow beyond all bounds (`backtracking.py`), the engine of the
package `regex` runs the same pattern instead (`timed.py`), which gives up after a while; it is
loaded when it is needed first, since it costs 1.3 MiB of memory and takes 8 times as long (6 µs for
a group's name). Both give the same result.
"""

import re
from collections.abc import Callable

from collector.mapping.backtracking import Growth, growth
from collector.mapping.timed import LIMIT_S, timed_search

_LIMIT_STEPS = 200_000
"""What `re` does in 10 to 200 ms."""
_LISTED_POWER = 3

Search = Callable[[str], re.Match[str] | None]


class Pattern:
    """A compiled regular expression.

    Attributes:
        text: as the configuration has it.
        groups: how many groups it has.
        search: finds it anywhere in a text, as `re.search`. Raises SlowSearchError for a text
            that would take too long.
    """

    def __init__(self, text: str) -> None:
        """Compiles it.

        Raises:
            ValueError: when it is no regular expression, with the reason; or it can backtrack
                without bound, and `regex` is missing.
        """
        try:
            compiled = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from None
        self.text = text
        self.groups = compiled.groups
        self._growth = growth(compiled)
        self.search: Search = compiled.search
        if self._growth is None:
            self.search = timed_search(compiled)
        else:
            self.search = _by_length(compiled, self._growth)

    @property
    def warning(self) -> str | None:
        """What to say of a pattern that can backtrack; None for a good one."""
        if self._growth is not None and self._growth.power < _LISTED_POWER:
            return None
        grows = "exponentially" if self._growth is None else f"with the power {self._growth.power}"
        return (
            f"{self.text!r} can backtrack: its time grows {grows} with the length of the text. A "
            f"job with a text that takes longer than {LIMIT_S} s is rejected; write it without "
            "repetition within repetition, or next to one of the same characters"
        )


def _by_length(compiled: re.Pattern[str], growth: Growth) -> Search:
    """The search of `re` for texts that are short enough for it."""
    longest = int((_LIMIT_STEPS / growth.steps) ** (1 / growth.power))
    quick = compiled.search
    timed: Search | None = None

    def search(text: str) -> re.Match[str] | None:
        nonlocal timed
        if len(text) <= longest:
            return quick(text)
        if timed is None:
            timed = timed_search(compiled)
        return timed(text)

    return search
