"""Which stretches of time to ask for: pure arithmetic over epoch seconds.

A window is a whole number of seconds, from its first to before its end. `sacct` shows the runs that
ended in it, its first and last second included.
"""

from collections.abc import Iterator

import msgspec

_SHRINK = 2.0
_GROW = 1.5


class Window(msgspec.Struct, frozen=True):
    """The seconds `begin <= second < end`."""

    begin: int
    end: int


class Pace(msgspec.Struct):
    """How long the next window is to be: as much as comes in a bearable time.

    It only decides how much is asked for at once, never what is read.
    """

    length_s: float
    """Length of the next window."""
    longest_s: float
    shortest_s: float
    call_s: float
    """How long one call should take; longer ones make the windows shorter."""

    def took(self, seconds: float) -> None:
        """Learns from the last call."""
        if seconds > self.call_s:
            self.length_s = max(self.shortest_s, self.length_s / _SHRINK)
        elif seconds < self.call_s / 2:
            self.length_s = min(self.longest_s, self.length_s * _GROW)


def windows(begin: int, end: int, pace: Pace) -> Iterator[Window]:
    """Cuts a stretch into windows, each as long as the pace says when it is its turn."""
    while begin < end:
        until = min(end, begin + max(1, round(pace.length_s)))
        yield Window(begin, until)
        begin = until
