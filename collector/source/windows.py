"""Reads accounting by asking for windows of time: what `sacct` and `condor_history` have in common.

A poll asks for all that ended since the window that was read in full last, and again for
`overlap_s` before it, since ends are learnt late; now and then it asks for the last `rescan_s` once
more. The checkpoint moves to the end of a window when that is read in full, and never before: a
crash, a time-out or an outage makes the next poll ask for it again. Reading a run twice is
harmless, since its id is always the same.

**Clocks.** Windows end at the present of our clock, and runs by the scheduler's. So a clock that
is wrong is seen by the newest end that was ever shown (`Reached.newest`):

- *ours was ahead* (for days): windows of a time to come were read, and empty. When it is set right,
  all that ended after the newest end that was shown is asked for again;
- *ours is behind* (2000 until NTP comes), or *both were set back*: what was read stays read, and
  what ends now is read beside it (`Reached.back`). A clock before `FLOOR` is never believed.

The length of a window (`Pace`) follows what the answers cost, and time-outs most of all.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from collector.config import Positive, SourceSection
from collector.source.command import TimedOutError
from collector.source.contract import Batch, Context, Lag

Duration = Annotated[float, msgspec.Meta(ge=0)]

FLOOR = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
"""No clock that is right says less: this program is younger."""
LOOK_BACK_S = 30 * 86400
"""How far back is asked for where nothing shows how long a clock was wrong."""
_SHORTEST_S = 60
FIRST_S = 3600
_SLOW_SHARE = 0.1
"""A call that takes longer than this share of `timeout_s` makes the windows shorter."""
_SHRINK, _SHRINK_AFTER_TIME_OUT, _GROW = 2.0, 4.0, 1.5
_HELPED = 0.75
"""A window of half the length is to take less than this share of the time, or it is no help."""


class WindowSection(SourceSection, kw_only=True):
    """The keys of a source that asks for windows of time."""

    timeout_s: Positive = 300
    """Seconds to wait for one call of a command, altogether."""
    window_s: Annotated[float, msgspec.Meta(ge=1)] = 21600
    """Longest time that one call asks for; calls that take long make it shorter."""
    pause_s: Duration = 0.2
    """Seconds between two calls, so that what is asked has time for others."""
    overlap_s: Duration = 600
    """Every poll also asks for what ended this long before the last one."""
    settle_s: Duration = 5
    """Runs are asked for this long after their end, at the earliest."""
    rescan_s: Duration = 86400
    """A deeper re-scan asks for what ended within this time; so does the very first poll without
    `since`."""
    rescan_interval_s: Positive = 3600
    """Seconds between two deeper re-scans, which find what was learnt late."""


WINDOW_KEYS = tuple(
    name for name in WindowSection.__struct_fields__ if name not in SourceSection.__struct_fields__
)
"""For `inherited_go_with` of a section that asks for windows in some of its modes only."""


class Window(msgspec.Struct, frozen=True):
    """The seconds `begin <= second < end`."""

    begin: int
    end: int


class Part(msgspec.Struct):
    """Some of what a window shows."""

    batch: Batch
    last: bool = False
    """Whether the window is read in full with it."""
    newest: int | None = None
    """With the last one: the latest end that the window showed, in epoch seconds."""
    took_s: float = 0
    """With the last one: how long the answer took, without what was done with it."""
    complete: bool = True
    """Whether nothing of it was left to a later reading."""


Read = Callable[[Window], Iterator[Part]]
"""Reads a window. It raises a SourceError when it cannot be read in full."""


class Reached(msgspec.Struct, kw_only=True):
    """How far a source has been read: (a part of) its checkpoint."""

    until: int
    """Runs that ended before this epoch second have been read."""
    rescanned: int
    """When a deeper re-scan was last finished, in epoch seconds."""
    newest: int | None = None
    """The latest end that a window has shown, in epoch seconds: the scheduler's clock was there."""
    back: int | None = None
    """While our clock is before `until`: runs that ended before this epoch second have been read
    since it was set back."""


