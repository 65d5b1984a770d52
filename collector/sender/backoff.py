"""When to try again: pure arithmetic, no clock and no waiting of its own.

The wait after the n-th failure in a row is drawn evenly from 0 to `first_s`·2ⁿ⁻¹, at most `cap_s`
("full jitter"): clients that failed together do not come back together. Before the instant that a
server names nobody comes back; but all may have got the same one, so each waits longer by up
to as long again, at most `cap_s`.
"""

from collections.abc import Callable

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait after failures in a row."""

    first_s: float
    """The longest wait after the first failure."""
    cap_s: float
    """The longest wait after any number of failures."""

    def wait_s(
        self, failures: int, random: Callable[[], float], retry_after_s: float | None = None
    ) -> float:
        """Seconds to wait before the next try.

        Args:
            failures: in a row, at least 1.
            random: gives a number from 0 to below 1.
            retry_after_s: what the server asked for, from now; the least to wait, up to a day.
        """
        if retry_after_s is not None:
            asked_s = max(retry_after_s, 0.0)
            return min(asked_s + min(asked_s, self.cap_s) * random(), 86_400.0)
        # 2**60 seconds are more than any cap; beyond, floats would overflow.
        return min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 60)) * random()
