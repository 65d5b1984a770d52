"""What the daemon tells: priorities for the journal, each change once, no names of users."""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.auditor_server import RunningAuditor, start_auditor
from tests.helpers.site import LIMIT_S, NOBODY, Site, end, eventually
from tests.helpers.stored import ids
from tests.operation.manager import service


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    return Site(tmp_path, auditor.url)


def events(site: Site, name: str = "") -> list[dict[str, Any]]:
    """What was logged, in order; only events of a name, if it is given."""
    lines = [json.loads(line) for line in site.said().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name or not name]


def await_told(site: Site, name: str, count: int) -> None:
    """Waits until an event was told so often."""
    eventually(lambda: len(events(site, name)) == count)


def log_at(site: Site, level: str) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace("format: json", f"format: json, level: {level}"))


# ------------------------------------------------------------------ the journal


class Journal:
    """The other end of the stream socket that systemd connects standard error to."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        status = os.fstat(self.theirs.fileno())
        self.stream = f"{status.st_dev}:{status.st_ino}"
        self.text = ""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        while piece := self._ours.recv(65536):
            self.text += piece.decode()

    def close(self) -> None:
        self.theirs.close()
        self._reading.join(LIMIT_S)
        self._ours.close()

    def priority(self, words: str) -> set[str]:
        """The priorities of the lines that hold some words."""
        return {line[:3] for line in self.text.splitlines() if words in line}


@contextlib.contextmanager
def journal(
    site: Site, stream: str | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Journal]]:
    """The daemon with its standard error in the journal, or in something that only seems it."""
    site.config.write_text(site.config.read_text().replace("log: {format: json}\n", ""))
    one = Journal()
    environ = {**os.environ, "PYTHONPATH": str(site.folder), "JOURNAL_STREAM": stream or one.stream}
    command = [sys.executable, "-m", "collector", "run", "--config", str(site.config)]
    with subprocess.Popen(command, env=environ, stderr=one.theirs.fileno()) as process:
        try:
            yield process, one
        finally:
            process.kill()
            process.wait(LIMIT_S)
            one.close()


def test_the_journal_is_told_how_bad_it_is(tmp_path: Path):
    """Information, a warning, an error, a death: each line has its priority, tracebacks too."""
    site = Site(tmp_path, NOBODY, logs=["jobs", "absent", "broken"])
    (tmp_path / "broken.jsonl").mkdir()
    site.log(1)
    with (tmp_path / "my_package.py").open("a") as plugin:
        plugin.write(
            "\n_poll = JsonLinesSource.poll\n"
            "def poll(self, checkpoint):\n"
            "    if self.section.name == 'broken':\n"
            "        raise RuntimeError('first line\\n<0>second line')\n"
            "    return _poll(self, checkpoint)\n"
            "JsonLinesSource.poll = poll\n"
        )
    with journal(site) as (process, one):
        for words in ("polled", "source=absent", "second line", "sending interrupted"):
            eventually(lambda words=words: words in one.text)  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    assert all(re.match(r"<[2-7]>", line) for line in one.text.splitlines()), one.text
    assert one.priority("started") == one.priority("stopped") == {"<6>"}
    assert one.priority("polled source=jobs") == {"<6>"}
    assert one.priority("sending interrupted") == {"<4>"}
    assert one.priority("source cannot be read source=absent") == {"<3>"}
    assert one.priority("second line") == one.priority("Traceback") == {"<3>"}


def test_what_only_inherited_the_journal_is_not_taken_for_it(site: Site):
    """A command in a shell that systemd started writes to a file: JSON, without priorities."""
    with journal(site, stream="1:2") as (_, one):
        eventually(lambda: "started" in one.text)
    said = [json.loads(line) for line in one.text.splitlines()]  # the probe may be first
    assert [event["level"] for event in said if event["event"] == "started"] == ["info"]


# ------------------------------------------------------------------ one event, each change once


def test_a_pass_that_does_something_is_one_event_and_an_idle_one_none(
    site: Site, auditor: RunningAuditor
):
    """Counts add up to the jobs; what finds nothing is told at debug only."""
    log_at(site, "debug")
    with service(site) as (process, manager):
        for first in (0, 10, 20):
            site.log(*range(first, first + 10))
            eventually(lambda first=first: len(ids(auditor)) == first + 10)  # type: ignore[misc]
        eventually(lambda: any("read" not in one for one in events(site, "polled")))
        manager.hear_until(lambda said: "STATUS" in said)
        assert end(process) == 0
    polls, passes = events(site, "polled"), events(site, "sent")
    assert {(one["level"], "read" in one) for one in polls} == {("info", True), ("debug", False)}
    assert sum(one.get("read", 0) for one in polls) == 30
    assert sum(one["sent"] for one in passes) == 30
    assert len([one for one in polls if "read" in one]) + len(passes) <= 12
    assert all(one["seconds"] >= 0 for one in polls + passes)
    assert {one["level"] for one in passes} == {"info"}


def test_what_a_failed_poll_did_is_told_too(site: Site):
    """A source that breaks off after a batch: its jobs are counted, its problem told once."""
    site.log(1)
    with (site.folder / "my_package.py").open("a") as plugin:
        plugin.write(
            "\nfrom collector.source import SourceError\n"
            "_poll = JsonLinesSource.poll\n"
            "def poll(self, checkpoint):\n"
            "    yield from _poll(self, checkpoint)\n"
            "    raise SourceError('breaks off')\n"
            "JsonLinesSource.poll = poll\n"
        )
    with service(site) as (process, _):
        eventually(lambda: bool(events(site, "polled")))
        site.log(2, 3)
        eventually(lambda: sum(one["read"] for one in events(site, "polled")) == 3)
        assert end(process) == 0
    assert {one["result"] for one in events(site, "polled")} == {"failed"}
    assert len(events(site, "source cannot be read")) == 1


@pytest.mark.slow
def test_each_change_of_state_is_told_once(tmp_path: Path):
    """Auditor and source go, stay away for many passes, and come back, twice."""
    auditor = start_auditor(tmp_path / "auditor.db")
    site = Site(tmp_path, auditor.url)
    listen = auditor.url.removeprefix("http://")
    log = tmp_path / "jobs.jsonl"
    site.log(1)
    with service(site) as (process, manager):
        eventually(lambda: ids(auditor) == ["jobs-1"])
        for number in (1, 2):
            auditor.kill()
            site.log(10 * number)
            await_told(site, "sending interrupted; records wait in the outbox", number)
            log.rename(tmp_path / "away")
            await_told(site, "source cannot be read", number)
            manager.forget()
            for _ in range(5):
                manager.hear_until(lambda said: "STATUS" in said)
            auditor = start_auditor(tmp_path / "auditor.db", listen=listen)
            (tmp_path / "away").rename(log)
            await_told(site, "sending again", number)
            await_told(site, "source works again", number)
        assert end(process) == 0
    auditor.stop()
    told = [one["event"] for one in events(site) if one["event"] not in ("polled", "sent")]
    assert len(told) == 2 + 2 * 4, told


# ------------------------------------------------------------------ names of users


class _Quoting(http.server.BaseHTTPRequestHandler):
    """An Auditor that is well, refuses the records of one user, and quotes them."""

    stored = b"[]"

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/records"):
            self._answer(200, _Quoting.stored)
        elif self.path.startswith("/record/"):
            self._answer(200, _Quoting.stored[1:-1])
        else:
            self._answer(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"mallory" not in body:
            _Quoting.stored = body
            self._answer(200, b"")
            return
        self._answer(400, b"Json deserialize error: no name: " + body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass


@pytest.fixture
def quoting() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quoting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("level", ["info", "debug"])
def test_names_of_users_are_told_at_debug_only(tmp_path: Path, quoting: str, level: str):
    """Of jobs that are sent, refused with a quotation, and not mapped; the table has the words."""
    site = Site(tmp_path, quoting)
    log_at(site, level)
    site.log(1, user="mallory")
    site.log(2, user="mallory", cores="mallory")
    site.log(3, user="alice")
    with service(site) as (process, _):
        eventually(lambda: "record rejected" in site.said())
        assert end(process) == 0
    assert ("mallory" in site.said()) == (level == "debug")
    (told,) = events(site, "record rejected")
    assert told["record_id"] == "jobs-1"
    assert told["error"].endswith("the Auditor refuses this")
    assert site.run("rejected", "show", "--source", "jobs").stdout.count("mallory") >= 3


# ------------------------------------------------------------------ reload


def test_a_reload_changes_level_and_interval(site: Site, auditor: RunningAuditor):
    """From silence to every poll, and from a poll an hour to ten a second."""
    text = site.config.read_text()
    quiet = text.replace("format: json", "format: json, level: error").replace(
        "prefix: jobs, interval_s: 0.1", "prefix: jobs, interval_s: 3600"
    )
    assert quiet.count("3600") == 1
    site.config.write_text(quiet)
    site.log(1)
    with service(site) as (process, manager):
        eventually(lambda: ids(auditor) == ["jobs-1"])
        site.log(2)
        for _ in range(5):
            manager.hear_until(lambda said: "STATUS" in said)
        assert ids(auditor) == ["jobs-1"]
        assert site.said() == ""
        site.config.write_text(text.replace("format: json", "format: json, level: debug"))
        process.send_signal(signal.SIGHUP)
        for number in (2, 3, 4):
            eventually(lambda number=number: f"jobs-{number}" in ids(auditor))  # type: ignore[misc]
            site.log(number + 1)
        eventually(lambda: len(events(site, "polled")) > 10)
        assert end(process) == 0


def test_a_source_that_is_taken_out_and_put_back_goes_on_where_it_was(
    site: Site, auditor: RunningAuditor
):
    """Its checkpoint stays: what came meanwhile is read, and nothing twice."""
    site.logs = ["jobs", "more"]
    site.write_config()
    both = site.config.read_text()
    site.log(1, name="more")
    with service(site) as (process, manager):
        eventually(lambda: ids(auditor) == ["more-1"])
        site.logs = ["jobs"]
        site.write_config()
        manager.forget()
        process.send_signal(signal.SIGHUP)
        manager.hear_until(lambda said: said.get("STATUS") == "starting: 1 source")
        site.log(2, name="more")
        site.log(3)
        eventually(lambda: ids(auditor) == ["jobs-3", "more-1"])
        site.config.write_text(both)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: ids(auditor) == ["jobs-3", "more-1", "more-2"])
        assert end(process) == 0
    assert sum(one.get("read", 0) for one in events(site, "polled")) == 3
