"""Delivery to an Auditor with roles, by certificate: what each of them gets delivered."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from collector.auditor.client import AuditorClientBlocking
from collector.config import AuditorSection, TlsSection
from collector.outbox import Outcome
from collector.pipeline.assemble import make_client
from tests.delivery.world import World, new_world
from tests.helpers.auditor_server import RunningAuditor, start_auditor
from tests.helpers.certificates import Authority

ROLES = "write_access_cn: [writer, both]\nread_access_cn: [reader, both]\n"


@dataclass
class Site:
    """A world whose sender has the certificate of a role."""

    world: World
    ca: Authority
    auditor: RunningAuditor

    def client(self, name: str) -> AuditorClientBlocking:
        certificate, key = self.ca.issue(name)
        tls = TlsSection(ca=self.ca.certificate, certificate=certificate, key=key)
        return make_client(AuditorSection(url=self.auditor.url, timeout_s=5, tls=tls))

    def become(self, name: str) -> None:
        """From now on the sender has this common name."""
        self.world.client.close()
        self.world.client = self.client(name)
        self.world.restart_sender()

    def held(self) -> dict[str, bool]:
        """Number of the run → whether it has a stop time."""
        with self.client("both") as client:
            return {
                record.record_id.rpartition("-")[2]: record.stop_time is not None
                for record in client.advanced_query("")
            }


@pytest.fixture
def site(tmp_path: Path, behind: str) -> Iterator[Site]:
    ca = Authority(tmp_path)
    (tmp_path / "roles.yaml").write_text(ROLES)
    certificate, key = ca.issue("server")
    auditor = start_auditor(
        tmp_path / "auditor.db",
        *("--tls-cert", str(certificate), "--tls-key", str(key), "--tls-ca", str(ca.certificate)),
        *("--roles", str(tmp_path / "roles.yaml"), "--ignore-record-exists-error"),
        stderr=tmp_path / "auditor.log",
    )
    with new_world(tmp_path, behind) as world:
        try:
            yield Site(world, ca, auditor)
        finally:
            auditor.kill()
            world.client.close()


@pytest.mark.parametrize("name", ["both", "writer"])
def test_records_and_stop_times_are_delivered_by_who_may_write(name: str, site: Site):
    """Also after a failure, whose end nobody may ask the health check for."""
    world = site.world
    site.become(name)
    world.put(range(10), stop=False)
    assert world.sender.run_pass().outcomes == {Outcome.SENT: 10}
    world.put(range(10))
    world.sender._failures = 1  # as after an outage
    assert world.sender.run_pass().outcomes == {Outcome.STOP_SENT: 10}
    assert site.held() == {str(number): True for number in range(10)}


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("both", Outcome.ALREADY_THERE), ("writer", Outcome.ALREADY_THERE_UNREAD)],
)
@pytest.mark.parametrize("number", [1, 4, 20])
def test_what_is_there_already_blocks_nothing(name: str, outcome: Outcome, number: int, site: Site):
    """Found and compared by who may read; narrowed down by who may not."""
    world = site.world
    with site.client("both") as client:
        client.bulk_insert([world.record(one) for one in range(0, number, 2)])
    site.become(name)
    world.put(range(number + 1))
    outcomes = world.drain().outcomes
    there = len(range(0, number, 2))
    assert outcomes == {outcome: there, Outcome.SENT: number + 1 - there}
    assert len(site.held()) == number + 1


@pytest.mark.parametrize("name", ["reader", "stranger"])
def test_who_may_not_write_pauses_until_the_role_is_granted(name: str, site: Site):
    """The reason names the list that the common name belongs into; nothing is lost."""
    world = site.world
    site.become(name)
    world.put(range(10))
    for _ in range(3):
        assert world.sender.run_pass().state == "paused"
        world.time += timedelta(seconds=100)
    (event,) = world.said("error")
    assert "403" in str(event["error"])
    assert "write_access_cn" in str(event["error"])
    site.become("writer")
    assert world.sender.run_pass().outcomes == {Outcome.SENT: 10}
