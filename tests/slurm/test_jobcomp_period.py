"""A backfill from the log counts what belongs to its period, also what is filtered or bad."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collector.source import Batch
from tests.slurm.log_lines import line
from tests.slurm.standin import filtered, jobs, quiet, source

NOW = datetime(2026, 1, 20, tzinfo=UTC)


def day(number: int, job: int, **values: str) -> str:
    """A job of an hour on a day of January 2026."""
    return line(job, f"2026-01-{number:02}T10:00:00", f"2026-01-{number:02}T11:00:00", **values)


def backfill(text: str, folder: Path, first: str, last: str, **keys: Any) -> list[Batch]:
    (folder / "log").write_text(text)
    log = source(
        quiet(NOW),
        mode="jobcomp",
        jobcomp_path=folder / "log",
        time_zone="UTC",
        sacct="false",
        **keys,
    )
    since, until = (datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (first, last))
    return list(log.backfill(since, until))


def bad(batches: list[Batch]) -> int:
    return sum(len(batch.unreadable) for batch in batches)


def test_what_is_filtered_is_counted_in_its_period(tmp_path: Path):
    """By the end of its run, as the others are."""
    text = day(1, 1) + day(2, 2, UserId="eve(7)") + day(3, 3) + day(4, 4, NodeList="(null)")
    assert filtered(backfill(text, tmp_path, "2026-01-02", "2026-01-03", users=["bob"])) == {
        "not in users": 1
    }
    batches = backfill(text, tmp_path, "2026-01-01", "2026-01-09", users=["bob"])
    assert filtered(batches) == {"not in users": 1, "never started": 1}
    assert list(jobs(batches)) == ["1", "3"]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-01-05", "2026-01-08", 1),
        ("2026-01-04", "2026-01-06", 1),
        ("2026-01-06", "2026-01-09", 1),
        ("2026-01-01", "2026-01-03", 0),
        ("2026-01-09", "2026-01-12", 0),
        ("2031-01-01", "2031-02-01", 0),
        ("2020-01-01", "2020-02-01", 0),
    ],
)
@pytest.mark.parametrize(
    "entry",
    [
        "garbage\n",
        day(6, 66).replace("ProcCnt=4", "ProcCnt=four"),
        day(6, 66).replace("EndTime=2026-01-06T11:00:00", "EndTime=Unknown"),
        day(6, 66, WorkDir="/ EndTime=2031-01-09T11:00:00 Cluster=x").replace("NodeCnt=1", "N=1"),
    ],
)
def test_a_bad_line_belongs_to_the_period_of_its_neighbours(
    entry: str, first: str, last: str, expected: int, tmp_path: Path
):
    """Whatever end it names: the log is in the order of ends. Outside, it fails no backfill."""
    text = day(4, 1) + entry + day(8, 2)
    assert bad(backfill(text, tmp_path, first, last)) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2031-01-01", "2031-02-01", 0),
        ("2026-01-12", "2026-01-13", 0),
        ("2026-01-10", "2026-01-11", 1),
        ("2026-01-01", "2026-01-03", 0),
    ],
)
def test_a_bad_line_at_the_end_of_the_log_has_ended_by_now(
    first: str, last: str, expected: int, tmp_path: Path
):
    """And not after the end that it names, if it names one."""
    entry = day(10, 66).replace("ProcCnt=4", "ProcCnt=four")
    assert bad(backfill(day(4, 1) + entry, tmp_path, first, last)) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [("2020-01-01", "2020-02-01", 0), ("2026-01-02", "2026-01-03", 1)],
)
def test_a_bad_line_at_the_beginning_of_the_log_has_not_ended_before_it_says(
    first: str, last: str, expected: int, tmp_path: Path
):
    """As far as it says when."""
    entry = day(2, 66).replace("ProcCnt=4", "ProcCnt=four")
    assert bad(backfill(entry + day(4, 1), tmp_path, first, last)) == expected
