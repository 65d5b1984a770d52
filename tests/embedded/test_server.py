"""The embedded Auditor keeps what it acknowledged, and no request ends it."""

import http.client
import itertools
import random
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from collector.auditor import AuditorClientBuilder, Component, Meta, Record, protocol
from tests.helpers.auditor_server import RunningAuditor, running_auditor, start_auditor

POST = b"POST /record HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(record_id: str) -> Record:
    """A finished run."""
    return (
        Record(record_id, START)
        .with_component(Component("Cores", 8))
        .with_meta(Meta().insert("site_id", ["site1"]))
        .with_stop_time(START + timedelta(hours=1))
    )


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments under load, it holds every record that it said it stored."""
    db, port = tmp_path / "auditor.db", 0
    acknowledged: set[str] = set()
    choose = random.Random(7)
    for life in range(5):
        auditor = start_auditor(db, listen=f"127.0.0.1:{port}")
        port = auditor.port
        with auditor.client() as client:
            killer = threading.Timer(choose.uniform(0.02, 0.3), auditor.kill)
            killer.start()
            for number in itertools.count():
                batch = [record(f"{life}-{number}-{one}") for one in range(number % 7 + 1)]
                try:
                    client.bulk_insert(batch)
                except protocol.UnavailableError:
                    break
                acknowledged.update(one.record_id for one in batch)
            killer.join()
    with running_auditor(db) as auditor, auditor.client() as client:
        stored = [one.record_id for one in client.stream_query()]
    assert len(stored) == len(set(stored))
    assert acknowledged <= set(stored)
    assert acknowledged


def test_an_existing_record_can_be_ignored_as_the_real_server_ignores_it(tmp_path: Path) -> None:
    """With that option the answer is a 200 with a warning, and nothing of the batch is stored."""
    with running_auditor(tmp_path / "a.db", "--ignore-record-exists-error") as auditor:
        with auditor.client() as client:
            client.add(record("a"))
            with pytest.raises(protocol.RecordExistsError, match="nothing was stored") as caught:
                client.bulk_insert([record("b"), record("a")])
            assert caught.value.status == 200
            assert [one.record_id for one in client.stream_query()] == ["a"]
        body = record("a").encode()
        answer = httpx.post(
            f"{auditor.url}/record", content=body, headers={"content-type": "application/json"}
        )
    assert answer.json() == {
        "warning": "Record already exists, but the error was ignored due to AUDITOR configuration."
    }


def test_the_file_is_for_its_owner_only(url: str, tmp_path: Path) -> None:
    """Accounting names people."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        client.add(record("a"))
    for path in tmp_path.glob("auditor.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_writers_and_readers_do_not_wait_for_each_other(url: str) -> None:
    """A reader in the middle of its answer sees the state of its start, and keeps nobody out."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        client.bulk_insert(record(f"a{number}") for number in range(5000))
        stream = client.stream_query()
        next(stream)
        client.bulk_insert(record(f"b{number}") for number in range(100))
        assert sum(1 for _ in stream) == 4999
        assert len(client.advanced_query("")) == 5100


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        POST + b"Content-Length: -5\r\n\r\n{}",
        POST + b"Content-Length: 99999999999\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_no_request_ends_it(url: str, request_: bytes) -> None:
    """Malformed, endless or foreign: it is answered or closed, and the next one is served."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer) or not answer
    assert httpx.get(f"{url}/health_check").status_code == 200


def test_a_body_that_never_ends_is_cut_off(url: str) -> None:
    """A chunked body is refused where it gets too long, not where it ends."""
    parts = httpx.URL(url)
    connection = http.client.HTTPConnection(parts.host, parts.port, timeout=30)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 65536
            yield b" " * 65536

    try:
        connection.request(
            "POST", "/record", endless(), {"Content-Type": "application/json"}, encode_chunked=True
        )
    except (BrokenPipeError, ConnectionResetError):
        pass
    else:
        assert connection.getresponse().status == 413
    finally:
        connection.close()
    assert sent < 100 * 2**20
    assert httpx.get(f"{url}/health_check").status_code == 200


def test_metrics_count_records_as_the_real_server_does(url: str) -> None:
    """The same names and labels; unknown paths do not make new ones."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        meta = {"site_id": ["s1", 's"2\n'], "group_id": ["g"], "user_id": ["u"]}
        client.add(record("a").with_meta(meta))
        client.add(record("b").with_meta({"site_id": ["s1"]}))
        client.add(record("c"))
    for number in range(3):
        httpx.get(f"{url}/made-up-{number}")
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    for line in (
        "num_records_database 3.0",
        'num_records_database_per_site{site="s1"} 2.0',
        'num_records_database_per_site{site="s\\"2\\n"} 1.0',
        'num_records_database_per_group{group_id="g"} 1.0',
        'num_records_database_per_user{user_id="u"} 1.0',
        'auditor_http_requests_total{endpoint="/record",method="POST",status="200"} 3.0',
        'auditor_http_requests_total{endpoint="unknown",method="GET",status="404"} 3.0',
    ):
        assert line in lines


def test_a_missing_file_is_told_at_the_start(tmp_path: Path) -> None:
    """A file that cannot be opened, an address that is taken, a file of something else."""
    other = tmp_path / "other.db"
    other.write_text("this is no database, however long one looks at it" * 100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for db, listen in (
            (tmp_path / "no" / "folder.db", "127.0.0.1:0"),
            (other, "127.0.0.1:0"),
            (tmp_path / "a.db", f"127.0.0.1:{taken.getsockname()[1]}"),
            (tmp_path / "a.db", "nonsense"),
        ):
            with pytest.raises(AssertionError, match="did not start"):
                start_auditor(db, listen=listen, stderr=tmp_path / "log")
    log = (tmp_path / "log").read_text()
    assert log.count("Error: cannot serve") == 4
    assert "Traceback" not in log


def test_it_stops_when_it_is_asked(auditor: RunningAuditor) -> None:
    """SIGTERM ends it with status 0, also while somebody reads."""
    with auditor.client() as client:
        client.bulk_insert(record(f"a{number}") for number in range(2000))
        stream = client.stream_query()
        next(stream)
        auditor.stop()
        stream.close()
    assert auditor.process.returncode == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server's and a client's certificate, and a client of another CA."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificates")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for ca in ("ca", "other"):
        openssl(
            "req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}"
        )
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name, ca in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl(
            "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key"),
            *("-CAcreateserial", "-extfile", "san", "-out", f"{name}.pem"),
        )
    return folder


def test_tls_lets_in_only_clients_with_a_certificate(certificates: Path, tmp_path: Path) -> None:
    """Our client and nobody else: no certificate, a stranger's, or plain HTTP."""
    options = ("--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-ca", "ca.pem")
    paths = [part if part.startswith("--") else str(certificates / part) for part in options]
    with running_auditor(tmp_path / "a.db", *paths) as auditor:
        assert auditor.url.startswith("https://")

        def builder(name: str, ca: str) -> AuditorClientBuilder:
            return (
                AuditorClientBuilder()
                .address("127.0.0.1", auditor.port)
                .with_tls(
                    certificates / f"{name}.pem",
                    certificates / f"{name}.key",
                    certificates / f"{ca}.pem",
                )
            )

        with builder("client", "ca").build_blocking() as client:
            client.add(record("a"))
            assert client.get_single_record("a") == record("a")
        for name, ca in (("stranger", "ca"), ("client", "other")):
            with (
                builder(name, ca).build_blocking() as client,
                pytest.raises(protocol.UnavailableError, match="no answer"),
            ):
                client.add(record("b"))
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        with httpx.Client(verify=context) as anonymous, pytest.raises(httpx.TransportError):
            anonymous.get(f"{auditor.url}/records")
        with AuditorClientBuilder().address("127.0.0.1", auditor.port).build_blocking() as plain:
            assert plain.health_check() is False


def test_tls_files_are_checked_when_the_client_is_built(certificates: Path) -> None:
    """The message names the file."""
    pem, key, ca = (certificates / name for name in ("client.pem", "client.key", "ca.pem"))
    for files, words in (
        ((pem, key, certificates / "none.pem"), "there is no file .*none.pem"),
        ((pem, key, key), "client.key is not a PEM file of certificates"),
        ((pem, certificates / "server.key", ca), "are not a certificate and its key"),
    ):
        with pytest.raises(ValueError, match=words):
            AuditorClientBuilder().with_tls(*files).build_blocking()
