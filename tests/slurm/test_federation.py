"""Two real clusters of one slurmdbd, in a federation: each collector accounts its own cluster.

With `FederationParameters=fed_display` every command shows the jobs of both, unless it is asked for
one of them; a job may be submitted on one cluster and run on the other.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collector.source import Job
from tests.slurm.cluster import (
    Cluster,
    UnavailableError,
    cluster_beside,
    eventually,
    running_cluster,
)
from tests.slurm.standin import jobs, quiet, source
from tests.slurm.workload import Workload

pytestmark = [pytest.mark.slurm, pytest.mark.nightly, pytest.mark.timeout(600)]
Submitted = dict[str, list[str]]
"""Cluster → ids of the jobs that run there."""


@pytest.fixture(scope="module")
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    try:
        with running_cluster() as first, cluster_beside(first) as second:
            yield first, second
    except UnavailableError as error:
        pytest.skip(f"no Slurm cluster: {error}")


@pytest.fixture(scope="module")
def submitted(clusters: tuple[Cluster, Cluster]) -> Submitted:
    """Jobs that have ended: on each cluster, submitted here and there."""
    first, second = clusters
    there = second.name
    ids = {
        first.name: [Workload(first).submit("mail", "-M", first.name) for _ in range(2)],
        there: [Workload(one).submit("games", "-M", there) for one in (first, second, second)],
    }
    ids = {name: [one.partition(";")[0] for one in some] for name, some in ids.items()}
    every = {one for some in ids.values() for one in some}

    def shown() -> set[str]:
        return {job for cluster in clusters for job in found(cluster, clusters=[cluster.name])}

    eventually(lambda: shown() == every, 60, "the ends of all jobs")
    return ids


def found(cluster: Cluster, **keys: Any) -> dict[str, Job]:
    """What a source on a cluster finds."""
    context = quiet(datetime.now(UTC), frozenset({"Cluster", "TotalCPU"}))
    given = source(context, sacct=cluster.sacct, complete_s=5, **keys)
    since = datetime.now(UTC) - timedelta(hours=1)
    return jobs(given.backfill(since, datetime.now(UTC)))


def test_the_commands_show_the_jobs_of_both(
    clusters: tuple[Cluster, Cluster], submitted: Submitted
):
    """Otherwise these tests would prove nothing."""
    every = {one for some in submitted.values() for one in some}
    for cluster in clusters:
        window = ("-S", "now-1hour", "-E", "now", "-s", "CD")
        shown = cluster.run("sacct", "-a", "-X", "-n", "-P", *window, "-o", "JobID").split()
        assert set(shown) == every


def test_a_plain_source_reads_its_own_cluster(
    clusters: tuple[Cluster, Cluster], submitted: Submitted
):
    """So two collectors, each with its own, account each job once."""
    for cluster in clusters:
        given = found(cluster)
        assert set(given) == set(submitted[cluster.name])
        assert {job.fields["Cluster"] for job in given.values()} == {cluster.name}


def test_a_source_that_names_clusters_reads_these(
    clusters: tuple[Cluster, Cluster], submitted: Submitted
):
    """One collector for both, from either of them."""
    names = [cluster.name for cluster in clusters]
    for cluster in clusters:
        given = found(cluster, clusters=names, cluster_in_id=True)
        assert set(given) == {f"{name}-{one}" for name in names for one in submitted[name]}
