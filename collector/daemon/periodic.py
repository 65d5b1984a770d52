"""A task that runs again and again, and whether it makes progress."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds of a clock that never goes back."""

Progressed = Callable[[], None]
"""Called by a task whenever another part of it is done."""


class PeriodicTask:
    """A source's poll, or the sender's pass, with its interval."""

    def __init__(
        self,
        name: str,
        interval_s: float,
        do: Callable[[Progressed], str],
        *,
        done: Callable[[str, float], None],
        clock: Clock = time.monotonic,
    ) -> None:
        """Keeps all; runs nothing.

        Args:
            name: of the source, or `sender`.
            interval_s: seconds between two starts.
            do: runs it once; returns in a word how it went.
            done: is called with that word, and how many seconds it took.
            clock: the time.
        """
        self.name = name
        self.interval_s = interval_s
        self._do = do
        self._done = done
        self._clock = clock
        self.busy = False
        """Whether it runs now."""
        self._seen = clock()

    def __call__(self) -> None:
        """Runs it once."""
        started = self._seen = self._clock()
        self.busy = True
        try:
            result = self._do(self._progressed)
        finally:
            self._seen = self._clock()
            self.busy = False
        self._done(result, self._seen - started)

    def late_s(self) -> float:
        """Seconds since it last made progress or, between two runs, since it was due."""
        # Read in this order, a change in between can only make it look less late.
        busy, seen = self.busy, self._seen
        return max(0.0, self._clock() - seen - (0 if busy else self.interval_s))

    def _progressed(self) -> None:
        self._seen = self._clock()