class Pace(msgspec.Struct):
    """How long the next window is to be: as much as is answered in a bearable time.

    It only decides how much is asked for at once, never what is read.
    """

    length_s: float
    """Length of the next window."""
    longest_s: float
    shortest_s: float
    call_s: float
    """How long one call should take; longer ones make the windows shorter."""
    slow: tuple[float, float] | None = None
    """Length and seconds of the last call that took too long."""

    def took(self, seconds: float, length_s: float) -> None:
        """Learns from a call that was answered, for a window of this length."""
        if seconds > self.call_s:
            if self.slow and length_s < self.slow[0] and seconds > _HELPED * self.slow[1]:
                self.length_s = self.slow[0]  # it costs the same, however little is asked for
                return
            self.slow = length_s, seconds
            self._shrink(length_s, _SHRINK)
        elif seconds < self.call_s / 2:
            self.slow = None
            if length_s >= int(self.length_s):
                self.length_s = min(self.longest_s, self.length_s * _GROW)

    def timed_out(self, length_s: float) -> bool:
        """Learns from a call that timed out; whether the next one will ask for less."""
        self._shrink(length_s, _SHRINK_AFTER_TIME_OUT)
        return self.length_s < length_s

    def _shrink(self, length_s: float, share: float) -> None:
        self.length_s = max(self.shortest_s, min(self.length_s, length_s) / share)


class Plan(msgspec.Struct, frozen=True):
    """What one poll asks for."""

    begin: int
    end: int
    deep: bool
    """Whether it is a deeper re-scan."""


