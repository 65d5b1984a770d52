"""Fuzzing of the jobcomp log: for seconds each time, for minutes with `make nightly`."""

import time

import pytest

from tests.slurm.fuzz_log import fuzz


def test_no_line_of_the_log_stops_the_others():
    """Whatever is between them, honest lines are read, each as the job that it is."""
    assert fuzz(3) > 1


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_no_line_of_the_log_stops_the_others_for_ten_minutes():
    """With other lines each night; the message names the seed of a round that failed."""
    assert fuzz(600, seed=int(time.time()) * 1000) > 1
