"""How requests reach an Auditor: straight or through a proxy, and with which certificates."""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.auditor.certificate import read_certificate
from collector.auditor.client import AuditorClientBuilder
from collector.auditor.connection import proxy_of_environment
from collector.auditor.errors import UnavailableError
from tests.delivery.faulty_auditor import Answer, Request, faulty_auditor
from tests.helpers.auditor_server import start_auditor
from tests.helpers.certificates import Authority

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("name", [*NAMES[:3], *(name.upper() for name in NAMES[:3])])
def test_a_proxy_of_the_environment_gets_nothing(
    name: str, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it was asked for: it would see the names of users."""
    with faulty_auditor(behind) as proxy:
        proxy.script = lambda _request: Answer(200)
        monkeypatch.setenv(name, proxy.url)
        with AuditorClientBuilder().connection_string(behind).build_blocking() as client:
            client.check()
        assert proxy.requests == []


def test_a_proxy_that_was_asked_for_carries_everything(behind: str) -> None:
    """Each request goes to it, with the whole address."""
    with faulty_auditor(behind) as proxy:
        builder = AuditorClientBuilder().connection_string("http://auditor.example.org:8000")
        seen: list[str] = []

        def script(request: Request) -> None:
            seen.append(request.target)
            request.target = request.target.removeprefix("http://auditor.example.org:8000")

        proxy.script = script
        with builder.proxy(proxy.url).build_blocking() as client:
            client.check()
        assert seen == ["http://auditor.example.org:8000/health_check"]


@pytest.mark.parametrize(
    ("environment", "address", "proxy"),
    [
        ({}, "http://a:1", None),
        ({"http_proxy": "http://p:3128"}, "http://a:1", "http://p:3128"),
        ({"http_proxy": "p:3128"}, "http://a:1", "http://p:3128"),
        ({"http_proxy": "http://p:3128"}, "https://a:1", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://a:1", "http://p:3128"),
        ({"all_proxy": "http://p:3128"}, "https://a:1", "http://p:3128"),
        ({"all_proxy": "http://p:3128", "no_proxy": "a,b"}, "https://a:1", None),
        ({"all_proxy": "http://p:3128", "no_proxy": "*"}, "https://a:1", None),
        ({"http_proxy": ""}, "http://a:1", None),
    ],
)
def test_the_environment_is_read_as_curl_does(
    environment: dict[str, str], address: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the scheme of the address, with exceptions."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of_environment(address) == proxy


@pytest.mark.parametrize("proxy", ["", "p:3128", "https://p:1", "socks5://p:1", "http://p:1/path"])
def test_a_proxy_that_cannot_be_used_is_refused_when_it_is_given(proxy: str) -> None:
    """Not at the first request; a password is not shown."""
    with pytest.raises(ValueError, match="expected http://HOST:PORT"):
        AuditorClientBuilder().proxy(proxy)


def test_a_certificate_that_is_renewed_on_disk_is_used_at_the_next_connection(
    tmp_path: Path,
) -> None:
    """No reload; and while half of the pair is written, the old one goes on."""
    ca = Authority(tmp_path)
    server, server_key = ca.issue("server")
    auditor = start_auditor(
        tmp_path / "auditor.db",
        *("--tls-cert", str(server), "--tls-key", str(server_key)),
        *("--tls-ca", str(ca.certificate)),
        stderr=tmp_path / "auditor.log",
    )
    try:
        good, good_key = ca.issue("client")
        other, other_key = Authority(tmp_path, "other").issue("stranger")
        ours, our_key = tmp_path / "ours.pem", tmp_path / "ours.key"

        def put(certificate: Path, key: Path) -> None:
            shutil.copy(certificate, ours)
            shutil.copy(key, our_key)
            later = time.time_ns()
            os.utime(ours, ns=(later, later))

        put(good, good_key)
        builder = AuditorClientBuilder().connection_string(auditor.url)
        builder.with_tls(ours, our_key, ca.certificate).timeout(5)

        def answers() -> bool:
            client.close()  # its connections; the next request makes another
            return client.health_check()

        with builder.build_blocking() as client:
            assert answers()
            put(other, good_key)
            assert answers(), "the new certificate has no key yet"
            put(other, other_key)
            assert not answers(), "a certificate that is not accepted was not used"
            put(good, good_key)
            assert answers()
            ours.unlink()
            assert answers(), "a file that is away for a moment is not needed"
    finally:
        auditor.kill()


def test_a_certificate_shows_its_name_and_its_end(tmp_path: Path) -> None:
    """As openssl wrote them."""
    certificate, key = Authority(tmp_path).issue("collector-at-here", days=7)
    read = read_certificate(certificate)
    assert read.common_name == "collector-at-here"
    assert timedelta(days=6.9) < read.not_after - datetime.now(UTC) < timedelta(days=7.1)
    for no_certificate in (key, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="is not a certificate in PEM"):
            read_certificate(no_certificate)
    text = certificate.read_text()
    first = text.index("\n") + 1
    other_tag = f"{text[:first]}AAAA{text[first + 4 :]}"
    for damaged in (text[:200], other_tag, text[:60] + text[-60:], ""):
        certificate.write_text(damaged)
        with pytest.raises(ValueError, match="is not a certificate in PEM"):
            read_certificate(certificate)


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    """A host that no name server knows is unavailable, as a port that nobody listens at."""
    for address in ("http://no-such-host.invalid:1", f"http://{'x' * 70}.example:1"):
        builder = AuditorClientBuilder().connection_string(address).timeout(5)
        with builder.build_blocking() as client, pytest.raises(UnavailableError):
            client.check()
