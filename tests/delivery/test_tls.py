"""Mutual TLS with the embedded Auditor: what is wrong with a certificate pauses, and loses nothing.

A pause is told once, at error level; nothing is rejected; when somebody has mended it, all is sent.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from collector.config import AuditorSection, ConfigError, TlsSection
from collector.outbox import Outcome
from collector.pipeline.assemble import make_client
from tests.delivery.faulty_auditor import faulty_auditor
from tests.delivery.world import World, new_world
from tests.helpers.auditor_server import RunningAuditor, start_auditor
from tests.helpers.certificates import Authority


@dataclass
class Site:
    """A world whose Auditor talks TLS, and an authority that both may trust."""

    world: World
    ca: Authority
    folder: Path
    auditor: RunningAuditor | None = None

    def serve(self, ca: Authority | None = None, *, days: int = 1) -> None:
        """Starts the Auditor, at its address, with a certificate of an authority."""
        port = 0 if self.auditor is None else self.auditor.port
        self.end()
        certificate, key = (ca or self.ca).issue("server", days=days)
        self.auditor = start_auditor(
            self.folder / "auditor.db",
            *("--tls-cert", str(certificate), "--tls-key", str(key)),
            *("--tls-ca", str(self.ca.certificate)),
            listen=f"127.0.0.1:{port}",
            stderr=self.folder / "auditor.log",
        )

    def end(self) -> None:
        if self.auditor is not None:
            self.auditor.kill()

    def configure(self, url: str = "", **tls: Path) -> None:
        """Takes over `auditor:` of a configuration."""
        if not url:
            assert self.auditor is not None
            url = self.auditor.url
        self.world.client.close()
        section = AuditorSection(url=url, timeout_s=5, tls=TlsSection(**tls))
        self.world.client = make_client(section)

    def configure_well(self, url: str = "") -> None:
        """With the right CA and a certificate of it."""
        certificate, key = self.ca.issue("client")
        self.configure(url, ca=self.ca.certificate, certificate=certificate, key=key)

    def is_stopped(self, words: str, state: str = "paused", level: str = "error") -> None:
        """Passes stop, once told; nothing is rejected."""
        world = self.world
        world.restart_sender()
        world.put(range(10))
        for _ in range(3):
            assert world.sender.run_pass().state == state
            world.time += timedelta(seconds=100)
        (told,) = world.said(level)
        assert words in str(told["error"])
        status = world.outbox.status()
        assert (status.waiting, status.rejected) == (10, {})

    def recovers(self) -> None:
        """All is sent now, by the sender that was paused."""
        self.world.sender._client = self.world.client
        self.world.sender._verdicts._client = self.world.client
        self.world.sender._verdicts.proof._client = self.world.client
        assert self.world.sender.run_pass().outcomes[Outcome.SENT] == 10
        held = {record.record_id for record in self.world.client.advanced_query("")}
        assert held >= {f"{self.world.prefix}-{number}" for number in range(10)}


@pytest.fixture
def site(tmp_path: Path, behind: str) -> Iterator[Site]:
    with new_world(tmp_path, behind) as world:
        site = Site(world, Authority(tmp_path), tmp_path)
        try:
            yield site
        finally:
            site.end()
            world.client.close()


def test_a_server_of_another_authority_is_not_told_anything(site: Site):
    """Not one record goes to it; when the right one is back, all do."""
    site.serve(Authority(site.folder, "other"))
    site.configure_well()
    site.is_stopped("certificate verify failed")
    site.serve()
    site.recovers()


def test_a_server_whose_certificate_has_expired_pauses(site: Site):
    """Until it is renewed."""
    site.serve(days=-1)
    site.configure_well()
    site.is_stopped("certificate has expired")
    site.serve()
    site.recovers()


@pytest.fixture
def front(site: Site, behind: str) -> Iterator[str]:
    """The address of a proxy that asks for a certificate, before the Auditor."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=site.ca.certificate)
    tls.load_cert_chain(*site.ca.issue("front"))
    tls.verify_mode = ssl.CERT_REQUIRED
    with faulty_auditor(behind, tls) as proxy:
        yield proxy.url


def test_a_client_without_a_certificate_is_paused_where_one_is_asked_for(site: Site, front: str):
    """Until it is given one."""
    site.configure(front, ca=site.ca.certificate)
    site.is_stopped("certificate required")
    site.configure_well(front)
    site.recovers()


def test_our_own_certificate_that_has_expired_pauses(site: Site, front: str):
    """The server says so."""
    certificate, key = site.ca.issue("client", days=-1)
    site.configure(front, ca=site.ca.certificate, certificate=certificate, key=key)
    site.is_stopped("certificate expired")
    site.configure_well(front)
    site.recovers()


def test_a_server_that_hangs_up_on_a_client_without_a_certificate_is_away(site: Site):
    """It does not say why, as the embedded Auditor does not; told once, and nothing is lost."""
    site.serve()
    site.configure(ca=site.ca.certificate)
    site.is_stopped("disconnected", state="unreachable", level="warning")
    site.configure_well()
    site.recovers()


def test_a_ca_alone_is_enough_for_a_server_that_asks_for_no_certificate(site: Site, behind: str):
    """The first record arrives; without the CA it does not."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*site.ca.issue("front"))
    with faulty_auditor(behind, tls) as proxy:
        site.configure(proxy.url)
        site.is_stopped("certificate verify failed")
        site.configure(proxy.url, ca=site.ca.certificate)
        site.recovers()


def test_a_key_that_others_can_read_is_refused(site: Site):
    """With its mode and what to do."""
    site.serve()
    certificate, key = site.ca.issue("client")
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 06"):
        site.configure(ca=site.ca.certificate, certificate=certificate, key=key)
