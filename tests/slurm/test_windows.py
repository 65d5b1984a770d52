"""How much is asked for at once: in windows that touch, and no longer than is bearable."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from collector_slurm.windows import Pace, windows


def pace(length_s: float = 3600) -> Pace:
    return Pace(length_s=length_s, longest_s=21600, shortest_s=60, call_s=30)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.lists(st.floats(0, 1000), min_size=1))
def test_windows_leave_no_second_out_however_long_calls_take(
    begin: int, length: int, calls_s: list[float]
):
    """They touch, begin and end where they should, and keep to the longest one allowed."""
    given = pace()
    took = itertools.cycle(calls_s)
    found = []
    for window in windows(begin, begin + length, given):
        found.append(window)
        given.took(next(took))
        assert 60 <= given.length_s <= 21600
    ends = [begin, *(window.end for window in found)]
    assert [window.begin for window in found] == ends[:-1]
    assert ends[-1] == begin + length
    assert all(0 < window.end - window.begin <= 21600 for window in found)


def test_slow_calls_make_windows_shorter_and_quick_ones_longer():
    """Half as long after a call of more than call_s, half as long again after one of below half."""
    given = pace()
    for seconds, length_s in ((31, 1800), (29, 1800), (1, 2700), (1, 4050), (31, 2025)):
        given.took(seconds)
        assert given.length_s == length_s
