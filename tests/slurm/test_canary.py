"""An empty answer of sacct is believed only when a run that is known to exist is shown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.source import Job, SourceError
from tests.slurm.standin import program, quiet, row, source, standin, written

END = 1795478160
NOW = datetime.fromtimestamp(END + 60, UTC)
HARMLESS = "sacct: error: DefMemPerCPU=4000 is ignored, as DefMemPerNode is set"


class Site:
    """A slurmdbd whose moods a test changes, and a collector that polls it."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder, self.now = folder, NOW
        self.checkpoint: Any = None
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, Any] = {"overlap_s": 600, "complete_s": 0, "rescan_s": 3600, **keys}
        self.write()
        standin(folder, folder / "rows.jsonl")
        (folder / "sacct").rename(folder / "inner")
        self.mood()

    def write(self, *rows: dict[str, str]) -> None:
        """What slurmdbd knows."""
        written(self.folder, [*rows, row("1", DBIndex="99", NodeList="None assigned", End="1")])

    def mood(self, windows: str = "", *, always: str = "") -> None:
        """How sacct answers: to windows, and what it says at each call."""
        here = self.folder
        program(
            here,
            f'echo "$@" >> {here}/calls\n{always}\n'
            f'case "$*" in *--starttime*) {windows or ":"};; esac\nexec {here}/inner "$@"',
        )

    def poll(self, **later: float) -> None:
        """Polls some time later, and stores what is yielded."""
        self.now += timedelta(**later)
        given = source(quiet(self.now), sacct=str(self.folder / "sacct"), **self.keys)
        for batch in given.poll(self.checkpoint):
            self.checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint))
            self.jobs |= {job.id: job for job in batch.jobs}

    def calls(self) -> list[str]:
        """The command lines that asked slurmdbd since the last look."""
        lines = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").write_text("")
        return [line for line in lines if "--format=" in line]

    def unproved(self) -> str | None:
        """What `status` says."""
        return source(quiet(self.now), **self.keys).unproved(self.checkpoint)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ended(job_id: str, at: datetime, **columns: str) -> dict[str, str]:
    """A run of a minute."""
    end = int(at.timestamp())
    times = {"Submit": end - 70, "Eligible": end - 70, "Start": end - 60, "End": end}
    return row(job_id, DBIndex=job_id, **{name: str(at) for name, at in times.items()} | columns)


def test_a_harmless_error_does_not_stop_a_quiet_cluster(site: Site):
    """It comes with each call, for ever; a run that is shown says that the answers are good."""
    site.mood(always=f"echo '{HARMLESS}' >&2")
    site.write(ended("7", NOW - timedelta(minutes=5)))
    site.poll()
    assert "7" in site.jobs
    for _ in range(2):
        site.poll(hours=9)
    later = ended("8", site.now + timedelta(minutes=1))
    site.write(ended("7", NOW - timedelta(minutes=5)), later)
    site.poll(minutes=10)
    assert "8" in site.jobs


def test_an_empty_answer_without_a_word_is_an_outage_once_a_run_is_known(site: Site):
    """The table is gone, or the cluster, or PrivateData hides the runs: what ends meanwhile is
    read when it is shown again.
    """
    first = ended("7", NOW - timedelta(minutes=5))
    site.write(first)
    site.poll()
    site.write()
    with pytest.raises(SourceError, match="no more job 7, which ended at"):
        site.poll(hours=1)
    site.write(first, ended("8", site.now - timedelta(minutes=40)))
    site.poll(hours=9)
    assert set(site.jobs) == {"7", "8"}
    assert site.unproved() is None


def test_a_proof_costs_no_call_while_the_last_run_is_within_reach(site: Site):
    """The window reaches back over it; later, a window of one second is asked for beside it."""
    site.write(ended("7", NOW - timedelta(minutes=5)))
    site.keys["rescan_interval_s"] = 10**6
    site.poll()
    site.poll(minutes=20)
    site.calls()
    site.poll(minutes=20)
    assert len(site.calls()) == 1
    site.poll(hours=9)
    site.calls()
    site.poll(minutes=1)
    *_, window, proof = site.calls()
    assert "--state" in window
    assert "--state" in proof


def test_a_run_that_was_requeued_after_its_end_still_proves(site: Site):
    """Its row has another end then; its id shows it."""
    site.write(ended("7", NOW - timedelta(minutes=5)))
    site.poll()
    site.write(ended("7", NOW, State="RUNNING") | {"End": "Unknown"})
    site.poll(hours=12)
    assert site.checkpoint["until"] == int(site.now.timestamp()) - 5


