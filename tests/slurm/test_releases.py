"""Every release keeps every promise: the same tests on the Slurm of four releases of Debian.

debootstrap fetches them (root; about a minute and a half each, unless they are kept: see
`cluster.py`).
"""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, UnavailableError, running_cluster
from tests.slurm.cluster_promises import *  # noqa: F403 - its tests and their fixture

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
RELEASES = {"bullseye": (20, 11), "bookworm": (22, 5), "trixie": (24, 11), "testing": (25, 11)}
"""Debian's suite → the oldest Slurm that it may have."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(suite, marks=[pytest.mark.nightly] if suite == "bookworm" else [])
        for suite in RELEASES  # bookworm's Slurm is often this machine's: see test_cluster.py
    ],
)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(suite: str) -> Iterator[Cluster]:
    try:
        with running_cluster(suite) as cluster:
            yield cluster
    except UnavailableError as error:
        pytest.skip(f"no Slurm cluster: {error}")


def test_this_slurm_is_the_suites(cluster: Cluster, suite: str):
    """Otherwise the tests here would prove nothing."""
    assert cluster.version >= RELEASES[suite]
