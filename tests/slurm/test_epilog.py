"""`EpilogSlurmctld` as docs/slurm.md shows it, run by a real slurmctld as its own user."""

import json
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.mapping.quantities import duration_s
from collector.record import Record
from tests.helpers.auditor_server import RunningAuditor, running_auditor
from tests.helpers.site import PATHS, end, python_of_all
from tests.slurm.cluster import Cluster, UnavailableError, eventually, running_cluster
from tests.slurm.workload import Workload

PYTHON = python_of_all()
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(PYTHON is None, reason="only root gets through to Python or the checkout"),
    pytest.mark.skipif(shutil.which("visudo") is None, reason="sudo is not installed"),
]

DOCS = Path(__file__).parents[2] / "docs" / "slurm.md"
USER = "auditor-collector"
RULE = Path("/etc/sudoers.d/auditor-collector-test")
PROGRAM = "/usr/bin/auditor-collector"
HOUR_S = 3600
CONFIG = """\
sources:
  - {{name: lab, plugin: slurm, record_prefix: slurm, sacct: {sacct}, interval_s: {interval_s},
     settle_s: 1}}
outbox: {{path: {outbox}, min_free_bytes: 0}}
sender: {{interval_s: 0.5}}
auditor: {{url: "{url}"}}
log: {{format: json, level: debug}}
"""
BUSY = "srun sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; sleep 7"
"""Longer than slurmdbd needs to hear of the start."""


def shown(language: str) -> str:
    """A block of the page's section on the epilog."""
    section = DOCS.read_text().partition("## From the epilog")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(block)


class Service:
    """The service of a head node that polls each hour only: what comes sooner, epilogs brought."""

    def __init__(self, cluster: Cluster, auditor: RunningAuditor) -> None:
        self.cluster, self.auditor = cluster, auditor
        self.process: subprocess.Popen[str] | None = None
        self.folder = cluster.folder / "service"
        self.folder.mkdir()
        state = self.folder / "state"
        state.mkdir(mode=0o750)
        shutil.chown(state, USER, USER)
        sacct = self.folder / "sacct"
        sacct.write_text(f'#!/bin/sh\nSLURM_CONF={cluster.conf} exec /usr/bin/sacct "$@"\n')
        config = self.folder / "config.yaml"
        config.write_text(
            CONFIG.format(
                sacct=sacct, interval_s=HOUR_S, outbox=state / "outbox.db", url=auditor.url
            )
        )
        config.chmod(0o640)
        shutil.chown(config, "root", USER)
        self.program = self.folder / "auditor-collector"
        self.program.write_text(
            f"#!{PYTHON} -IS\nimport os, sys\nsys.path[:0] = {PATHS!r}\n"
            f"os.environ['AUDITOR_COLLECTOR_CONFIG'] = {str(config)!r}\n"
            "from collector.cli import main\nmain()\n"
        )
        self.epilog = self.folder / "epilogslurmctld"
        self.epilog.write_text(shown("sh").replace(PROGRAM, str(self.program)))
        for path in (sacct, self.program, self.epilog):
            path.chmod(0o755)

    def poll(self) -> None:
        """Starts the daemon, anew if it runs: it polls once, and the next time after an hour."""
        self.stop()
        polls = self.polls()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "run"],
                user=USER,
                group=USER,
                extra_groups=[],
                cwd="/",
                stderr=log,
                text=True,
            )
        eventually(lambda: len(self.polls()) > len(polls), 30, "the poll")

    def stop(self) -> None:
        if self.process is not None:
            assert end(self.process) == 0
            self.process = None

    def polls(self) -> list[dict[str, Any]]:
        """What each poll so far has told in the log."""
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == "polled"]

    def held(self) -> dict[str, Record]:
        """What the Auditor holds, by the id of the job; it refuses an id that it has."""
        with self.auditor.client() as client:
            records = list(client.stream_query())
        held = {record.record_id.removeprefix("slurm-"): record for record in records}
        assert len(held) == len(records)
        return held


@pytest.fixture(scope="module")
def user() -> Iterator[None]:
    """The service's user, as the package makes it."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", USER],
            check=True,
        )
        yield
        subprocess.run(["userdel", USER], check=True)
    else:
        yield


@pytest.fixture(scope="module")
def service(user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A cluster and the service, set up as the page says, but for where the program lies."""
    db = tmp_path_factory.mktemp("auditor") / "auditor.db"
    try:
        with running_cluster() as cluster, running_auditor(db) as auditor:
            service = Service(cluster, auditor)
            RULE.touch(0o440)
            RULE.write_text(shown("sudoers").replace(PROGRAM, str(service.program)))
            try:
                cluster.write_epilog(f"exec {service.epilog}")
                service.poll()
                yield service
            finally:
                RULE.unlink()
                service.stop()
    except UnavailableError as error:
        pytest.skip(f"no Slurm cluster: {error}")


@pytest.fixture
def jobs(service: Service) -> Iterator[Workload]:
    """Runs jobs; after a test no epilog has failed, and the Auditor holds what Slurm accounts."""
    yield Workload(service.cluster)
    service.poll()
    expected = accounted(service.cluster)
    eventually(lambda: service.held().keys() == expected.keys(), 10, "the Auditor has all")
    for job_id, record in service.held().items():
        amounts = {one.name: one.amount for one in record.components}
        assert (record.runtime, amounts["Cores"], amounts["TotalCPU"]) == expected[job_id], job_id
    said = (service.cluster.folder / "slurmctld.out").read_text()
    assert "_job_complete" in said
    assert "EpilogSlurmctld" not in said  # it tells a status other than 0, and a timeout


