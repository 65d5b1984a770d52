"""Which entries of the jobcomp log belong to a period, also those that cannot be read.

An entry that cannot be read has no end that could be believed: whoever forges a line forges its
end. But the log is in the order of ends, so it ended between the runs before and after it.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo

import msgspec

from collector.source import Job, Unreadable
from collector_slurm import local_times

_END = re.compile(rb"\bEndTime=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


class Taken(msgspec.Struct):
    """What an entry turned out to be: a job, one that is filtered, or unreadable."""

    job: Job | None = None
    filtered: str = ""
    unreadable: Unreadable | None = None
    end: int | None = None
    """When its run ended, in epoch seconds, as far as that can be known."""


class Period(msgspec.Struct, frozen=True):
    """From an instant to another."""

    since: float
    """Epoch seconds."""
    until: float
    zone: tzinfo
    """Of the log's times."""

    @classmethod
    def of(cls, since: datetime, until: datetime, zone: tzinfo) -> "Period":
        """The period between two aware datetimes."""
        return cls(since.timestamp(), until.timestamp(), zone)

    def select(self, entries: Iterable[Taken], now: float) -> Iterator[Taken]:
        """Leaves out what does not belong to the period.

        Args:
            entries: all of the log, in its order.
            now: in epoch seconds; nothing has ended later.
        """
        waiting: list[Unreadable] = []
        before: float | None = None
        for entry in entries:
            if entry.unreadable is not None:
                waiting.append(entry.unreadable)
            elif entry.end is not None:
                yield from self._between(waiting, before, entry.end)
                waiting, before = [], entry.end
                if self.since <= entry.end < self.until:
                    yield entry
            elif before is None or self._overlaps(before, before):
                yield entry
        yield from self._between(waiting, before, None, now)

    def _between(
        self, waiting: list[Unreadable], before: float | None, after: float | None, now: float = 0
    ) -> Iterator[Taken]:
        """Those of some unreadable entries that may have ended in the period."""
        for one in waiting:
            named = list(self._named_ends(one.raw))
            low = min(named, default=0) if before is None else before
            high = min(now, max(named, default=now)) if after is None else after
            if self._overlaps(low, high):
                yield Taken(unreadable=one)

    def _overlaps(self, low: float, high: float) -> bool:
        slack_s = local_times.REORDERED_S
        return low - slack_s < self.until and high + slack_s >= self.since

    def _named_ends(self, raw: bytes) -> Iterator[int]:
        """The ends that a text names, true or forged."""
        for text in _END.findall(raw):
            try:
                yield from local_times.instants(text.decode(), self.zone)
            except ValueError:
                continue
