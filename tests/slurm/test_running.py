"""`track_running`: a run is told when it begins, and its stop time follows, whatever happens."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import LogCapture

from collector.source import Job, SourceError
from collector_slurm import source as plugin
from tests.slurm.standin import LOG, program, quiet, row, source, standin, written

START = 1795478100


class Cluster:
    """A cluster whose rows a test changes between two polls of a daemon."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder = folder
        self.keys = {"track_running": True, "rescan_s": 3600, "overlap_s": 60, **keys}
        self.checkpoint: Any = None
        self.logs = LogCapture()

    def told(self) -> list[str]:
        """What was written to the log."""
        return [entry["event"] for entry in self.logs.entries]

    def poll(self, second: int, *rows: dict[str, str]) -> list[Job]:
        """What a new process reads at START + second, from the checkpoint of the last poll."""
        now = datetime.fromtimestamp(START + second, UTC)
        rows = (*rows, row("1", DBIndex="1", NodeList="None assigned"))
        sacct = standin(self.folder, written(self.folder, rows))
        given = quiet(now)
        given.log = structlog.wrap_logger(
            structlog.PrintLogger(),
            processors=[self.logs],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        found = []
        for batch in source(given, sacct=sacct, **self.keys).poll(self.checkpoint):
            self.checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint))
            found += batch.jobs
        return found


def running(job_id: str = "7", db_index: str = "7", **columns: str) -> dict[str, str]:
    return row(job_id, DBIndex=db_index, State="RUNNING", End="Unknown", **columns)


def ended(second: int, job_id: str = "7", db_index: str = "7", **columns: str) -> dict[str, str]:
    return row(job_id, DBIndex=db_index, End=str(START + second), **columns)


def ids(found: list[Job]) -> list[tuple[str, int | None]]:
    """Each job's id, and when it stopped in seconds after START."""
    return [
        (job.id, int(job.stop_at.timestamp()) - START if job.stop_at else None) for job in found
    ]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_run_is_told_when_it_begins_and_when_it_ends(cluster: Cluster):
    """Once each, under the same id, also when the daemon was restarted in between."""
    assert ids(cluster.poll(10, running())) == [("7", None)]
    assert ids(cluster.poll(20, running())) == []
    assert ("7", 25) in ids(cluster.poll(40, ended(25)))
    assert cluster.checkpoint["running"] == {}


def test_a_run_between_two_polls_is_told_complete(cluster: Cluster):
    """It was never seen running, and needs no second message."""
    cluster.poll(0)
    assert ids(cluster.poll(60, ended(25))) == [("7", 25)]


def test_the_runs_of_a_requeued_job_are_told_apart(cluster: Cluster):
    """The first one stops, the second one begins, with an id of its own."""
    cluster.poll(10, running())
    first = ended(20, State="REQUEUED")
    submit, start = str(START + 20), str(START + 30)
    second = running(db_index="8", Submit=submit, Start=start)
    found = ids(cluster.poll(40, first, second))
    assert set(found) == {("7", 20), (f"7-{start}", None)}


def test_a_run_whose_end_is_set_to_the_past_is_told(cluster: Cluster):
    """`sacctmgr show runawayjobs` ends a lost job where it was last seen: outside all windows."""
    cluster.poll(10, running())
    for second in range(1000, 9000, 1000):
        assert ids(cluster.poll(second, running())) == []
    assert ids(cluster.poll(20000, ended(5))) == [("7", 5)]


def test_a_run_that_is_over_but_has_no_end_yet_is_not_told_yet(cluster: Cluster):
    """COMPLETED with End Unknown, as after an outage of slurmdbd; the end may be long past."""
    cluster.poll(10, running())
    for second in (20, *range(1000, 9000, 1000)):
        assert ids(cluster.poll(second, running() | {"State": "COMPLETED"})) == []
    assert ids(cluster.poll(9000, ended(15))) == [("7", 15)]


def test_a_run_whose_row_stays_incomplete_is_ended_all_the_same(cluster: Cluster):
    """After five minutes without a Partition it is taken as it is; else it would run for ever."""
    cluster.poll(10, running())
    over = ended(20, Partition="")
    assert ids(cluster.poll(30, over)) == []
    assert set(ids(cluster.poll(9000, over))) == {("7", 20)}  # by its window, and by its id
    assert cluster.checkpoint["running"] == {}


