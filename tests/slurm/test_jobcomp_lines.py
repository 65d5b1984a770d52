"""One line of the log is one entry: older forms are read, poison stops nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.source import Batch, Filtered, Job, Lag, Unreadable
from collector_slurm.source import SlurmSource
from tests.slurm.log_lines import line
from tests.slurm.standin import jobs, quiet, source

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEN, ELEVEN = "2026-01-01T10:00:00", "2026-01-01T11:00:00"
YEAR = datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


def over(path: Path, **keys: Any) -> SlurmSource:
    given = {"mode": "jobcomp", "jobcomp_path": path, "time_zone": "UTC", "sacct": "false"}
    return source(quiet(NOW), **given | keys)


@pytest.mark.parametrize(
    ("values", "run", "gres", "tres"),
    [
        ({"Tres": "Gres="}, "1", None, None),
        ({"Tres": "Gres=gpu:2"}, "1", "gpu:2", None),
        ({"Tres": "Gres=(null)"}, "1", None, None),
        ({"Tres": "Gres=gpu:v100:2,craynetwork:1"}, "1", "gpu:v100:2,craynetwork:1", None),
        ({"Tres": "Gres=", "Ids": " ArrayJobId=3 ArrayTaskId=4"}, "3_4", None, None),
        ({"Tres": "Gres=", "Ids": " PackJobId=4 PackJobOffset=1"}, "4+1", None, None),
        ({"Tres": "Tres=cpu=4", "Ids": " HetJobId=4 HetJobOffset=0"}, "4+0", None, "cpu=4"),
    ],
)
def test_lines_of_17_11_and_later_are_read(
    values: dict[str, str], run: str, gres: str | None, tres: str | None, tmp_path: Path
):
    """Up to 20.02 `Gres=` is in the place of `Tres=`; up to 19.05 het jobs were packs."""
    (tmp_path / "log").write_text(line(1, TEN, ELEVEN, **values))
    (job,) = jobs(over(tmp_path / "log").poll(None)).values()
    assert job.id == run
    assert (job.fields.get("ReqGRES"), job.fields.get("ReqTRES")) == (gres, tres)


POISON = [
    ("0001-01-01T00:00:00", "0001-01-01T00:00:00", "COMPLETED", "StartTime=0001", "years"),
    (TEN, "9999-12-31T23:59:59", "COMPLETED", "EndTime=9999", "years"),
    (TEN, "2199-12-31T23:59:59", "COMPLETED", "EndTime=2199", "future"),
    (TEN, "Unknown", "COMPLETED", "EndTime=Unknown", "sacct -j 9"),
    ("Unknown", ELEVEN, "COMPLETED", "StartTime=Unknown", "sacct -j 9"),
    ("None", ELEVEN, "COMPLETED", "StartTime=None", "sacct -j 9"),
    (ELEVEN, TEN, "COMPLETED", f"EndTime={TEN}", f"StartTime={ELEVEN}"),
    (TEN, ELEVEN, "None", "JobState=None", "sacct -j 9"),
    (TEN, ELEVEN, "unknown", "JobState=unknown", "sacct -j 9"),
]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize(("start", "end", "state", "said", "advice"), POISON)
def test_a_poison_line_is_one_entry(
    start: str, end: str, state: str, said: str, advice: str, zone: str, tmp_path: Path
):
    """It is rejected with its key, its value and what to do; the lines after it are read."""
    path = tmp_path / "log"
    bad = line(9, start, end, state)
    path.write_text(line(1, TEN, ELEVEN) + bad + line(2, TEN, ELEVEN))
    log = over(path, time_zone=zone)
    batches = list(log.poll(None))
    assert list(jobs(batches)) == ["1", "2"]
    (entry,) = [one for batch in batches for one in batch.unreadable]
    assert said in entry.reason
    assert advice in entry.reason
    assert entry.raw.decode() == bad
    assert isinstance(log.parse(entry.raw, entry.where), Unreadable)
    assert list(log.poll(batches[-1].checkpoint)) == []
    assert list(jobs(log.backfill(*YEAR))) == ["1", "2"]
    assert all(finding.ok for finding in log.check())


@pytest.mark.parametrize(("start", "end", "state"), [one[:3] for one in POISON])
def test_a_poison_line_is_no_end_of_the_lag(start: str, end: str, state: str, tmp_path: Path):
    """Where the next entry is one, the time of writing is the best that is known."""
    (tmp_path / "log").write_text(line(9, start, end, state))
    lag = over(tmp_path / "log").lag(None)
    assert isinstance(lag, Lag)


def test_a_forged_end_does_not_change_what_comes_after(tmp_path: Path):
    """One line with an end in the future made all first runs forgotten, and the clock run ahead."""
    path = tmp_path / "log"
    tomorrow = f"{NOW + timedelta(hours=20):%Y-%m-%dT%H:%M:%S}"
    path.write_text(
        line(7, TEN, ELEVEN, "PENDING")
        + line(8, TEN, "2100-01-01T00:00:00")
        + line(9, TEN, tomorrow)
        + line(7, "2026-01-01T11:30:00", "2026-01-01T12:00:00")
    )
    batches: list[Batch] = list(over(path).poll(None))
    assert list(jobs(batches)) == ["7", "9", "7-1767267000"]
    assert batches[-1].checkpoint["ended"] <= path.stat().st_mtime + 1


def test_a_line_that_an_older_release_rejected_comes_home_by_a_retry(tmp_path: Path):
    """All lines of a site with an Active Directory were: they are kept as they are in the log."""
    text = line(1, TEN, ELEVEN, GroupId="domain users(60513)")
    job = over(tmp_path / "log").parse(text.encode(), "/var/log/jobcomp.log:0")
    assert isinstance(job, Job)
    assert (job.id, job.fields["Group"]) == ("1", "domain users")
    assert job.stop_at == datetime(2026, 1, 1, 11, tzinfo=UTC)
    again = over(tmp_path / "log").parse(bytes(job.raw), job.where)
    assert again == job
    left_out = over(tmp_path / "log", groups=["staff"]).parse(text.encode(), "")
    assert left_out == Filtered("not in groups")
