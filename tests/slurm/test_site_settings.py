"""A real cluster as most sites set it up: jobs in cgroups, users who see their own jobs only."""

import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from collector.source import Job
from tests.slurm.cluster import Cluster, UnavailableError, eventually, running_cluster
from tests.slurm.standin import jobs, quiet, source
from tests.slurm.workload import Workload

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with running_cluster(private=True, cgroups=True) as cluster:
            yield cluster
    except UnavailableError as error:
        pytest.skip(f"no Slurm cluster: {error}")


@pytest.fixture(scope="module")
def submitted(cluster: Cluster) -> list[str]:
    """A job that needs more memory than it has, and one of another user; both have ended."""
    workload = Workload(cluster)
    ids = [
        workload.submit("mail", "--mem=30", script="tail /dev/zero"),
        workload.submit(
            "games", script="srun sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'"
        ),
    ]
    eventually(lambda: found(cluster.sacct).keys() == set(ids), 60, "the ends of both")
    return ids


def found(sacct: str) -> dict[str, Job]:
    """What a source finds by this `sacct`."""
    now = datetime.now(UTC)
    context = quiet(now, frozenset({"User", "TotalCPU", "MaxRSS"}))
    given = source(context, sacct=sacct, complete_s=5)
    return jobs(given.backfill(now - timedelta(hours=1), now))


def test_with_cgroups_every_job_is_accounted(cluster: Cluster, submitted: list[str]):
    """With the state and the CPU time that the kernel has counted."""
    greedy, busy = (found(cluster.sacct)[job].fields for job in submitted)
    assert greedy["State"] == "OUT_OF_MEMORY"
    assert busy["State"] == "COMPLETED"
    cpu_s = busy["TotalCPU"]
    assert isinstance(cpu_s, int | float)
    assert cpu_s > 0.1
    assert isinstance(busy["MaxRSS"], int)


def test_with_private_data_a_user_sees_his_own_jobs(cluster: Cluster, submitted: list[str]):
    """sacct ends with 0 and says nothing of the others: why the docs ask for an operator."""
    assert set(found(cluster.sacct_of("mail"))) == {submitted[0]}


def test_with_private_data_an_operator_sees_all(cluster: Cluster, submitted: list[str]):
    """As the service's user has to be one."""
    operator = "daemon"
    assert pwd.getpwnam(operator).pw_uid != 0
    assert not found(cluster.sacct_of(operator))
    level = ("modify", "user", operator, "set", "adminlevel=operator")
    cluster.run("sacctmgr", "-i", *level)
    assert set(found(cluster.sacct_of(operator))) == set(submitted)
