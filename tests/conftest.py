"""What all tests may use: an embedded Auditor of their own, quiet logs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from tests.helpers.auditor_server import RunningAuditor, running_auditor

pytest.register_assert_rewrite("tests.slurm.cluster_promises", "tests.htcondor.pool_promises")

collect_ignore = ["wheel"]  # for an environment without the checkout, see .ci/check-wheel

settings.register_profile(
    "all", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
settings.load_profile("all")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make unit` runs what one process can show."""
    parser.addoption(
        "--one-process", action="store_true", help="skip each test as soon as it starts a process"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watches the processes that tests start (without pytest-xdist, which starts its own)."""
    if config.getoption("--one-process"):
        sys.addaudithook(_skip_at_a_process)


def _skip_at_a_process(event: str, _: object) -> None:
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        pytest.skip("starts a process")


@pytest.fixture
def auditor(tmp_path: Path) -> Iterator[RunningAuditor]:
    """An embedded Auditor, as a process of its own, with nothing in it."""
    with running_auditor(tmp_path / "auditor.db") as running:
        yield running


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of an embedded Auditor within the test's process, with nothing in it."""
    from collector.embedded.server import running

    with running(tmp_path / "auditor.db") as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[AuditorClientBlocking]:
    """A client of ours for it."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        yield client


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logs as the program sets them up for one test do not reach the next."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()
