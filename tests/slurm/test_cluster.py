"""A real Slurm cluster of this machine's packages keeps every promise."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, UnavailableError, running_cluster
from tests.slurm.cluster_promises import *  # noqa: F403 - its tests and their fixture

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with running_cluster() as cluster:
            yield cluster
    except UnavailableError as error:
        pytest.skip(f"no Slurm cluster: {error}")
