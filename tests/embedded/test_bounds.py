"""Slow, many, long, strange: each is bounded and answered clearly, and nobody else waits for it."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.embedded.connections import CONNECTIONS, Connection
from collector.embedded.server import running
from tests.helpers.auditor_server import start_auditor

HEAD = b"POST /record HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GOOD = {
    "record_id": "good",
    "components": [],
    "start_time": "2026-01-01T00:00:00Z",
    "stop_time": "2026-01-01T01:00:00Z",
}
TIMES_WITHOUT_A_PLACE = [
    "0001-01-01T00:00:00+01:00",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:60Z",
    "9999-12-31T23:59:59-01:00",
    "9999-12-31T23:59:59.9999999-00:01",
]
TIMES_AT_THE_EDGE = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T01:00:00+01:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T22:59:59-01:00",
    "2016-12-31T23:59:60Z",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded Auditor that all tests of this module ask."""
    with running(tmp_path_factory.mktemp("bounds") / "auditor.db") as address:
        yield address


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def post(url: str, record: Mapping[str, object], method: str = "POST") -> int:
    return httpx.request(method, f"{url}/record", json=record).status_code


@pytest.mark.parametrize("field", ["start_time", "stop_time"])
@pytest.mark.parametrize("text", TIMES_WITHOUT_A_PLACE)
def test_a_time_that_could_not_be_read_back_is_refused(url: str, field: str, text: str) -> None:
    """By its zone or leap second it is out of the years 1 to 9999: a 400, nothing is stored."""
    post(url, GOOD)
    assert post(url, {**GOOD, "record_id": "bad", field: text}) == 400
    assert post(url, {**GOOD, "stop_time": text}, "PUT") == 400
    assert "good" in httpx.get(f"{url}/records").text
    assert '"bad"' not in httpx.get(f"{url}/records").text
    assert httpx.get(f"{url}/").status_code == 200


@pytest.mark.parametrize("text", TIMES_AT_THE_EDGE)
def test_a_time_at_the_edge_is_stored_and_read_back(tmp_path: Path, text: str) -> None:
    """The whole answer can be read, and so can the page."""
    with running(tmp_path / "auditor.db") as url:
        assert post(url, {**GOOD, "start_time": text, "stop_time": text}) == 200
        (line,) = httpx.get(f"{url}/records").text.splitlines()
        assert json.loads(line)["start_time"][:4] in {"0001", "9999", "2017"}
        assert httpx.get(f"{url}/").status_code == 200
        whole = httpx.get(f"{url}/", params={"since": "0001-01-01", "until": "9999-12-31"})
        assert whole.status_code == 200


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "since": st.dates().map(date.isoformat) | st.text(max_size=12),
            "until": st.dates().map(date.isoformat) | st.text(max_size=12),
            "measure": st.text(max_size=8),
        },
    )
)
def test_the_page_answers_whatever_it_is_asked(url: str, asked: dict[str, str]) -> None:
    """With the page, or with 400 and what is wrong."""
    answer = httpx.get(f"{url}/", params=asked)
    assert answer.status_code in {200, 400}, answer.text
    if answer.status_code == 400:
        assert "since" in answer.text or "until" in answer.text


@pytest.mark.parametrize("until", ["0001-01-01", "0001-01-05", "9999-12-31"])
def test_the_page_of_the_first_and_last_days_is_there(url: str, until: str) -> None:
    """A month before the first day is the first day."""
    assert httpx.get(f"{url}/", params={"until": until}).status_code == 200


@pytest.mark.parametrize("number", [499, 501, 2000])
@pytest.mark.parametrize("operator", ["c", "dnc"])
def test_conditions_are_bounded_and_said_to_be(url: str, number: int, operator: str) -> None:
    """As many as SQLite takes; beyond, 400, and never a broken answer."""
    query = "&".join(f"meta[k][{operator}][{index}]=v{index}" for index in range(number))
    answer = httpx.get(f"{url}/records?{query}")
    if number * (1 if operator == "c" else 2) > 500:
        assert answer.status_code == 400
        assert "at most 500" in answer.json()["error"]
    else:
        assert answer.status_code == 200


