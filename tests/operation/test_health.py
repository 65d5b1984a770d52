"""/healthz is red for each thing that is wrong, provoked for real, and says which, over HTTP."""

import http.server
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import LIMIT_S, end, eventually
from tests.helpers.small_disk import small_disk
from tests.operation.manager import service
from tests.operation.watched import Watched, samples


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Watched:
    return Watched(tmp_path, auditor.url)


def red(site: Watched, words: str) -> None:
    """Waits until the page is red and says so."""
    eventually(lambda: words in (answer := site.get("/healthz"))[1] and answer[0] == 503)


def green(site: Watched) -> None:
    eventually(lambda: site.get("/healthz") == (200, "all is well\n"))


def test_red_while_a_source_hangs(site: Watched):
    """Within one poll, after half of systemd's time; its name; green again when it gets on."""
    site.logs = ["jobs", "pipe"]
    site.write_config()
    site.log(1)
    os.mkfifo(site.folder / "pipe.jsonl")  # opening it waits for somebody who writes
    with service(site, WATCHDOG_USEC="2000000"):
        red(site, "pipe: no progress for ")
        assert "jobs:" not in site.get("/healthz")[1]
        (site.folder / "pipe.jsonl").rename(site.folder / "away")
        with (site.folder / "away").open("wb"):
            site.log(2, name="pipe")
            green(site)


class _Mute(http.server.BaseHTTPRequestHandler):
    """Takes a request and does not answer until it may."""

    may = threading.Event()

    def do_POST(self) -> None:
        self.may.wait(LIMIT_S)
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass


@pytest.fixture
def mute() -> Iterator[str]:
    """An Auditor that says nothing to the first request, and then forbids everything."""
    _Mute.may.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Mute) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        _Mute.may.set()
        server.shutdown()
        thread.join()


def test_red_while_the_sender_is_stuck(tmp_path: Path, mute: str):
    """In a request that is not answered; and when somebody has to act, at once, with the reason."""
    site = Watched(tmp_path, mute)
    site.log(1)
    with service(site, WATCHDOG_USEC="2000000"):
        red(site, "sender: no progress for ")
        _Mute.may.set()
        red(site, "sender: paused for ")
        assert "403" in site.get("/healthz")[1]
        assert site.samples()["auditor_collector_sender_state", "paused"] == 1


def test_red_while_a_source_is_behind_its_limit(site: Watched):
    """More than `source_limit_s` of accounting is not read yet."""
    with (site.folder / "my_package.py").open("a") as plugin:
        plugin.write("\nfrom collector.source import Lag\n")
        plugin.write("JsonLinesSource.lag = lambda self, checkpoint: Lag(7200, None)\n")
    site.log(1)
    with service(site):
        red(site, "source jobs: 2 h behind\n")


def test_red_while_the_disk_is_nearly_full(tmp_path: Path, auditor: RunningAuditor):
    """A real file system that fills up: how much is free, and where; green when there is room."""
    with small_disk(tmp_path / "disk") as disk:
        site = Watched(tmp_path, auditor.url)
        text = site.config.read_text().replace("free_limit_bytes: 0", "free_limit_bytes: 2000000")
        site.config.write_text(text.replace(f"{tmp_path}/outbox.db", f"{disk}/outbox.db"))
        site.log(1)
        with service(site) as (process, _):
            green(site)
            (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 1_000_000))
            red(site, f"are free in {disk}\n")
            (disk / "ballast").unlink()
            green(site)
            assert end(process) == 0


def test_a_dead_poll_leaves_no_page_behind(site: Watched):
    """The process ends with its thread: nothing says that all is well."""
    site.log(1)
    with service(site) as (process, _):
        green(site)
        with sqlite3.connect(site.folder / "outbox.db") as sql:
            sql.execute("DROP TABLE counts")
        sql.close()
        site.log(2)
        assert process.wait(LIMIT_S) not in (0, 78)
    assert site.get("/healthz")[0] == 0


def test_the_textfile_is_red_with_the_page(site: Watched):
    """`auditor_collector_healthy` is what /healthz says; instants of the last success are there."""
    site.limits = ", source_limit_s: 0.5"
    site.write_config()
    file = site.folder / "collector.prom"
    with service(site) as (process, _):
        red(site, "source jobs: last good poll never")
        eventually(lambda: samples(file.read_text())["auditor_collector_healthy", ""] == 0)
        site.log(1)
        green(site)
        successes = {
            (f"auditor_collector_{name}_last_success_timestamp_seconds", label)
            for name, label in (("source", "jobs"), ("sender", ""))
        }
        # The sender's first success may be a pass later than the green page.
        eventually(lambda: successes <= samples(file.read_text()).keys())
        eventually(lambda: samples(file.read_text())["auditor_collector_healthy", ""] == 1)
        assert end(process) == 0
    found = samples(file.read_text())
    for success in successes:
        assert 0 < found[success] <= file.stat().st_mtime + 1