def test_a_run_that_vanished_from_slurmdbd_is_told_in_the_log(cluster: Cluster):
    """It cannot be asked for again; its record stays open, and status shows it."""
    cluster.poll(10, running())
    assert ids(cluster.poll(20)) == []
    assert cluster.told() == ["running job vanished from slurmdbd"]
    assert cluster.checkpoint["running"] == {}


def test_suspended_time_comes_off_the_end(cluster: Cluster):
    """Only the stop time can still be changed, so the start is the same in both messages."""
    (begun,) = cluster.poll(10, running())
    cluster.poll(20, running() | {"State": "SUSPENDED"})
    (over, *_) = cluster.poll(90, ended(60, Suspended="00:00:20"))
    assert ids([over]) == [("7", 40)]
    assert over.start_at == begun.start_at


def test_a_run_that_is_first_seen_while_suspended_is_told(cluster: Cluster):
    """It holds its nodes; `-s R` alone does not show it."""
    assert ids(cluster.poll(10, running() | {"State": "SUSPENDED"})) == [("7", None)]


def test_runs_that_were_told_are_ended_after_tracking_is_switched_off(tmp_path: Path):
    """Their records wait for a stop time."""
    cluster = Cluster(tmp_path, overlap_s=0, complete_s=0)
    cluster.poll(10, running())
    cluster.keys["track_running"] = False
    assert ids(cluster.poll(5000, ended(4), running("8", "8"))) == [("7", 4)]


@pytest.mark.parametrize("missing", [{"Partition": ""}, {"NodeList": ""}, {"Start": "Unknown"}])
def test_a_run_that_slurmdbd_does_not_know_whole_is_not_told_yet(
    missing: dict[str, str], cluster: Cluster
):
    """Its record could not be mended later."""
    assert ids(cluster.poll(10, running() | missing)) == []
    assert ids(cluster.poll(20, running())) == [("7", None)]


def test_a_pending_job_is_no_run(cluster: Cluster):
    """Neither is one that waits again after a requeue."""
    pending = row("7", State="PENDING", Start="Unknown", End="Unknown", NodeList="None assigned")
    assert ids(cluster.poll(10, pending)) == []


def test_a_run_has_no_usage_before_it_ends(cluster: Cluster):
    """CPU time 0 of a running job is no measurement."""
    (begun,) = cluster.poll(10, running(TotalCPU="00:00:00"))
    assert "TotalCPU" not in begun.fields


def test_one_job_can_be_read_by_its_raw_id(tmp_path: Path):
    """As the epilog has it: a task of an array by its own id, not with all of its array."""
    cpu = {"TotalCPU": "00:01.000"}
    rows = [
        row("36_0", DBIndex="1", JobIDRaw="37", **cpu),
        row("36_1", DBIndex="2", JobIDRaw="36", **cpu),
        row("36_2", DBIndex="3", JobIDRaw="38", State="RUNNING", End="Unknown", **cpu),
    ]
    given = source(sacct=standin(tmp_path, written(tmp_path, rows)))
    assert [job.id for job in given.one("36").jobs] == ["36_1"]
    (ended,) = given.one("37").jobs
    assert (ended.id, ended.fields["TotalCPU"]) == ("36_0", 1)
    assert given.one("38").read == 0
    assert given.one("999").read == 0
    tracking = source(track_running=True, sacct=standin(tmp_path, written(tmp_path, rows)))
    (begun,) = tracking.one("38").jobs
    assert begun.stop_at is None
    assert "TotalCPU" not in begun.fields
    with pytest.raises(ValueError, match="is not a job id"):
        given.one("1,2 --allusers")


def test_an_epilog_does_not_wait_for_a_slurmdbd_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It gives up after seconds, whatever timeout_s allows the polls; they read the job."""
    monkeypatch.setattr(plugin, "_EPILOG_TIMEOUT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(SourceError, match="gave nothing more"):
        source(sacct=program(tmp_path, "exec sleep 60")).one("7")
    assert time.monotonic() - began < 20


def test_a_single_job_of_the_jobcomp_log_is_left_to_the_polls():
    """The message says what to do instead."""
    with pytest.raises(SourceError, match="a short interval_s"):
        source(mode="jobcomp", jobcomp_path=LOG).one("7")
