"""What the tests of the client share: one Auditor."""

from collections.abc import Iterator

import pytest

from collector.embedded.server import running


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded Auditor."""
    with running(tmp_path_factory.mktemp("auditor") / "auditor.db") as address:
        yield address
