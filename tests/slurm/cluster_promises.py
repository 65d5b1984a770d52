"""What holds on every real Slurm cluster: jobs of every kind, hostile names, outages, sums.

A test module gives the fixture `cluster`, and takes all of this in with `import *`.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.mapping.quantities import duration_s
from collector.record import Record
from collector.source import Job, SourceError
from tests.helpers.auditor_server import running_auditor
from tests.slurm.both_saccts import differences
from tests.slurm.cluster import Cluster, eventually
from tests.slurm.standin import jobs, quiet, source
from tests.slurm.verify import ENDED, Collecting, compare, times
from tests.slurm.workload import HOSTILE, Workload


@pytest.fixture(scope="module")
def collecting(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    """A daemon that collected the whole workload, was killed in the middle, and has ended."""
    folder = tmp_path_factory.mktemp("collecting")
    with running_auditor(folder / "auditor.db") as auditor:
        collecting = Collecting(cluster, auditor, folder)
        workload = Workload(cluster)
        try:
            workload.submit("games", "-t", "1", script="sleep 600")
            workload.plain()
            workload.hostile()
            collecting.kill_and_restart()
            workload.interrupted()
            workload.ended()
            time.sleep(8)
        finally:
            collecting.stop()
        yield collecting


def log_of(collecting: Collecting) -> list[str]:
    """The lines of the jobcomp log."""
    path = collecting.cluster.folder / "jobcomp.log"
    return path.read_text(errors="replace").splitlines()


def runs_of(records: dict[str, Record], job_id: str) -> list[str]:
    return [run for run in records if run == job_id or run.startswith(f"{job_id}-")]


def test_the_sums_are_those_of_sacct_and_sreport(collecting: Collecting):
    """Runs, elapsed seconds and core-seconds by user and account, to the second."""
    assert compare(collecting) == []


def test_cpu_time_is_what_sacct_says_in_the_end(collecting: Collecting):
    """Of every run, also of the one that was cancelled and worked on, while the daemon polled."""
    said = collecting.cluster.run(
        *("sacct", "-a", "-X", "-D", "-n", "-P", "-S", "now-1day", "-E", "now", "-s", ENDED),
        *("-o", "JobID,NodeList"),
    )
    ids = {row.partition("|")[0] for row in said.splitlines() if not row.endswith("None assigned")}
    rows = collecting.cluster.run(
        *("sacct", "-D", "-n", "-P", "-j", ",".join(ids), "-o", "JobID,NodeList,TotalCPU,State")
    )
    expected = Counter(
        (job_id, round(duration_s(cpu)))
        for job_id, nodes, cpu, state in (row.split("|") for row in rows.splitlines())
        if "." not in job_id and nodes != "None assigned" and state != "RUNNING"
    )
    held = Counter(
        (run.split("-")[0], component.amount)
        for run, record in collecting.records("sacct").items()
        for component in record.components
        if component.name == "TotalCPU"
    )
    assert held == expected
    assert max(seconds for _, seconds in held) >= 1  # the stubborn one's


def test_hostile_names_and_comments_change_no_accounting(collecting: Collecting):
    """Each of these jobs is one record of its user with its cores; no record has a forged id."""
    records = collecting.records("sacct")
    named = [record for record in records.values() if "comment" in (record.meta or {})]
    assert len(named) >= len(HOSTILE) - 1
    for record in named:
        assert record.meta is not None
        assert record.meta["user_id"] == ["mail"]
        assert record.components[0].amount == 1
        assert record.runtime in (0, 1, 2)
    assert not runs_of(records, "999")
    assert all(int(run.split("_")[0].split("+")[0].split("-")[0]) < 500 for run in records)


def test_every_run_of_requeued_jobs_is_there(collecting: Collecting):
    """Some jobs ran twice and three times; each run is a record of its own."""
    records = collecting.records("sacct")
    counts = {len(runs_of(records, run)) for run in records if "-" not in run}
    assert counts == {1, 2, 3}


def test_the_jobcomp_log_agrees_where_it_can(collecting: Collecting):
    """Same runs, same times, but for what the log does not know: suspension and resizes.

    Missing are only the jobs whose lines slurmctld cut, or whose names imitate a line; what the log
    has more is a run that a failing node began. Each run has the same id in both, also where the
    log says nothing of a requeue after the end (26.05).
    """
    slurmdbd, log = collecting.records("sacct"), collecting.records("jobcomp")
    assert not runs_of(log, "999")
    assert not re.findall(r" collision  jobcomp-(\S+)", collecting.rejected())
    # 20.11 has rows of short runs whose start slurmdbd never learned, tasks under their raw number.
    never_learned = [run for run in slurmdbd if "partition" not in (slurmdbd[run].meta or {})]
    assert all(slurmdbd[run].runtime == 0 for run in never_learned)
    assert not never_learned or collecting.cluster.version < (22, 5)
    for run in set(slurmdbd) - set(log) - set(never_learned):
        meta = slurmdbd[run].meta or {}
        (name,) = meta["name"]
        entries = [line for line in log_of(collecting) if run.split("-")[0] in line[:14]]
        explained = "JobId=" in name or len(name) > 200
        assert explained, f"{run}: {times(slurmdbd[run])}, {entries}"
    assert len(set(log) - set(slurmdbd)) <= 1 + len(never_learned)
    differ = [
        run
        for run in set(slurmdbd) & set(log)
        if (slurmdbd[run].start_time, slurmdbd[run].stop_time)
        != (log[run].start_time, log[run].stop_time)
    ]
    assert len(differ) <= 4 + 2 * len(never_learned), differ


def test_the_stand_in_answers_as_the_real_sacct(collecting: Collecting, tmp_path: Path):
    """Windows, states, filters, ids, steps, earlier runs and refusals: the same rows and status."""
    if collecting.cluster.version < (22, 5):
        pytest.skip("the stand-in is one of 22.05: 20.11 has other windows of one instant")
    count, differing = differences(collecting.cluster.sacct, tmp_path)
    assert differing == []
    assert count > 50


def test_no_step_is_lost_that_ended_before_its_jobs_window(cluster: Cluster):
    """A window of sacct shows the last of two steps only; CPU time and MaxRSS are of both."""
    burn = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
    job_id = Workload(cluster).submit("games", script=f"srun sh -c '{burn}'; sleep 4; srun true")
    given = source(quiet(fields=frozenset({"TotalCPU"})), sacct=cluster.sacct, window_s=2)
    began = datetime.now(UTC) - timedelta(seconds=2)

    def found() -> dict[str, Job]:
        given.context.now = lambda: datetime.now(UTC) + timedelta(seconds=1)
        found = jobs(given.backfill(began, began + timedelta(hours=1)))
        return {run: job for run, job in found.items() if run == job_id}

    job = eventually(found, 60, "the job")[job_id]
    whole = cluster.run("sacct", "-n", "-P", "-D", "-j", job_id, "-o", "JobID,TotalCPU").split()
    first_step = next(row for row in whole if row.startswith(f"{job_id}.0|")).partition("|")[2]
    cpu_s = job.fields["TotalCPU"]
    assert isinstance(cpu_s, int | float)
    assert cpu_s >= duration_s(first_step) > 0.1


def test_an_outage_of_slurmdbd_is_an_outage_and_loses_nothing(cluster: Cluster):
    """sacct fails meanwhile; a job that ran meanwhile is read when slurmdbd is back."""
    given = source(quiet(fields=frozenset({"AllocCPUS"})), sacct=cluster.sacct)
    given.context.now = lambda: datetime.now(UTC) + timedelta(seconds=1)
    cluster.stop("slurmdbd")
    try:
        began = datetime.now(UTC) - timedelta(seconds=2)
        job_id = Workload(cluster).submit("games")
        with pytest.raises(SourceError, match="exit status 1"):
            list(given.backfill(began, began + timedelta(hours=1)))
        time.sleep(4)
    finally:
        cluster.start("slurmdbd")

    def found() -> bool:
        return job_id in jobs(given.backfill(began, began + timedelta(hours=1)))

    assert eventually(found, 60, "the job of the outage")


def test_an_epilog_can_ask_for_its_job(cluster: Cluster):
    """slurmdbd may not know of the end yet: then there is nothing, and soon after the whole run."""
    seen = cluster.folder / "state" / "epilog.seen"
    cluster.write_epilog(f"echo $SLURM_JOB_ID >> {seen}")
    given = source(quiet(datetime.now(UTC)), sacct=cluster.sacct)
    try:
        job_id = Workload(cluster).submit("games")
        eventually(lambda: seen.exists() and job_id in seen.read_text().split(), 30, "the epilog")
        at_once = given.one(job_id)
        assert at_once.read == len(at_once.jobs) <= 1
    finally:
        cluster.write_epilog("exit 0")
    assert eventually(lambda: jobs([given.one(job_id)]), 30, "the whole row").keys() == {job_id}


def test_the_check_finds_a_real_slurm(cluster: Cluster):
    """sacct is there and slurmdbd answers."""
    given = source(quiet(datetime.now(UTC)), sacct=cluster.sacct)
    findings = list(given.check())
    assert all(finding.ok for finding in findings), findings
    assert "slurm" in findings[0].text