def test_a_canary_that_was_purged_is_no_outage(site: Site):
    """It is so old that slurmdbd may have removed it: `status` says that nothing is proved, until
    a younger run is shown.
    """
    site.keys["window_s"] = 10**8
    site.write(ended("7", NOW - timedelta(minutes=5)))
    site.poll()
    site.write()
    site.poll(days=400)
    assert "not proved" in str(site.unproved())
    site.write(ended("8", site.now - timedelta(minutes=1)))
    site.poll(minutes=1)
    site.poll(minutes=1)
    assert "8" in site.jobs
    assert site.unproved() is None


def test_what_was_read_without_a_proof_is_read_again_when_a_run_is_shown(site: Site):
    """For a week `clusters` had a typo; nothing that ended since then is lost."""
    site.keys["window_s"] = 10**8
    missed = ended("7", NOW + timedelta(days=1))
    site.poll()
    assert "not proved: sacct has shown no run" in str(site.unproved())
    for _ in range(3):
        site.poll(days=2)
    site.write(missed, ended("8", site.now))
    site.poll(minutes=1)
    site.poll(minutes=1)
    assert set(site.jobs) == {"7", "8"}


@pytest.mark.parametrize("known", [True, False])
def test_without_a_canary_an_error_is_believed_unless_good_calls_print_it_too(
    site: Site, *, known: bool
):
    """At the first start: `--helpformat` is a good call, and prints what is harmless."""
    site.write()
    noise = f"echo '{HARMLESS}' >&2"
    site.mood(noise, always=noise if known else "")
    if known:
        site.poll()
        assert site.checkpoint["until"] == int(NOW.timestamp()) - 5
    else:
        with pytest.raises(SourceError, match="printed no rows, but sacct: error: DefMem"):
            site.poll()


def test_each_cluster_has_its_own_canary(tmp_path: Path):
    """The runs of one do not prove that the other is shown."""
    site = Site(tmp_path, clusters=["a", "b"], cluster_in_id=True)
    runs = [
        ended("7", NOW - timedelta(minutes=5), Cluster="a"),
        ended("8", NOW - timedelta(minutes=5), Cluster="b"),
    ]
    site.write(*runs)
    site.poll()
    busy = ended("9", NOW + timedelta(minutes=30), Cluster="a")
    site.write(runs[0], busy)
    with pytest.raises(SourceError, match="no run of cluster b, and no more job 8"):
        site.poll(hours=1)
    assert {"a-7", "b-8", "a-9"} == set(site.jobs), "the other one's runs are not held up"
    site.write(*runs, busy, ended("10", NOW + timedelta(minutes=30), Cluster="b"))
    site.poll(hours=2)
    assert "b-10" in site.jobs


def test_a_cluster_that_is_new_in_the_configuration_is_not_proved_by_the_old_one(tmp_path: Path):
    """`status` names it."""
    site = Site(tmp_path, clusters=["a"])
    site.write(ended("7", NOW - timedelta(minutes=5), Cluster="a"))
    site.poll()
    assert site.unproved() is None
    site.keys |= {"clusters": ["a", "labb"], "cluster_in_id": True}
    site.poll(minutes=5)
    assert "of cluster labb" in str(site.unproved())
    site.keys |= {"clusters": ["labb"]}
    site.poll(minutes=5)
    assert site.checkpoint["canaries"] == {}


def test_running_jobs_do_not_vanish_in_an_empty_answer(tmp_path: Path):
    """Their stop times follow, so they are not forgotten for an answer that nothing proves."""
    site = Site(tmp_path, track_running=True)
    runs = [ended("7", NOW - timedelta(minutes=5)), row("9", DBIndex="9", State="RUNNING")]
    runs[1] |= {"End": "Unknown"}
    site.write(*runs)
    site.poll()
    assert list(site.checkpoint["running"].values()) == ["9"]
    site.write()
    with pytest.raises(SourceError):
        site.poll(minutes=1)
    assert list(site.checkpoint["running"].values()) == ["9"]


def test_a_checkpoint_of_an_older_release_is_read_on(site: Site):
    """It has no canary; the first run that is shown becomes one."""
    site.checkpoint = {"mode": "sacct", "until": END - 3600, "rescanned": END, "running": {}}
    site.write(ended("7", NOW - timedelta(minutes=5)))
    site.poll()
    assert "7" in site.jobs
    assert [one["job_id"] for one in site.checkpoint["canaries"].values()] == ["7"]
