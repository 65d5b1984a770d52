"""When to try again."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sender.backoff import Backoff

BACKOFF = Backoff(first_s=1, cap_s=300)


@pytest.mark.parametrize(
    ("failures", "longest_s"), [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10_000, 300)]
)
def test_the_longest_wait_doubles_up_to_the_cap(failures: int, longest_s: float):
    """1, 2, 4, … seconds, and never more than the cap, however many failures."""
    assert BACKOFF.wait_s(failures, lambda: 1.0) == longest_s


def test_the_jitter_is_full():
    """Any wait between none and the longest is as likely."""
    for number in (0.0, 0.25, 0.5):
        assert BACKOFF.wait_s(3, functools.partial(float, number)) == 4 * number


def test_the_server_has_the_last_word():
    """Nobody comes back before what Retry-After says, up to a day, whatever the cap is."""
    assert BACKOFF.wait_s(1, lambda: 0.0, retry_after_s=1200) == 1200
    assert BACKOFF.wait_s(9, lambda: 0.5, retry_after_s=0) == 0
    assert BACKOFF.wait_s(1, lambda: 0.5, retry_after_s=1e9) == 86_400


@pytest.mark.parametrize(("asked_s", "longest_s"), [(20, 40), (3600, 3900)])
def test_clients_told_to_come_back_at_one_instant_do_not(asked_s: float, longest_s: float):
    """They are spread over as long again as was asked for, at most over the cap."""
    assert BACKOFF.wait_s(1, lambda: 1.0, retry_after_s=asked_s) == longest_s
    assert BACKOFF.wait_s(1, lambda: 0.5, retry_after_s=asked_s) == (asked_s + longest_s) / 2


@given(
    st.integers(1, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(-1e12, 1e12),
)
def test_a_wait_is_always_a_sane_number(failures: int, at: float, retry_after_s: float | None):
    """Never negative, never longer than a day."""
    assert 0 <= BACKOFF.wait_s(failures, lambda: at, retry_after_s) <= 86_400
