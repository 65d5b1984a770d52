"""Reading window by window: nothing is skipped and nothing is asked without end, whatever the clock
does and however long the answers take. This holds for `sacct` and `condor_history` alike.
"""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.source import Batch, Context
from collector.source.command import TimedOutError
from collector.source.testing import context
from collector.source.windows import (
    LOOK_BACK_S,
    Pace,
    Part,
    Reached,
    Window,
    WindowReader,
    WindowSection,
)

HOUR, DAY = 3600, 86400
NOW = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())


class Scheduler:
    """What has ended when, asked by a collector whose clock can be wrong, and that can restart."""

    def __init__(self, **keys: Any) -> None:
        self.ended: list[int] = []
        self.real, self.wrong_by = NOW, 0
        self.got: set[int] = set()
        self.asked: list[Window] = []
        self.slow = 0.0
        """Seconds that an answer takes for each hour of its window."""
        self.checkpoint: bytes | None = None
        self.section = WindowSection(
            name="x", plugin="x", record_prefix="x", pause_s=0, **{"settle_s": 0, **keys}
        )
        self.restart()

    def restart(self) -> None:
        given: Context = context("x")
        given.now = lambda: datetime.fromtimestamp(self.real + self.wrong_by, UTC)
        self.reader = WindowReader(self.section, given)

    def read(self, window: Window) -> Iterator[Part]:
        self.asked.append(window)
        took_s = self.slow * (window.end - window.begin) / HOUR
        if took_s > self.section.timeout_s:
            raise TimedOutError("took too long")
        shown = [end for end in self.ended if window.begin <= end < window.end]
        yield Part(Batch())
        self.got.update(shown)
        yield Part(Batch(), last=True, newest=max(shown, default=None), took_s=took_s)

    def poll(self) -> int:
        """Polls once; returns how many windows were asked for."""
        before, is_new = len(self.asked), self.checkpoint is None
        at = (
            Reached(**dict(zip(("until", "rescanned"), self.reader.start(), strict=True)))
            if self.checkpoint is None
            else msgspec.json.decode(self.checkpoint, type=Reached)
        )
        for _ in self.reader.poll(at, self.read, is_new=is_new):
            self.checkpoint = msgspec.json.encode(at)
        return len(self.asked) - before

    def missed(self) -> list[int]:
        """What has ended a while ago and was never shown, in hours after the beginning."""
        due = {end for end in self.ended if end < self.real}
        return sorted((end - NOW) // HOUR for end in due - self.got)


def hours(scheduler: Scheduler, count: int, *, runs: bool = True) -> int:
    """Lets hours pass, with a run and a poll in each; returns how many windows were asked for."""
    asked = 0
    for _ in range(count):
        if runs:
            scheduler.ended.append(scheduler.real + HOUR // 2)
        scheduler.real += HOUR
        asked += scheduler.poll()
    return asked


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, HOUR, -HOUR, 3 * DAY, -3 * DAY, 40 * DAY, -9000 * DAY]),
            st.integers(1, 30),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_clock_makes_a_run_be_skipped_or_windows_be_asked_without_end(
    faults: list[tuple[int, int, bool]],
    restarts: bool,
):
    """Ahead for days, behind for days, in the year 2002, with restarts: each time that the clock is
    right again, all is read by the next re-scan, with a few hundred windows.
    """
    scheduler = Scheduler()
    scheduler.poll()
    hours(scheduler, 3)
    for wrong_by, count, runs in faults:
        scheduler.wrong_by = wrong_by
        assert hours(scheduler, count, runs=runs) < 400
        if restarts:
            scheduler.restart()
        scheduler.wrong_by = 0
        assert hours(scheduler, 2) < 400
        assert scheduler.missed() == []


def test_a_clock_that_was_ahead_for_days_is_noticed_after_a_stop_too():
    """The collector stops while its clock is ahead, and starts when the time has caught up."""
    scheduler = Scheduler()
    scheduler.poll()
    hours(scheduler, 5)
    scheduler.wrong_by = 3 * DAY
    hours(scheduler, 24)
    scheduler.wrong_by = 0
    scheduler.real += 4 * DAY
    scheduler.restart()
    scheduler.poll()
    assert scheduler.missed() == []


def test_clocks_that_were_both_set_back_make_no_run_wait():
    """The scheduler's clock too: what ends from now on is read now, not when the old time comes."""
    scheduler = Scheduler()
    scheduler.poll()
    hours(scheduler, 5)
    scheduler.real -= 4 * HOUR
    for _ in range(6):
        hours(scheduler, 1)
        assert scheduler.missed() == []


