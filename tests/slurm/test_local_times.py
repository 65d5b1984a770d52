"""Local times on the two nights of the year, and on all others."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_slurm.local_times import end_of, instants, latest

BERLIN = ZoneInfo("Europe/Berlin")
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)
"""The night when 02:00 to 03:00 in Berlin comes twice: 00:00 to 02:00 UTC."""


def utc(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%H:%M")


@pytest.mark.parametrize(
    ("local", "meant"),
    [
        ("2026-10-25T01:59:59", ["23:59"]),
        ("2026-10-25T02:00:00", ["00:00", "01:00"]),
        ("2026-10-25T02:30:00", ["00:30", "01:30"]),
        ("2026-10-25T03:00:00", ["02:00"]),
        ("2026-03-29T01:59:59", ["00:59"]),
        ("2026-03-29T03:00:00", ["01:00"]),
        ("2026-07-01T12:00:00", ["10:00"]),
    ],
)
def test_a_local_time_means_one_instant_or_two(local: str, meant: list[str]):
    """Two in the repeated hour, one otherwise, with the rules of that day and not today's."""
    assert [utc(instant) for instant in instants(local, BERLIN)] == meant


def test_a_time_that_the_clocks_skipped_is_refused():
    """The log cannot hold it, so time_zone is wrong."""
    with pytest.raises(ValueError, match=r"skipped this time; check time_zone"):
        instants("2026-03-29T02:30:00", BERLIN)


@pytest.mark.parametrize("text", ["unknown", "2026-10-25", "2026-10-25T25:00:00", ""])
def test_what_is_no_time_is_refused(text: str):
    """And so is every other text."""
    with pytest.raises(ValueError, match="expected a time as 2026-10-25T02:30:00"):
        instants(text, BERLIN)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "1970-01-01T00:00:00"])
def test_a_year_without_jobs_is_refused(text: str, zone: str):
    """In any zone, also where it leads out of what a date can hold."""
    for one in (text, "9999-12-31T23:59:59"):
        with pytest.raises(ValueError, match="expected a time in the years"):
            instants(one, ZoneInfo(zone))


@given(st.lists(st.integers(-7200, 18000), min_size=1))
def test_ends_in_the_order_of_the_log_are_told_apart(offsets: list[int]):
    """If something ended in the first of the two hours every hour, no end is an hour off."""
    ends = [
        AUTUMN + timedelta(seconds=one) for one in sorted({*offsets, *range(-7200, 18000, 1800)})
    ]
    after = 0
    for end in ends:
        local = end.astimezone(BERLIN).strftime("%Y-%m-%dT%H:%M:%S")
        after = max(after, end_of(instants(local, BERLIN), after))
        assert after == end.timestamp()


def test_lines_a_little_out_of_order_are_not_an_hour_apart():
    """Runs that end together may stand in any order."""
    first, second = instants("2026-10-25T02:30:00", BERLIN)
    assert end_of([first, second], first + 60) == first
    assert end_of([first, second], first + 600) == second


def test_a_start_is_not_after_its_end():
    """A start in the repeated hour is the later one that is possible."""
    first, second = instants("2026-10-25T02:30:00", BERLIN)
    assert latest([first, second], first + 10) == first
    assert latest([first, second], second + 10) == second