class WindowReader:
    """Reads one thing (a database, a schedd) window by window, as long as the program runs."""

    def __init__(self, section: WindowSection, context: Context, first_s: float = FIRST_S) -> None:
        """Asks nothing yet.

        Args:
            section: its keys.
            context: of its source.
            first_s: length of the first windows; longer ones follow when answers come quickly.
        """
        self._section, self._context = section, context
        self._pace = Pace(
            length_s=min(section.window_s, first_s),
            longest_s=section.window_s,
            shortest_s=min(section.window_s, _SHORTEST_S),
            call_s=section.timeout_s * _SLOW_SHARE,
        )
        self._polled = False
        self._warned = ""

    def start(self) -> tuple[int, int]:
        """`until` and `rescanned` for the very first poll."""
        section, now = self._section, self._context.now().timestamp()
        limit = int(now) - int(section.settle_s)
        since = section.since.timestamp() if section.since else now - section.rescan_s
        return min(int(since), limit), limit

    def lag(self, at: Reached) -> Lag:
        """By the end of the last window, beyond what the next poll is due to ask for; see
        `Source.lag`. How far back the other side's memory reaches is not known here.
        """
        section, now = self._section, self._context.now().timestamp()
        until = at.until if at.back is None else at.back
        return Lag(max(0.0, now - until - section.settle_s - section.interval_s))

    def poll(
        self, at: Reached, read: Read, *, is_new: bool, overlap_s: float | None = None
    ) -> Iterator[Batch]:
        """Reads what ended since a checkpoint, oldest first.

        Args:
            at: how far it was read; moved as windows are read in full, before their last batch is
                yielded, so that each batch can carry it as its checkpoint.
            read: reads a window.
            is_new: whether nothing was read before, so that there is no overlap.
            overlap_s: instead of the section's.

        Yields:
            Batches; the last one of each window with the share of the poll that is read.

        Raises:
            SourceError: when a window cannot be read in full. The next poll begins there, with a
                shorter window if it was a time-out.
        """
        overlap_s = self._section.overlap_s if overlap_s is None else overlap_s
        plan = self._plan(at, int(overlap_s), is_new=is_new)
        if plan is None:
            return
        end = plan.end
        for window in self._windows(plan.begin, plan.end):
            if window.end > (end := min(end, self._present())):
                return  # the clock was ahead when the poll began
            try:
                for part in read(window):
                    if part.last:
                        self._pace.took(part.took_s, window.end - window.begin)
                        self._advance(at, window, part.newest, plan)
                        part.batch.progress = _share(window.end, plan.begin, plan.end)
                    yield part.batch
            except TimedOutError:
                self._pace.timed_out(window.end - window.begin)
                raise
            if self._pauses(window.end < plan.end):
                return
        self._polled = True

    def stretch(
        self, begin: int, end: int, read: Read, *, more: bool = False
    ) -> Iterator[tuple[Window, Part]]:
        """Reads a stretch of time, for a backfill: a window that times out is read again in
        shorter ones, as no poll comes after it.

        Args:
            begin: its first second.
            end: the second after its last one.
            read: reads a window.
            more: whether another stretch follows, so that there is a pause after this one.

        Raises:
            SourceError: when a window cannot be read in full.
        """
        while begin < end:
            window = next(self._windows(begin, end))
            try:
                for part in read(window):
                    if part.last:
                        self._pace.took(part.took_s, window.end - begin)
                    yield window, part
            except TimedOutError as error:
                if not self._pace.timed_out(window.end - begin):
                    raise
                self._context.log.warning(
                    "window timed out and is made shorter",
                    length_s=round(self._pace.length_s),
                    error=str(error),
                )
                continue
            begin = window.end
            if self._pauses(more or begin < end):
                return

    def _windows(self, begin: int, end: int) -> Iterator[Window]:
        """Cuts a stretch into windows, each as long as the pace says when it is its turn."""
        while begin < end:
            until = min(end, begin + max(1, round(self._pace.length_s)))
            yield Window(begin, until)
            begin = until

    def _pauses(self, more: bool) -> bool:
        return self._context.stop.wait(self._section.pause_s if more else 0)

    def _present(self) -> int:
        return int(self._context.now().timestamp()) - int(self._section.settle_s)

    def _plan(self, at: Reached, overlap_s: int, *, is_new: bool) -> Plan | None:
        """What to ask for; None while the clock cannot be right. Corrects `at` by the clock."""
        section, limit = self._section, self._present()
        if limit < FLOOR:
            self._warn("clock is wrong; nothing is read", now=limit, hint="set the clock")
            return None
        since = int(section.since.timestamp()) if section.since else 0
        if is_new:
            begin = at.until
        else:
            self._correct(at, limit, overlap_s, since)
            begin = (at.until if at.back is None else at.back) - overlap_s
            if not self._polled and at.back is None and at.newest is not None:
                # Nobody saw what the clock did while the program was down.
                begin = min(begin, max(at.newest + 1, at.until - LOOK_BACK_S))
        deep = not 0 <= limit - at.rescanned < section.rescan_interval_s
        if deep:
            begin = min(begin, limit - int(section.rescan_s))
        return Plan(max(begin, since), limit, deep)

    def _correct(self, at: Reached, limit: int, overlap_s: int, since: int) -> None:
        """Corrects how far was read by what the clock did; the overlap covers small steps."""
        if at.until < min(FLOOR, since or FLOOR):  # was written while the clock was wrong
            at.until = limit - LOOK_BACK_S
        if limit + overlap_s >= at.until:
            self._warned = ""
            if at.back is not None:
                at.until = max(min(at.back, at.until), at.until - int(self._section.rescan_s))
                at.back = None
        elif at.newest is not None and at.newest <= limit:
            self._warn("clock was ahead; reading again", read_until=at.until, begin=at.newest)
            at.until, at.back = at.newest + 1, None
        elif at.newest is None:
            at.back = min(at.back or limit, limit) if at.back else limit - LOOK_BACK_S
        else:
            hint = "compare the clock of this machine with the scheduler's"
            self._warn("clock is behind the newest run", now=limit, newest=at.newest, hint=hint)
            at.back = min(at.back or limit, limit)

    def _warn(self, event: str, hint: str | None = None, **instants: int) -> None:
        if self._warned == event:
            return
        self._warned = event
        shown = {
            name: datetime.fromtimestamp(second, UTC).isoformat()
            for name, second in instants.items()
        }
        self._context.log.warning(event, **shown, **({"hint": hint} if hint else {}))

    def _advance(self, at: Reached, window: Window, newest: int | None, plan: Plan) -> None:
        """Notes that a window was read in full."""
        if at.back is None:
            at.until = max(at.until, window.end)
        elif newest is not None and at.newest is None:
            at.until, at.back = window.end, None  # the first run ever shown: ours was ahead
        else:
            at.back = max(at.back, window.end)
        if newest is not None:
            at.newest = newest if at.newest is None else max(at.newest, newest)
        if plan.deep and window.end >= plan.end:
            at.rescanned = plan.end


def _share(at: int, begin: int, end: int) -> float:
    return (at - begin) / (end - begin)


def ceil(instant: float) -> int:
    """The first whole second that is not before an instant."""
    return -int(-instant // 1)


def stopwatch() -> Callable[[], float]:
    """Starts; what it gives says how many seconds ago that was."""
    started = time.monotonic()
    return lambda: time.monotonic() - started
