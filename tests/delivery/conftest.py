"""What the tests of delivery share: one Auditor, and worlds before it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.embedded.server import running
from tests.delivery.world import World, new_world


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded Auditor."""
    with running(tmp_path_factory.mktemp("auditor") / "auditor.db") as address:
        yield address


@pytest.fixture
def world(tmp_path: Path, behind: str) -> Iterator[World]:
    """An outbox and a sender before a fault-injecting Auditor."""
    with new_world(tmp_path, behind, timeout_s=1) as new:
        yield new
