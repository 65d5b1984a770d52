"""With `track_running` a run is recorded when it begins, and its stop time when it ends."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from collector.config import ConfigError, parse
from collector.source import Job, SourceError, Stop, find_plugin
from tests.htcondor.cases import CASES
from tests.htcondor.schedd import START, ad
from tests.htcondor.standin import NOW_S, Pool

RUNS = NOW_S - 1000
"""When the job of these tests was started first."""
JOB = f"ap1.lab.example#1.0#{START}"
NOT_ENDED: dict[str, Any] = {
    "CompletionDate": None,
    "JobStatus": 2,
    "LastJobStatus": 1,
    "LastRemoteWallClockTime": None,
    "JobStartDate": RUNS,
    "JobCurrentStartDate": RUNS,
    "EnteredCurrentStatus": RUNS,
}


class Watched:
    """A source that follows one schedd, poll by poll."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.pool = Pool(folder)
        (folder / "here").mkdir()
        self.keys = {"condor_q": str(folder / "condor_q"), "track_running": True, **keys}
        self.checkpoint: Any = None

    def queue(self, *ads: bytes) -> None:
        (self.pool.folder / "here" / "queue").write_bytes(b"".join(one + b"\n" for one in ads))

    def poll(self) -> dict[str, tuple[int, int | None]]:
        """What a poll a minute later says: id of a run → start (0 for a stop alone) and stop."""
        self.pool.now_s += 60
        source = self.pool.source(**self.keys)
        told: dict[str, tuple[int, int | None]] = {}
        for batch in source.poll(self.checkpoint):
            self.checkpoint = batch.checkpoint
            told_now: list[Job | Stop] = [*batch.jobs, *batch.stops]
            for one in told_now:
                stop = None if one.stop_at is None else int(one.stop_at.timestamp())
                if isinstance(one, Job):
                    assert source.parse(bytes(one.raw), one.where) == one
                start = int(one.start_at.timestamp()) if isinstance(one, Job) else 0
                assert not isinstance(one, Stop) or stop is not None
                told[one.id] = (start, stop)
        return told

    @property
    def open(self) -> set[str]:
        return {run for of in self.checkpoint["running"].values() for run in of["runs"]}


