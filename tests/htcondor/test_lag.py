"""How far a source is behind, and how far its log reaches, is told for every mode."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from collector.source import Lag, SourceError
from collector_htcondor.source import HTCondorSource
from tests.htcondor.per_job_files import write
from tests.htcondor.polls import poll
from tests.htcondor.schedd import START, Schedd, ad
from tests.htcondor.standin import NOW_S, Pool


class Watched:
    """A schedd whose history is polled by a collector, and the time on both their clocks."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.schedd = Schedd(folder)
        self.pool = Pool(folder)
        self.source: HTCondorSource = self.pool.source(
            mode="history", history=self.schedd.history, **keys
        )
        self.checkpoint: Any = None

    def job(self, cluster: int, left: int) -> None:
        self.schedd.append(ad(cluster, EnteredCurrentStatus=left))

    def poll(self) -> None:
        for batch in self.source.poll(self.checkpoint):
            self.checkpoint = batch.checkpoint

    def lag(self, now_s: int) -> Lag:
        self.pool.now_s = now_s
        found = self.source.lag(self.checkpoint)
        assert found is not None
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


T = START + 1000


def test_behind_is_the_age_of_the_oldest_ad_that_is_not_read(watched: Watched):
    """By the time at which its job left the queue; nothing when all is read."""
    for cluster in range(5):
        watched.job(cluster, T + 10 * cluster)
    assert watched.lag(T + 100) == Lag(100)
    watched.poll()
    assert watched.lag(T + 100) == Lag(0)
    watched.job(7, T + 200)
    watched.job(8, T + 230)
    assert watched.lag(T + 260) == Lag(60)
    watched.poll()
    assert watched.lag(T + 9999) == Lag(0)


def test_only_the_next_ad_is_read(watched: Watched, monkeypatch: pytest.MonkeyPatch):
    """However much there is to read: what follows the next ad may be anything."""
    watched.job(1, T)
    watched.poll()
    watched.job(2, T + 10)
    with watched.schedd.history.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(size + 10**11)  # a hole: reading it all would take minutes
    assert watched.lag(T + 50) == Lag(40)


def test_rotation_changes_nothing_of_what_is_unread(watched: Watched):
    """The oldest unread ad is found in whatever file it stands by then."""
    watched.schedd.rotations = 9
    watched.job(1, T)
    watched.poll()
    watched.job(2, T + 10)
    watched.schedd.rotate()
    watched.job(3, T + 300)
    watched.schedd.rotate()
    watched.job(4, T + 600)
    assert watched.lag(T + 700).behind_s == 690
    watched.poll()
    assert watched.lag(T + 700).behind_s == 0


def test_a_log_that_never_rotated_has_lost_nothing_and_keeps_all(watched: Watched):
    """With one file there is nothing that the next rotation would remove."""
    watched.job(1, T)
    watched.job(2, T + 500)
    assert watched.lag(T + 1000).kept_s is None
    watched.poll()
    assert watched.lag(T + 1000).kept_s is None


def test_kept_is_how_far_back_the_oldest_file_reaches(watched: Watched):
    """By its first ad; it follows when the schedd removes that file."""
    for number in range(5):
        watched.job(number, T + 100 * number)
        watched.schedd.rotate()
    watched.job(9, T + 1000)
    watched.poll()
    assert len(list(watched.schedd.history.parent.glob("history.2*"))) == 2
    assert watched.lag(T + 1000) == Lag(0, 700)


def test_what_the_next_rotation_removes_unread_is_told_whatever_its_age(watched: Watched):
    """A burst fills files within minutes, behind days of quiet: the age alone would hide it."""
    watched.job(1, T)
    watched.schedd.rotate()
    watched.job(2, T + 1000)
    watched.poll()
    watched.job(3, T + 500_000)
    watched.schedd.rotate()
    watched.job(4, T + 500_100)
    assert watched.lag(T + 500_200) == Lag(200, 500_200)
    watched.schedd.rotate()  # removes the file of job 1: the one of job 3 is the oldest
    watched.job(5, T + 500_200)
    assert watched.lag(T + 500_300) == Lag(300, 300)