def test_two_hundred_slow_clients_keep_nobody_out(url: str) -> None:
    """Half-sent requests and unread answers; the next client is served at once."""
    with contextlib.ExitStack() as stack:
        for number in range(200):
            slow = stack.enter_context(connected(url))
            slow.sendall([HEAD, HEAD + b"Content-Length: 100\r\n\r\n{", b"G"][number % 3])
        began = time.monotonic()
        assert httpx.get(f"{url}/health_check").status_code == 200
        assert post(url, {**GOOD, "record_id": "meanwhile"}) == 200
        assert time.monotonic() - began < 5


def test_more_clients_than_it_serves_are_told_to_come_later(url: str) -> None:
    """503, which a collector takes for a reason to wait."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS + 5):
            stack.enter_context(connected(url))
        statuses = set()
        for _ in range(50):
            statuses.add(httpx.get(f"{url}/health_check").status_code)
            if 503 in statuses:
                break
            time.sleep(0.02)
        assert 503 in statuses
    deadline = time.monotonic() + 10
    while httpx.get(f"{url}/health_check").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [b"", b"G", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"])
def test_a_request_that_does_not_come_is_not_waited_for(
    url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is closed after a while, also while a byte comes now and then."""
    monkeypatch.setattr(Connection, "patience_s", 0.3)
    with connected(url) as slow:
        began = time.monotonic()
        slow.sendall(sent)
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                slow.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if slow.recv(100) == b"":
                        break
                slow.sendall(b" ") if sent else None
        assert time.monotonic() - began < 1.5


def test_an_answer_that_is_not_taken_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a reader that sleeps does not hold the file for ever."""
    monkeypatch.setattr(Connection, "patience_s", 0.3)
    with running(tmp_path / "auditor.db") as url:
        meta = {"k": ["x" * 250] * 20}
        for batch in range(10):
            records = [{**GOOD, "record_id": f"{batch}-{n}", "meta": meta} for n in range(300)]
            assert httpx.post(f"{url}/records", json=records).status_code == 200
        with connected(url) as reader:
            reader.sendall(b"GET /records HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1)
            received = 0
            with contextlib.suppress(ConnectionError):
                while piece := reader.recv(65536):
                    received += len(piece)
        whole = len(httpx.get(f"{url}/records").content)
        assert received < whole


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_ten_gigabytes_is_cut_off(url: str, declared: bool) -> None:
    """After a bounded part of it, with 413 where the client still reads."""
    parts = httpx.URL(url)
    connection = http.client.HTTPConnection(parts.host, parts.port, timeout=30)
    sent, whole = 0, 10 * 2**30

    def body() -> Iterator[bytes]:
        nonlocal sent
        while sent < whole:
            sent += 65536
            yield b" " * 65536

    headers = {"Content-Type": "application/json"}
    if declared:
        headers["Content-Length"] = str(whole)
    try:
        connection.request("POST", "/records", body(), headers, encode_chunked=not declared)
    except (BrokenPipeError, ConnectionResetError):
        pass
    else:
        assert connection.getresponse().status == 413
    finally:
        connection.close()
    assert sent < 100 * 2**20
    assert httpx.get(f"{url}/health_check").status_code == 200


def test_its_log_goes_to_standard_error_and_only_the_address_to_standard_output(tmp_path: Path):
    """Who reads the address and then no more does not stop it: a full pipe would."""
    log = tmp_path / "log"
    auditor = start_auditor(tmp_path / "auditor.db", stderr=log)
    try:
        for status in (200, 500, 500, 500):
            assert httpx.post(f"{auditor.url}/record", json=GOOD).status_code == status
        assert log.read_text().count("record_exists") == 3
        auditor.process.terminate()
        assert auditor.process.communicate()[0] == ""
    finally:
        auditor.process.kill()
        auditor.process.wait()
