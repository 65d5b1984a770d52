"""How far a source is behind, and how far its log reaches, is told for both modes."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from collector.source import Lag, SourceError
from collector_slurm.source import SlurmSource
from tests.slurm.log_lines import line
from tests.slurm.standin import program, quiet, row, source, standin, written

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def minutes_ago(minutes: int) -> str:
    return f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}"


class Log:
    """A jobcomp log, its reader, and the time on the clocks of both."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobcomp.log"
        self.checkpoint: Any = None

    def job(self, number: int, ended_minutes_ago: int, **values: str) -> None:
        times = minutes_ago(ended_minutes_ago + 5), minutes_ago(ended_minutes_ago)
        with self.path.open("a") as file:
            file.write(line(number, *times, **values))

    def rotate(self, number: int) -> None:
        rotated = self.path.with_name(f"jobcomp.log.{number}")
        self.path.rename(rotated)
        os.utime(rotated, (NOW.timestamp() - 9 + number, NOW.timestamp() - 9 + number))

    def poll(self) -> None:
        for batch in self._source().poll(self.checkpoint):
            self.checkpoint = batch.checkpoint

    def lag(self) -> Lag | None:
        return self._source().lag(self.checkpoint)

    def _source(self) -> SlurmSource:
        return source(quiet(NOW), mode="jobcomp", jobcomp_path=self.path, time_zone="UTC")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_behind_is_the_age_of_the_oldest_line_that_is_not_read(log: Log):
    """By the end of its run; nothing when all is read."""
    log.job(1, 60)
    log.job(2, 40)
    assert log.lag() == Lag(3600)
    log.poll()
    assert log.lag() == Lag(0)
    log.job(3, 20)
    log.job(4, 10)
    assert log.lag() == Lag(1200)


def test_a_line_whose_end_is_forged_counts_by_the_time_of_writing(log: Log):
    """A user's job name cannot make the source look years behind."""
    log.job(1, 60)
    log.poll()
    with log.path.open("a") as file:
        forged = line(2, minutes_ago(6), minutes_ago(5))
        once_more = f" JobState=FAILED{forged.partition('JobState=COMPLETED')[2]}"
        file.write(forged.replace("Name=wrap", f"Name=wrap{once_more.rstrip()}"))
    os.utime(log.path, (NOW.timestamp() - 30, NOW.timestamp() - 30))
    assert log.lag() == Lag(30)


def test_a_line_without_its_end_is_no_lag(log: Log):
    """It cannot be read before slurmctld has gone on; an idle cluster is not behind."""
    log.job(1, 60)
    log.poll()
    with log.path.open("a") as file:
        file.write(line(2, minutes_ago(40), minutes_ago(30))[:-20])
    assert log.lag() == Lag(0)


def test_kept_is_how_far_back_the_rotated_files_reach(log: Log):
    """None while there is one file: nothing was removed yet."""
    log.job(1, 600)
    log.rotate(1)
    log.job(2, 300)
    log.poll()
    assert log.lag() == Lag(0, 36_000)
    log.rotate(2)
    log.path.with_name("jobcomp.log.1").unlink()
    assert log.lag() == Lag(0)
    log.job(3, 20)
    assert log.lag() == Lag(1200, 18_000)


def test_what_is_removed_next_and_not_read_is_all_that_is_kept(log: Log):
    """Also when it was compressed meanwhile."""
    log.job(1, 600)
    log.poll()
    log.job(2, 300)
    log.path.with_name("jobcomp.log.1.gz").write_bytes(gzip.compress(log.path.read_bytes()))
    log.path.unlink()
    log.job(3, 20)
    assert log.lag() == Lag(18_000, 18_000)


def test_a_log_that_cannot_be_read_has_no_lag_to_tell(log: Log):
    """It is an error, as it is for the poll."""
    with pytest.raises(SourceError, match="JobCompLoc"):
        log.lag()


def test_an_end_in_the_log_is_a_local_time(tmp_path: Path):
    """By the clock of slurmctld."""
    path = tmp_path / "jobcomp.log"
    end = NOW.astimezone(ZoneInfo("Europe/Berlin")) - timedelta(minutes=10)
    path.write_text(line(1, f"{end:%Y-%m-%dT%H:%M:%S}", f"{end:%Y-%m-%dT%H:%M:%S}"))
    berlin = source(quiet(NOW), mode="jobcomp", jobcomp_path=path, time_zone="Europe/Berlin")
    assert berlin.lag(None) == Lag(600)


def test_sacct_is_not_behind_between_two_polls_but_when_they_fail(tmp_path: Path):
    """By the end of the last window; without a call of sacct."""
    keys: dict[str, Any] = {"settle_s": 5, "interval_s": 60, "rescan_s": 3600}
    asked = source(quiet(NOW), sacct=standin(tmp_path, written(tmp_path, [row("1")])), **keys)
    *_, batch = asked.poll(None)
    broken = program(tmp_path, "exit 1")
    for later_s, behind_s in ((0, 0), (60, 0), (75, 15), (7200, 7140)):
        later = source(quiet(NOW + timedelta(seconds=later_s)), sacct=broken, **keys)
        assert later.lag(batch.checkpoint) == Lag(behind_s)


def test_sacct_is_behind_by_all_that_the_first_poll_is_to_ask_for(tmp_path: Path):
    """From `since`, or as far back as a re-scan."""
    keys: dict[str, Any] = {"settle_s": 5, "interval_s": 60, "rescan_s": 3600, "sacct": "false"}
    assert source(quiet(NOW), **keys).lag(None) == Lag(3600 - 65)
    since = NOW - timedelta(seconds=500)
    assert source(quiet(NOW), **keys, since=since).lag(None) == Lag(500 - 65)


def test_the_modes_take_over_each_others_checkpoints(log: Log, tmp_path: Path):
    """As polls do: sacct goes on at the last end in the log, the log from its beginning."""
    log.job(1, 60)
    log.poll()
    other = source(quiet(NOW), sacct="false", settle_s=5, interval_s=60)
    assert other.lag(log.checkpoint) == Lag(3600 - 65)
    log.checkpoint = {"mode": "sacct", "until": 1, "rescanned": 1}
    assert log.lag() == Lag(3600)