def test_an_ad_that_is_being_written_is_no_lag_until_it_is_old(watched: Watched):
    """A schedd that was killed meanwhile, and is not started again, shows after a minute."""
    watched.job(1, T)
    watched.poll()
    watched.schedd.append(ad(2), torn_at=100)
    os.utime(watched.schedd.history, (T + 50, T + 50))
    assert watched.lag(T + 60) == Lag(0)
    assert watched.lag(T + 150) == Lag(100)


def test_a_history_that_cannot_be_read_has_no_lag_to_tell(watched: Watched):
    """It is an error, as it is for the poll."""
    (watched.schedd.history).mkdir()
    with pytest.raises(SourceError, match="cannot be read"):
        watched.lag(T)


def test_epochs_have_a_lag_too(tmp_path: Path):
    """By the time on the banner, which every kind of epoch ad has."""
    path = tmp_path / "epoch_history"
    banner = b'*** %s ClusterId=1 ProcId=0 RunInstanceId=0 Owner="bob" CurrentTime=%d\n'
    path.write_bytes(banner.join([b"A = 1\n", b"A = 1\n", b""]) % (b"SPAWN", T, b"EPOCH", T + 60))
    pool = Pool(tmp_path)
    pool.now_s = T + 100
    assert pool.source(mode="epochs", epoch_history=path).lag(None) == Lag(100)


def test_per_job_is_behind_by_its_oldest_unread_file(tmp_path: Path):
    """By the time of writing; nothing of it is removed by HTCondor, so all is kept."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    pool = Pool(tmp_path)
    pool.now_s = T + 1000
    for remove in (False, True):
        source = pool.source(mode="per_job", per_job_history=folder, remove=remove)
        write(folder, 1, T)
        write(folder, 2, T + 100)
        assert source.lag(None) == Lag(1000)
        [batch] = source.poll(None)
        assert source.lag(batch.checkpoint) == Lag(0)
        write(folder, 3, T + 900)
        assert source.lag(batch.checkpoint) == Lag(100)
        (folder / "history.3.0").unlink()


class TestCondorHistory:
    """`mode: condor_history` is as far behind as the schedd that is furthest behind."""

    keys: ClassVar[dict[str, Any]] = {
        "schedd_names": ["ap1", "ap2"],
        "settle_s": 5,
        "interval_s": 60,
    }

    def test_it_is_nothing_between_two_polls(self, tmp_path: Path):
        """What the next poll is to ask for is not late."""
        pool = Pool(tmp_path)
        for name in ("ap1", "ap2"):
            pool.schedd(name).append(ad(1))
        source = pool.source(**self.keys)
        *_, batch = source.poll(None)
        for later_s, behind_s in ((0, 0), (60, 0), (75, 15), (3600, 3540)):
            pool.now_s = NOW_S + later_s
            assert source.lag(batch.checkpoint) == Lag(behind_s)

    def test_one_schedd_that_does_not_answer_counts(self, tmp_path: Path):
        """The others do not hide it."""
        pool = Pool(tmp_path)
        for name in ("ap1", "ap2"):
            pool.schedd(name).append(ad(1))
        source = pool.source(**self.keys)
        *_, batch = source.poll(None)
        pool.set("ap2", mood="unreachable")
        pool.now_s += 3600
        _, checkpoint, error = poll(source, batch.checkpoint)
        assert "Unable to locate remote schedd" in error
        assert source.lag(checkpoint) == Lag(3540)

    def test_what_was_never_asked_is_behind_by_all_that_is_to_be_asked(self, tmp_path: Path):
        """From `since`, or as far back as the first poll asks."""
        pool = Pool(tmp_path)
        assert pool.source(**self.keys, rescan_s=7200).lag(None) == Lag(7200 - 65)
        since = datetime.fromtimestamp(NOW_S - 1000, UTC)
        assert pool.source(**self.keys, since=since).lag(None) == Lag(1000 - 65)


def test_tracking_running_jobs_changes_no_lag(watched: Watched):
    """The checkpoint holds the place within."""
    watched.job(1, T)
    watched.poll()
    watched.job(2, T + 10)
    assert watched.source.lag({"place": watched.checkpoint, "running": {}}) == watched.lag(NOW_S)
