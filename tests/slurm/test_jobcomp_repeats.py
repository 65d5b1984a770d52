"""A job that comes again without notice gets an id of its own, whenever and however it is read."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.source import Job
from collector_slurm.jobcomp_checkpoint import Numbers
from collector_slurm.source import SlurmSource
from tests.slurm.log_lines import line
from tests.slurm.standin import quiet, source

NOW = datetime(2026, 1, 20, tzinfo=UTC)
YEAR = datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
FIRST = line(7, "2026-01-01T10:00:00", "2026-01-01T11:00:00")
BETWEEN = line(8, "2026-01-03T10:00:00", "2026-01-03T11:00:00")
SECOND = line(7, "2026-01-09T10:00:00", "2026-01-09T11:00:00", Submit="2026-01-01T11:02:00")
THIRD = line(7, "2026-01-10T10:00:00", "2026-01-10T11:00:00", Submit="2026-01-09T11:02:00")
IDS = ["7", "8", "7-1767952800", "7-1768039200"]
"""26.05 writes these lines for a job that is requeued after its end: `COMPLETED` each time."""


def over(path: Path) -> SlurmSource:
    given = quiet(NOW)
    return source(given, mode="jobcomp", jobcomp_path=path, time_zone="UTC", sacct="false")


def found(log: SlurmSource, checkpoint: Any = None) -> tuple[list[Job], Any]:
    jobs = []
    for batch in log.poll(checkpoint):
        jobs += batch.jobs
        checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint))
    return jobs, checkpoint


def test_the_second_run_has_an_id_of_its_own(tmp_path: Path):
    """In one poll, and in a backfill."""
    (tmp_path / "log").write_text(FIRST + BETWEEN + SECOND + THIRD)
    assert [job.id for job in found(over(tmp_path / "log"))[0]] == IDS
    backfill = over(tmp_path / "log").backfill(*YEAR)
    assert [job.id for batch in backfill for job in batch.jobs] == IDS


def test_the_second_run_is_known_in_a_later_poll(tmp_path: Path):
    """Days later, after a restart, when the first line is in an archive."""
    path = tmp_path / "log"
    path.write_text(FIRST)
    _, checkpoint = found(over(path))
    path.with_name("log.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.write_text(BETWEEN)
    _, checkpoint = found(over(path), checkpoint)
    for text, run in ((SECOND, IDS[2]), (THIRD, IDS[3])):
        with path.open("a") as file:
            file.write(text)
        jobs, checkpoint = found(over(path), checkpoint)
        assert [job.id for job in jobs] == [run]


def test_the_second_run_is_known_after_an_upgrade(tmp_path: Path):
    """A release that kept no numbers has read the first line: the log is searched for them once."""
    path = tmp_path / "log"
    path.write_text(FIRST + BETWEEN)
    _, checkpoint = found(over(path))
    old = {key: checkpoint[key] for key in ("mode", "head", "position", "ended", "firsts")}
    with path.open("a") as file:
        file.write(SECOND)
    assert [job.id for job in found(over(path), old)[0]] == [IDS[2]]


def test_a_log_that_is_read_twice_gives_the_same_ids(tmp_path: Path):
    """Somebody joined the archives: every line is there again, behind another first line."""
    path = tmp_path / "log"
    path.write_text(FIRST + BETWEEN + SECOND)
    _, checkpoint = found(over(path))
    path.with_name("log.0").write_text(BETWEEN.replace("JobId=8", "JobId=6") + path.read_text())
    path.write_text(THIRD)
    jobs, _ = found(over(path), checkpoint)
    assert [job.id for job in jobs] == ["6", *IDS]


def test_a_first_line_that_is_gone_is_told_from_none(tmp_path: Path):
    """Without it nobody knows of another run: the id is taken, and the outbox sees that."""
    path = tmp_path / "log"
    path.write_text(FIRST)
    _, checkpoint = found(over(path))
    path.write_text(SECOND)
    assert [job.id for job in found(over(path), checkpoint)[0]] == ["7"]


def test_the_checkpoint_does_not_grow_with_the_log(tmp_path: Path):
    """Job numbers count up: 3,000 jobs are as many numbers as 3."""
    path = tmp_path / "log"
    text = "".join(
        line(number, "2026-01-01T10:00:00", "2026-01-01T11:00:00") for number in range(1, 3001)
    )
    path.write_text(text)
    _, checkpoint = found(over(path))
    assert checkpoint["numbers"] == [[[1, 3000]]]


@given(st.lists(st.integers(0, 60)))
def test_a_set_of_numbers_is_a_set(numbers: list[int]):
    """Whatever the order in which jobs end."""
    kept, expected = Numbers(), set[int]()
    for number in numbers:
        assert (number in kept) == (number in expected)
        kept.add(number)
        expected.add(number)
    assert {n for first, last in kept.ranges for n in range(first, last + 1)} == expected
    gaps = [
        after[0] - before[1] for before, after in zip(kept.ranges, kept.ranges[1:], strict=False)
    ]
    assert all(gap > 1 for gap in gaps)


def test_the_lowest_numbers_are_forgotten_first():
    """Where thousands of jobs wait between those that end."""
    kept = Numbers()
    for number in range(0, 10_000, 2):
        kept.add(number)
    assert len(kept.ranges) == 2000
    assert 9998 in kept
    assert 0 not in kept


@pytest.mark.parametrize("state", ["PENDING", "COMPLETED"])
def test_the_same_run_written_twice_is_one(state: str, tmp_path: Path):
    """Same start, later end: it is corrected, whatever the log says of it."""
    path = tmp_path / "log"
    again = line(7, "2026-01-01T10:00:00", "2026-01-01T11:05:00", state)
    path.write_text(FIRST)
    _, checkpoint = found(over(path))
    path.write_text(FIRST + again)
    jobs, _ = found(over(path), checkpoint)
    assert [(job.id, job.stop_at) for job in jobs] == [
        ("7", datetime(2026, 1, 1, 11, 5, tzinfo=UTC))
    ]