def test_a_first_start_with_a_clock_in_the_year_2000_reads_nothing_and_begins_when_it_is_right():
    """A node without a battery boots before NTP has the time."""
    scheduler = Scheduler()
    scheduler.wrong_by = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) - NOW
    assert scheduler.poll() == 0
    scheduler.wrong_by = 0
    assert 0 < scheduler.poll() <= 24


def test_a_checkpoint_that_an_older_release_put_back_to_2000_is_not_read_on_from_there():
    """It would be 39,000 windows; the last 30 days are asked for."""
    scheduler = Scheduler()
    scheduler.checkpoint = b'{"until":946684800,"rescanned":946684800}'
    scheduler.ended.append(NOW - LOOK_BACK_S + HOUR)
    assert scheduler.poll() < 150
    assert scheduler.missed() == []


def test_a_first_poll_may_begin_long_ago_on_purpose():
    """`since` in 2015 is not a wrong clock."""
    since = datetime(2015, 1, 1, tzinfo=UTC)
    scheduler = Scheduler(since=since, window_s=400 * DAY)
    scheduler.ended.append(int(since.timestamp()) + DAY)
    scheduler.poll()
    assert scheduler.missed() == []


def test_a_quiet_cluster_costs_one_window_a_poll():
    """Nothing is asked for again but the overlap, and the re-scan when it is due."""
    scheduler = Scheduler(rescan_interval_s=100 * DAY)
    scheduler.poll()
    hours(scheduler, 1)
    assert hours(scheduler, 20, runs=False) == 20


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.lists(st.floats(0, 1000), min_size=1))
def test_windows_leave_no_second_out_however_long_answers_take(
    begin: int, length: int, calls_s: list[float]
):
    """They touch, begin and end where they should, and keep to the longest one allowed."""
    scheduler, took = Scheduler(window_s=21600), itertools.cycle(calls_s)

    def read(window: Window) -> Iterator[Part]:
        yield Part(Batch(), last=True, took_s=next(took))

    found = [window for window, _ in scheduler.reader.stretch(begin, begin + length, read)]
    ends = [begin, *(window.end for window in found)]
    assert [window.begin for window in found] == ends[:-1]
    assert ends[-1] == begin + length
    assert all(0 < window.end - window.begin <= 21600 for window in found)


@pytest.mark.parametrize("slow", [150.0, 3000.0])
def test_a_poll_that_times_out_asks_for_less_next_time(slow: float):
    """Until an answer comes in time; then the windows grow again."""
    scheduler = Scheduler(timeout_s=100, rescan_s=HOUR)
    scheduler.ended, scheduler.slow = [NOW - 60], slow
    for _ in range(4):
        try:
            scheduler.poll()
            break
        except TimedOutError:
            continue
    assert scheduler.missed() == []
    scheduler.slow = 0
    scheduler.real += 2 * DAY
    scheduler.poll()
    last = scheduler.asked[-2]
    assert last.end - last.begin > 2 * HOUR


def test_a_backfill_asks_for_less_at_once_when_a_window_times_out():
    """No poll comes after it: it goes on by itself, and fails only where shorter does not help."""
    scheduler = Scheduler(timeout_s=100)
    scheduler.ended, scheduler.slow = list(range(NOW - DAY, NOW, HOUR)), 400
    list(scheduler.reader.stretch(NOW - DAY, NOW, scheduler.read))
    assert scheduler.missed() == []
    scheduler.slow = 10**6
    with pytest.raises(TimedOutError):
        list(scheduler.reader.stretch(NOW - DAY, NOW, scheduler.read))


def pace() -> Pace:
    return Pace(length_s=3600, longest_s=21600, shortest_s=60, call_s=30)


def test_slow_answers_make_windows_shorter_and_quick_ones_longer():
    """Half as long after more than call_s, half as long again after less than half of it."""
    given = pace()
    for seconds, length_s in ((31, 1800), (29, 1800), (1, 2700), (1, 4050), (31, 2025)):
        given.took(seconds, round(given.length_s))
        assert given.length_s == length_s


def test_windows_that_cost_the_same_at_any_length_are_not_made_ever_shorter():
    """A schedd looks through its whole history, whatever part of it is asked for."""
    given, lengths = pace(), set()
    for _ in range(50):
        given.took(60, round(given.length_s))
        lengths.add(given.length_s)
    assert min(lengths) >= 1800


def test_a_short_window_that_is_quick_says_nothing_of_long_ones():
    """The last minutes are quick to read; that is no reason to ask for six hours at once."""
    given = pace()
    given.took(0.1, 660)
    assert given.length_s == 3600