@pytest.fixture(params=["history", "condor_history"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Watched:
    found = Watched(tmp_path, mode=request.param, history=tmp_path / "here" / "history")
    found.pool.schedd().append(ad(99, made=5000, EnteredCurrentStatus=START + 9, QDate=5000))
    found.poll()
    return found


def running(**attributes: Any) -> bytes:
    return ad(1, 0, **{**NOT_ENDED, **attributes})


def ended(**attributes: Any) -> bytes:
    """The ad of the job in the history."""
    given = {"JobStatus": 4, "LastJobStatus": 2, "LastRemoteWallClockTime": "30.0"}
    return running(**{**given, **attributes})


def test_a_run_is_recorded_once_and_gets_its_stop_time_from_the_history(watched: Watched):
    """Under the same id, with its usage; then nothing of it is remembered."""
    watched.queue(running())
    assert watched.poll() == {JOB: (RUNS, None)}
    assert watched.poll() == {}
    assert watched.open == {JOB}
    watched.queue()
    watched.pool.schedd().append(ended(EnteredCurrentStatus=NOW_S))
    assert watched.poll() == {JOB: (RUNS, NOW_S)}
    assert watched.open == set()


def test_an_evicted_run_ends_where_the_queue_says_and_the_next_has_its_own_record(watched: Watched):
    """Held, released, started again: each run from its start to its end."""
    watched.queue(running())
    watched.poll()
    watched.queue(running(JobStatus=5, LastRemoteWallClockTime="417.0"))
    assert watched.poll() == {JOB: (0, RUNS + 417)}
    again = {"JobCurrentStartDate": RUNS + 600, "JobLastStartDate": RUNS}
    watched.queue(running(**again, LastRemoteWallClockTime="417.0"))
    further = f"{JOB}#{RUNS + 600}"
    assert watched.poll() == {further: (RUNS + 600, None)}
    watched.queue()
    watched.pool.schedd().append(ended(**again, EnteredCurrentStatus=NOW_S))
    assert watched.poll() == {further: (RUNS + 600, NOW_S)}
    assert watched.open == set()


def test_a_run_that_ended_between_two_polls_while_the_next_began_has_its_end(watched: Watched):
    """The queue still knows how long the last run was."""
    watched.queue(running())
    watched.poll()
    again = {"JobCurrentStartDate": RUNS + 600, "JobLastStartDate": RUNS}
    watched.queue(running(**again, LastRemoteWallClockTime="417.0"))
    assert watched.poll() == {JOB: (0, RUNS + 417), f"{JOB}#{RUNS + 600}": (RUNS + 600, None)}


def test_an_end_that_nobody_knows_is_the_last_time_the_run_was_seen(watched: Watched):
    """Two runs began between two polls: the first one ended no earlier than it was seen, told."""
    watched.queue(running())
    watched.poll()
    seen = watched.pool.now_s
    watched.queue(running(JobCurrentStartDate=RUNS + 900, JobLastStartDate=RUNS + 700))
    assert watched.poll()[JOB] == (0, seen)
    assert "end of a run unknown" in watched.pool.logs.entries[-1]["event"]


def test_a_job_that_vanished_is_closed_after_a_day(watched: Watched):
    """Its ad never came: the schedd lost it, or it was rotated away."""
    watched.queue(running())
    watched.poll()
    seen = watched.pool.now_s
    watched.queue()
    assert watched.poll() == {}
    assert watched.open == {JOB}
    watched.pool.now_s += 86400
    assert watched.poll()[JOB] == (0, seen)
    assert watched.open == set()


def test_a_completed_job_that_stays_in_the_queue_has_ended(watched: Watched):
    """As its ad says, which is what the history will have when it leaves."""
    watched.queue(running())
    watched.poll()
    done = ended(EnteredCurrentStatus=RUNS + 300)
    watched.queue(done)
    assert watched.poll() == {JOB: (RUNS, RUNS + 300)}
    assert watched.poll() == {}


@pytest.mark.parametrize("status", [6, 7])
def test_a_run_goes_on_while_it_is_suspended_or_transfers_its_output(watched: Watched, status: int):
    """It holds its slot; it is found also if no poll saw it run before."""
    watched.queue(running(JobStatus=status))
    assert watched.poll() == {JOB: (RUNS, None)}
    watched.queue(running())
    assert watched.poll() == {}
    watched.queue(running(JobStatus=status, LastRemoteWallClockTime="17.0"))
    assert watched.poll() == {}
    assert watched.open == {JOB}


def test_a_removed_job_that_stays_in_the_queue_has_ended(watched: Watched):
    """When it was removed, also before its machine has answered (status X)."""
    watched.queue(running())
    watched.poll()
    removed = {"JobStatus": 3, "LastJobStatus": 2, "LastRemoteWallClockTime": None}
    watched.queue(running(**removed, EnteredCurrentStatus=RUNS + 300))
    assert watched.poll() == {JOB: (RUNS, RUNS + 300)}
    assert watched.open == set()


def test_the_source_of_a_routed_job_does_not_run(watched: Watched):
    """The job that the router made of it does."""
    watched.queue(running(RoutedToJobId='"2.0"', LastMatchTime=None))
    assert watched.poll() == {}


def test_a_queue_that_cannot_be_asked_ends_nothing(watched: Watched):
    """An outage is no end; what the history says is stored all the same."""
    watched.queue(running())
    watched.poll()
    watched.pool.set("here", mood="unreachable")
    with pytest.raises(SourceError, match="condor_q"):
        watched.poll()
    assert watched.open == {JOB}
    watched.pool.set("here")
    assert watched.poll() == {}


def test_a_record_of_a_running_job_has_no_usage_that_would_be_frozen(tmp_path: Path):
    """Its CPU time so far is not its CPU time."""
    watched = Watched(tmp_path)
    watched.queue(running())
    [job] = [job for batch in watched.pool.source(**watched.keys).poll(None) for job in batch.jobs]
    assert job.fields["CpusProvisioned"] == 1
    unfinished = {"RunUserCpu", "RunWallClockTime", "RemoteUserCpu", "ResidentSetSize_RAW"}
    assert not unfinished.intersection(job.fields)


def test_the_captured_queue_of_a_real_pool_has_six_running_jobs(tmp_path: Path):
    """Idle and held ones, and those that have run before, are not running."""
    watched = Watched(tmp_path, universes=["vanilla", "local"])
    shutil.copy(CASES / "queue" / "condor_q.long.txt", tmp_path / "here" / "queue")
    found = {name.split("#")[1]: start for name, (start, _) in watched.poll().items()}
    assert found == {
        "116.0": 1795460699,
        "116.1": 1795460699,
        "117.0": 1795460705,
        "118.0": 1795460698,
        "119.0": 1795460702,
        "119.1": 1795460702,
    }


@pytest.mark.parametrize("cores", [None, 999])
def test_a_local_job_that_runs_is_suspicious_only_with_cores_that_it_cannot_have(
    tmp_path: Path, cores: int | None
):
    """It has no slot; what its user says of provisioned cores is left out and told.

    It is counted when it ends, so once.
    """
    watched = Watched(tmp_path, universes=["local"])
    local = {"JobUniverse": 12, "CpusProvisioned": cores, "MemoryProvisioned": None}
    watched.queue(running(**local))
    counted = 0
    for _ in range(2):
        batches = list(watched.pool.source(**watched.keys).poll(watched.checkpoint))
        watched.checkpoint = batches[-1].checkpoint
        [job] = [job for batch in batches for job in batch.jobs]
        assert "CpusProvisioned" not in job.fields
        assert job.fields.get("Suspicious") == (cores and "CpusProvisioned")
        counted += job.suspicious
        watched.queue(ended(**local, EnteredCurrentStatus=NOW_S))
    assert job.stop_at is not None
    assert counted == (cores is not None)


def test_with_epochs_every_run_ends_as_the_epoch_history_says(tmp_path: Path):
    """Evicted or not; the queue only tells the beginning."""
    path = tmp_path / "here" / "epoch_history"
    watched = Watched(tmp_path, mode="epochs", epoch_history=path)
    banner = b'*** EPOCH ClusterId=1 ProcId=0 RunInstanceId=0 Owner="a" CurrentTime=1795459585\n'
    path.write_bytes(ad(99, made=5000, EpochWriteDate=START) + banner.replace(b"Id=1 ", b"Id=99 "))
    watched.poll()
    watched.queue(running())
    assert watched.poll() == {JOB: (RUNS, None)}
    watched.queue(running(JobStatus=1, LastRemoteWallClockTime="411.0"))
    assert watched.poll() == {}
    with path.open("ab") as file:
        file.write(running(EpochWriteDate=RUNS + 412) + banner)
    assert watched.poll() == {JOB: (RUNS, RUNS + 412)}
    assert watched.open == set()


def test_all_runs_together_cannot_be_tracked():
    """The configuration says so, with what goes instead."""
    text = "{name: x, plugin: htcondor, record_prefix: x, run: total, track_running: true}"
    with pytest.raises(ConfigError, match="track_running"):
        parse(f"sources: [{text}]", find_plugin)
