"""A real pool of Debian sid's HTCondor keeps every promise."""

from collections.abc import Iterator

import pytest

from tests.htcondor.pool import Pool, UnavailableError, running_pool
from tests.htcondor.pool_disturbances import ROUTER
from tests.htcondor.pool_promises import *  # noqa: F403 - its tests and their fixture

pytestmark = [pytest.mark.condor, pytest.mark.nightly, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    try:
        with running_pool("sid", ROUTER, schedds=2) as pool:
            yield pool
    except UnavailableError as error:
        pytest.skip(f"no HTCondor pool: {error}")
