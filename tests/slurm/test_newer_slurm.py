"""What holds on this machine's Slurm holds on newer ones: the same tests, on other releases.

They come with newer releases of Debian, which debootstrap fetches (root; about a minute and a
half each).
"""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, UnavailableError, running_cluster
from tests.slurm.cluster_promises import *  # noqa: F403 - its tests and their fixture

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
SUITES = ("trixie", "testing")
"""Slurm 24.11; and the newest that Debian has, 26.05 when this was written."""


@pytest.fixture(scope="module", params=SUITES)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    try:
        with running_cluster(request.param) as cluster:
            yield cluster
    except UnavailableError as error:
        pytest.skip(f"no Slurm cluster: {error}")


def test_this_slurm_is_newer(cluster: Cluster):
    """Otherwise the tests here would prove nothing."""
    assert cluster.version >= (24, 11)
