"""How much is sent at a time, as a table: what happened, what is tried next."""

from collector.auditor.errors import TimedOutError, UnavailableError
from collector.sender.pace import Pace

TIME_OUT = TimedOutError("slow")
CUT = UnavailableError("cut")


def test_time_outs_halve_down_to_one_and_quick_answers_double_up_to_the_limit():
    """1000, 500, … 1; and back."""
    pace = Pace(1000, 10**6, 30)
    tried = []
    while pace.records > 1:
        tried.append(pace.records)
        pace.failed(pace.records, TIME_OUT)
    assert tried == [1000, 500, 250, 125, 62, 31, 15, 7, 3]
    batches = 0
    while pace.records < 1000:
        pace.answered(pace.records, 0.1)
        batches += 1
    assert batches <= 12


def test_an_answer_that_takes_long_leaves_the_size_as_it_is():
    """Twice as much would be too much."""
    pace = Pace(1000, 10**6, 30)
    for _ in range(3):
        pace.failed(pace.records, TIME_OUT)
    for _ in range(20):
        pace.answered(125, 25)
    assert pace.records == 125


def test_one_slow_record_is_found_in_as_many_tries_as_there_are_halves():
    """What was halved for it grows again only when it is passed."""
    pace, queue, failures = Pace(1024, 10**6, 30), list(range(5000)), 0
    while queue[0] != 777:
        batch = queue[: pace.records]
        if 777 in batch:
            pace.failed(len(batch), TIME_OUT)
            failures += 1
        else:
            pace.answered(len(batch), 0.1)
            del queue[: len(batch)]
    assert failures <= 10


def test_a_connection_that_is_cut_once_says_nothing_of_the_batch_and_twice_does():
    """Some proxies cut it when they have waited long enough."""
    pace = Pace(1000, 10**6, 30)
    pace.failed(1000, CUT)
    assert pace.records == 1000
    pace.failed(1000, CUT)
    assert pace.records == 500
    pace.answered(500, 0.1)
    pace.failed(500, CUT)
    assert pace.records == 500


def test_a_single_record_that_failed_gets_more_time_within_bounds():
    """A stop of the daemon waits for it."""
    for timeout_s, longer_s in ((10, 20), (30, 60), (50, 60), (300, 300)):
        pace = Pace(1000, 10**6, timeout_s)
        assert pace.timeout_s(1) == timeout_s
        pace.failed(1, TIME_OUT)
        assert pace.timeout_s(1) == longer_s
        assert pace.timeout_s(2) == timeout_s


def test_a_batch_that_is_too_long_halves_the_bytes_for_good():
    """The limit of a proxy does not go away."""
    pace = Pace(1000, 1_000_000, 30)
    pace.too_large(800_000)
    pace.answered(1000, 0.1)
    assert pace.bytes == 400_000
