"""Fuzzing of the jobcomp log for seconds; `python -m tests.slurm.fuzz_log 600` for minutes."""

from tests.slurm.fuzz_log import fuzz


def test_no_line_of_the_log_stops_the_others():
    """Whatever is between them, honest lines are read, each as the job that it is."""
    assert fuzz(3) > 1
