"""What happens to a pool while jobs run: daemons restart and die, a machine is lost, jobs preempt.

Each disturbance submits its jobs, waits until they run, disturbs, and leaves them to end.
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.htcondor.pool import CPUS, Pool, eventually
from tests.htcondor.pool_collecting import POLL_S, Collecting
from tests.htcondor.pool_workload import (
    FOREVER_S,
    Kind,
    Submitted,
    Workload,
    ordinary,
    remove,
    when,
)

_LEASE = "job_lease_duration = 20"
ROUTER = """\
DAEMON_LIST = $(DAEMON_LIST) JOB_ROUTER
JOB_ROUTER_POLLING_PERIOD = 2
JOB_ROUTER_DEFAULT_MAX_JOBS_PER_ROUTE = 10
JOB_ROUTER_ROUTE_NAMES = Lab
JOB_ROUTER_ROUTE_Lab @=end
  REQUIREMENTS LabRouted =?= True
  UNIVERSE vanilla
  SET LabRouted False
  SET Requirements True
@end
"""
"""Settings of a pool whose jobs with LabRouted become others of the same schedd."""
_DAG = "JOB A node.sub\nJOB B node.sub\nJOB C node.sub\nPARENT A CHILD B C\n"


def run_all(pool: Pool, collecting: Collecting) -> Workload:
    """Runs jobs of every kind, and every disturbance, while the daemon collects and is killed."""
    workload = Workload(pool)
    collecting.start()
    kills = _killed(collecting)
    for disturb in (
        shadow_killed_and_ordinary_jobs,
        schedd_restarted,
        schedd_killed,
        schedd_killed_at_ends,
        machine_lost,
        preempted,
    ):
        disturb(workload)
        workload.run(200, kills)
    time.sleep(4 * POLL_S)
    return workload


def _killed(collecting: Collecting) -> Iterator[None]:
    for look in itertools.count(1):
        if look % 25 == 0:
            collecting.kill_and_restart()
        yield


def shadow_killed_and_ordinary_jobs(workload: Workload) -> None:
    """Both at the same time."""
    shadow_killed(workload)
    ordinary_jobs(workload)


def ordinary_jobs(workload: Workload) -> None:
    """Jobs of every kind, and some that become others: the nodes of a DAG, and a routed job."""
    on_second = {"completed", "multicore", "held_by_owner", "removed_running"}
    for kind in ordinary():
        workload.submit(kind)
        if kind.name in on_second:
            workload.submit(kind, workload.pool.schedds[1])
    workload.submit(Kind("routed", "bob", submit="My.LabRouted = True\nrequirements = false"))
    pool = workload.pool
    pool.write("/home/carol/node.sub", workload.submit_text(Kind("node", "carol"), "ap1"))
    pool.write("/home/carol/lab.dag", _DAG)
    options = ("-f", "-schedd-daemon-ad-file", "/var/spool/condor/.schedd_classad")
    pool.run("condor_submit_dag", *options, "lab.dag", user="carol")


def schedd_restarted(workload: Workload) -> None:
    """Runs live through a restart of their schedd."""
    _schedd_restarts(workload, killed=False)


def schedd_killed(workload: Workload) -> None:
    """Runs outlive their schedd."""
    _schedd_restarts(workload, killed=True)


def _schedd_restarts(workload: Workload, *, killed: bool) -> None:
    """Runs live through a restart of their schedd, and then end in every way.

    Args:
        workload: of the pool.
        killed: whether it is killed; else it is asked to restart.
    """
    name = "killed" if killed else "restarted"
    held = when("held", 6, "condor_release", "{c}")
    hold, held_removed, vacate, removed, _, _ = jobs = [
        workload.submit(kind)
        for kind in (
            Kind(f"{name}_held", "bob", 30, actions=(held,), exact_total=False),
            Kind(f"{name}_held_removed", "bob", FOREVER_S, actions=(remove("held", 8),)),
            Kind(f"{name}_vacated", "alice", 30, group="atlas", exact_total=False),
            Kind(f"{name}_removed", "carol", FOREVER_S),
            Kind(f"{name}_completed", "carol", 26),
            Kind(f"{name}_completed_meanwhile", "alice", 12),
        )
    ]
    until_running(workload, jobs)
    time.sleep(10)
    if killed:
        workload.pool.kill("condor_schedd")
    else:
        workload.pool.run("condor_restart", "-schedd")
    time.sleep(3)
    eventually(lambda: _answers(workload.pool), 60, "the schedd")
    time.sleep(7)
    workload.act(hold, "condor_hold", "{c}")
    workload.act(held_removed, "condor_hold", "{c}")
    workload.act(vacate, "condor_vacate_job", "{c}")
    workload.act(removed, "condor_rm", "{c}")


def _answers(pool: Pool) -> bool:
    return all("rror" not in row and "ailed" not in row for row in pool.queue(pool.schedds[0]))


def schedd_killed_at_ends(workload: Workload) -> None:
    """The schedd is killed at the moments at which it writes the ads of jobs that end."""
    for number in range(4):
        kind = Kind("end_killed", "bob", 4, count=4, attempts=True, exact_ends=False)
        jobs = workload.submit(kind)
        until_running(workload, [jobs])
        time.sleep(3.6 + 0.3 * number)
        workload.pool.kill("condor_schedd")
        time.sleep(3)
        eventually(lambda: _answers(workload.pool), 60, "the schedd")


def machine_lost(workload: Workload) -> None:
    """The machine of running jobs loses its power; it comes back, without them."""
    _, removed = jobs = [
        workload.submit(kind)
        for kind in (
            Kind("machine_lost", "alice", 14, submit=_LEASE, group="atlas", exact_total=False),
            Kind("machine_lost_removed", "bob", FOREVER_S, submit=_LEASE),
        )
    ]
    until_running(workload, jobs)
    time.sleep(8)
    lost = [
        pid
        for name in ("condor_startd", "condor_starter", "job")
        for pid in workload.pool.pids(name)
    ]
    for pid in lost:
        with contextlib.suppress(ProcessLookupError):  # it ended with another of them
            os.kill(pid, signal.SIGKILL)
    time.sleep(4)
    workload.act(removed, "condor_rm", "{c}")


def shadow_killed(workload: Workload) -> None:
    """The shadow of a run is killed, or its starter; the job runs once more."""
    often = Kind("", seconds=12, submit=_LEASE, attempts=True, exact_total=False)
    by_shadow, by_starter = jobs = [
        workload.submit(replace(often, name="shadow_killed", user="bob", lost_runs=(0,))),
        workload.submit(replace(often, name="starter_killed", user="carol")),
    ]
    until_running(workload, jobs)
    time.sleep(6)
    workload.pool.kill("condor_shadow", f"{by_shadow.cluster}.")
    (program,) = workload.pool.pids("job", f"{by_starter.cluster}.")
    stat = Path(f"/proc/{program}/stat").read_text()
    parent = int(stat.rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)


def preempted(workload: Workload) -> None:
    """A job that the machine prefers takes it away from another, which runs again later."""
    first = workload.submit(Kind("preempted", "alice", 12, cores=CPUS, group="atlas"))
    until_running(workload, [first])
    time.sleep(5)
    workload.submit(Kind("preferred", "bob", 4, cores=CPUS, submit="My.LabPreferred = True"))


def until_running(workload: Workload, jobs: Sequence[Submitted]) -> None:
    """Waits until each of some jobs has begun, by what it writes."""

    def running() -> bool:
        folder = workload.pool.lab / "witness"
        return all(any(folder.glob(f"*,{job.cluster}.*")) for job in jobs)

    eventually(running, 90, "the jobs run")
