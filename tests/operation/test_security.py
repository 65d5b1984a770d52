"""What a hostile Auditor, network or local user tries, with the real daemon; docs/security.md."""

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor, running_auditor
from tests.helpers.site import Site, end, eventually
from tests.operation.manager import service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our CA with a certificate for 127.0.0.1; the CA, and an expired certificate, of others."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificates")
    folder = tmp_path_factory.mktemp("tls")

    def certificate(name: str, ca: str, days: str = "2") -> None:
        for ending, command in (
            ("csr", ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]),
            ("pem", ["x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-days", days]),
        ):
            more = ["-keyout", f"{name}.key"] if ending == "csr" else ["-CAkey", f"{ca}.key"]
            more += [] if ending == "csr" else ["-CAcreateserial", "-extfile", "names"]
            openssl(*command, *more, "-out", f"{name}.{ending}")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for ca in ("ours", "others"):
        create = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={ca}")
        openssl(*create, "-days", "2", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    certificate("server", "ours")
    certificate("client", "ours")
    certificate("stranger", "others")
    certificate("expired", "ours", days="0")
    return folder


def secure(site: Site, tls: Path) -> None:
    """Lets the site use our certificates."""
    for name in ("ours.pem", "client.pem", "client.key"):
        shutil.copy(tls / name, site.folder)
    (site.folder / "client.key").chmod(0o600)
    files = {"ca": "ours.pem", "certificate": "client.pem", "key": "client.key"}
    section = ", ".join(f"{key}: {site.folder / name}" for key, name in files.items())
    text = site.config.read_text().replace("timeout_s: 5", f"timeout_s: 5, tls: {{{section}}}")
    site.config.write_text(text.replace("http://", "https://"))


def status(site: Site) -> dict[str, object]:
    document: dict[str, object] = json.loads(site.run("status", "--json").stdout)
    return document


def held(auditor: RunningAuditor) -> list[str]:
    with auditor.client() as client:
        return [record.record_id for record in client.stream_query()]


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, tls: Path, mode: int):
    """By `run` and by `check --offline`, with 78, the file and what to do."""
    site = Site(tmp_path, "http://127.0.0.1:9")
    secure(site, tls)
    (tmp_path / "client.key").chmod(mode)
    for command in (("run",), ("check", "--offline")):
        process = site.run(*command)
        assert process.returncode == 78
        assert "auditor.tls.key" in process.stderr
        assert f"mode is {mode:04o}" in process.stderr
        assert "chmod" in process.stderr
    assert not (tmp_path / "outbox.db").exists()


def test_a_key_that_systemd_gives_is_there_while_the_service_runs(tmp_path: Path, tls: Path):
    """A command by hand before the first start says so."""
    site = Site(tmp_path, "http://127.0.0.1:9")
    secure(site, tls)
    credential = "/run/credentials/auditor-collector-test.service/auditor.key"
    site.config.write_text(re.sub(r"key: [^,}]+", f"key: {credential}", site.config.read_text()))
    process = site.run("check", "--offline")
    assert process.returncode == 78
    assert f"{credential}: cannot be read: No such file or directory" in process.stderr
    assert "systemd puts it there only while the service runs" in process.stderr


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_key_of_ours_or_of_root_for_a_group_is_taken(tmp_path: Path, tls: Path, mode: int):
    """A group may read a key of root's, as with LoadCredential; not one of somebody else's."""
    site = Site(tmp_path, "http://127.0.0.1:9")
    secure(site, tls)
    (tmp_path / "client.key").chmod(mode)
    refused = mode & 0o040 and os.getuid() != 0
    assert site.run("check", "--offline").returncode == (78 if refused else 0)


def test_with_the_right_certificates_records_are_sent(tmp_path: Path, tls: Path):
    """So that the refusals below are refusals of the wrong ones."""
    files = ("--tls-cert", tls / "server.pem", "--tls-key", tls / "server.key")
    with running_auditor(
        tmp_path / "auditor.db", *map(str, (*files, "--tls-ca", tls / "ours.pem"))
    ) as one:
        site = Site(tmp_path, f"http://127.0.0.1:{one.port}")
        secure(site, tls)
        site.log(1)
        process = site.start("run")
        eventually(lambda: '"sent": 1' in site.said())
        assert end(process) == 0


@pytest.mark.parametrize("name", ["stranger", "expired"])
def test_a_server_that_cannot_prove_itself_gets_nothing(tmp_path: Path, tls: Path, name: str):
    """Another CA's certificate, or an expired one: sending is paused, the record waits."""
    files = ("--tls-cert", tls / f"{name}.pem", "--tls-key", tls / f"{name}.key")
    with running_auditor(
        tmp_path / "auditor.db", *map(str, (*files, "--tls-ca", tls / "ours.pem"))
    ) as one:
        site = Site(tmp_path, f"http://127.0.0.1:{one.port}")
        secure(site, tls)
        site.log(1)
        process = site.start("run")
        eventually(lambda: "sending paused" in site.said())
        assert status(site)["waiting"] == 1
        assert end(process) == 0
    assert "certificate" in site.said()


class _Redirect(http.server.BaseHTTPRequestHandler):
    target = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(307)
        self.send_header("Location", self.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass


def test_a_redirect_leads_nowhere(tmp_path: Path, auditor: RunningAuditor):
    """An Auditor that sends us elsewhere: not one record goes there."""
    redirect = type("To", (_Redirect,), {"target": auditor.url})
    with http.server.HTTPServer(("127.0.0.1", 0), redirect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        site = Site(tmp_path, f"http://127.0.0.1:{server.server_port}")
        site.log(1)
        process = site.start("run")
        eventually(lambda: "sending paused" in site.said() or "interrupted" in site.said())
        assert status(site)["waiting"] == 1
        assert end(process) == 0
        server.shutdown()
        thread.join()
    assert held(auditor) == []


@pytest.fixture
def drip() -> Iterator[str]:
    """An Auditor that answers one byte at a time, for ever: no time-out for a piece ever ends."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def serve() -> None:
            clients = []
            while not stop.is_set():
                try:
                    clients.append(listener.accept()[0])
                    clients[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
                except TimeoutError:
                    pass
                for client in clients:
                    try:
                        client.sendall(b"x")
                    except OSError:
                        client.close()
                time.sleep(0.05)
            for client in clients:
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        thread.join()


def test_an_answer_that_never_ends_is_noticed(tmp_path: Path, drip: str):
    """The watchdog is fed no more, so systemd starts anew; the record still waits."""
    site = Site(tmp_path, drip)
    site.log(1)
    with service(site, WATCHDOG_USEC="1000000") as (_, manager):
        eventually(lambda: "hung; systemd restarts the service" in site.said())
        manager.forget()
        assert status(site)["waiting"] == 1