def accounted(cluster: Cluster) -> dict[str, tuple[int, int, int | float]]:
    """Seconds, cores and CPU time of each job that ran and is known whole, by sacct's columns."""
    rows = cluster.run(
        *("sacct", "-a", "-n", "-P", "-S", "now-1day"),
        *("-o", "JobID,ElapsedRaw,AllocCPUS,TotalCPU,NodeList,Partition,End"),
    )
    found: dict[str, tuple[int, int, int | float]] = {}
    for row in rows.splitlines():
        job_id, elapsed, cores, cpu, nodes, partition, over = row.split("|")
        if partition and nodes != "None assigned" and over != "Unknown":  # steps have no partition
            found[job_id] = (int(elapsed), int(cores), round(duration_s(cpu)))
    return found


def queue_is_empty(service: Service, limit_s: float) -> float:
    """Waits until no job is left, not even `COMPLETING`; gives the seconds that it took."""
    began = time.monotonic()
    eventually(lambda: not service.cluster.run("squeue", "-h"), limit_s, "no job is left")
    return time.monotonic() - began


def test_sudo_takes_the_rule_of_the_page(service: Service):
    """For this command of this source, with a number after it; for nothing else."""
    subprocess.run(["visudo", "-c", "-f", RULE], check=True, capture_output=True, timeout=60)

    def allowed(*words: str) -> bool:
        command = ["sudo", "-n", "-u", USER, str(service.program), *words]
        done = subprocess.run(
            command,
            check=False,
            user="slurm",
            group="slurm",
            extra_groups=[],
            capture_output=True,
            timeout=60,
        )
        return done.returncode == 0

    command = ("collect-job", "--source", "lab")
    assert allowed(*command, "999999")
    assert not allowed("status")
    assert not allowed(*command, "1", "--config", "/tmp/other.yaml")
    assert not allowed(*command, "1 --config /tmp/other.yaml")


def test_jobs_come_by_their_epilogs(service: Service, jobs: Workload):
    """Of kinds that slurmdbd knows in time; what a poll finds later is known, and counted once."""
    polls = len(service.polls())
    ids = [jobs.submit("games", script=BUSY) for _ in range(4)]
    ids.append(jobs.submit("mail", script="sleep 7; exit 3"))
    array = jobs.submit("daemon", "--array=0-1", script=BUSY)
    ids += [f"{array}_0", f"{array}_1"]
    cancelled = jobs.submit("games", script="sleep 600")
    jobs.running(cancelled)
    time.sleep(6)
    service.cluster.run("scancel", cancelled)
    ids.append(cancelled)
    queue_is_empty(service, 40)
    time.sleep(2)
    brought = service.held().keys() & set(ids)
    assert len(service.polls()) == polls
    print(f"{len(brought)} of {len(ids)} jobs were brought by their epilogs")
    assert len(brought) >= len(ids) - 2
    service.poll()
    assert service.polls()[-1].get("known", 0) >= len(brought)


def test_a_cancelled_job_has_the_cpu_time_that_its_steps_tell_later(
    service: Service, jobs: Workload
):
    """It traps SIGTERM and works on until KillWait is over: epilog and poll leave it for later."""
    traps = "trap '' TERM; while :; do :; done"
    job_id = jobs.submit("games", script=f'srun sh -c "{traps}"')
    jobs.running(job_id)
    time.sleep(6)
    service.cluster.run("scancel", job_id)
    time.sleep(2.5)
    service.poll()
    time.sleep(1)
    assert job_id not in service.held()
    queue_is_empty(service, 40)
    service.poll()
    eventually(lambda: job_id in service.held(), 10, "the job")
    assert accounted(service.cluster)[job_id][2] >= 5


def test_fifty_jobs_that_end_at_once_are_there_once(service: Service, jobs: Workload):
    """Fifty processes put their jobs into the outbox, as fast as the cores allow."""
    array = jobs.submit("games", "--array=0-24", script="sleep 12")
    ids = [jobs.submit("mail", script="sleep 10") for _ in range(25)]
    ids += [f"{array}_{task}" for task in range(25)]
    eventually(lambda: "COMPLETING" in service.cluster.run("squeue", "-h", "-o", "%T"), 40, "ends")
    took_s = queue_is_empty(service, 60)
    time.sleep(2)
    brought = service.held().keys() & set(ids)
    print(f"{len(brought)} of {len(ids)} jobs were brought by their epilogs, within {took_s:.0f} s")
    assert len(brought) >= len(ids) / 2


def test_without_slurmdbd_epilogs_end_well_and_a_poll_brings_the_jobs(
    service: Service, jobs: Workload
):
    """Nothing waits for slurmdbd: the queue is empty soon after the ends."""
    service.cluster.stop("slurmdbd")
    try:
        ids = [jobs.submit("games", script="sleep 1") for _ in range(3)]
        queue_is_empty(service, 30)
    finally:
        service.cluster.start("slurmdbd")
    assert not service.held().keys() & set(ids)
    eventually(lambda: accounted(service.cluster).keys() >= set(ids), 60, "slurmdbd has the jobs")
    service.poll()
    eventually(lambda: service.held().keys() >= set(ids), 10, "the jobs")
