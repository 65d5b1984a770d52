"""The daemon brings every job into the Auditor, once, and ends when it is told to."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor, start_auditor
from tests.helpers.site import LIMIT_S, Site, end, eventually
from tests.helpers.stored import ids, names


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    return Site(tmp_path, auditor.url)


@pytest.fixture
def daemon(site: Site) -> Iterator[subprocess.Popen[str]]:
    """A daemon that polls ten times a second."""
    with site.start("run") as process:
        yield process
        process.kill()


def test_jobs_reach_the_auditor_as_they_are_written(
    site: Site, auditor: RunningAuditor, daemon: subprocess.Popen[str]
):
    """What is there at the start, and what comes later; each with its times and amounts."""
    site.log(*range(10))
    eventually(lambda: ids(auditor) == names(*range(10)))
    site.log(*range(10, 2500))
    eventually(lambda: len(ids(auditor)) == 2500)
    with auditor.client() as client:
        record = client.get_single_record("jobs-17")
    assert record.runtime == 60
    assert record.meta is not None
    assert record.meta["user"] == ["alice"]
    assert [(one.name, one.amount) for one in record.components] == [("Cores", 2)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(site: Site, auditor: RunningAuditor, number: int):
    """Exit status 0; what waits is still there and is sent by the next start."""
    site.log(*range(3))
    process = site.start("run")
    eventually(lambda: len(ids(auditor)) == 3)
    assert end(process, number) == 0
    assert '"stopped"' in site.said()
    site.log(3)
    process = site.start("run")
    eventually(lambda: ids(auditor) == names(*range(4)))
    assert end(process) == 0


def test_systemd_is_told_of_start_and_end(site: Site, tmp_path: Path):
    """READY when everything runs, STOPPING when it is to end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_S)
        site.log(1)
        process = site.start("run", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert b"READY=1" in manager.recv(4096)
        assert end(process) == 0
        said = b""
        while b"STOPPING=1" not in said:
            said = manager.recv(4096)


def test_a_broken_source_takes_nothing_else_down(site: Site, auditor: RunningAuditor):
    """It is told once, stands in the status, and works again as soon as it can be read."""
    site.logs = ["jobs", "broken"]
    site.write_config()
    site.log(1)
    process = site.start("run")
    eventually(lambda: ids(auditor) == names(1))
    eventually(lambda: "cannot be read" in site.said())
    site.log(2)
    eventually(lambda: ids(auditor) == names(1, 2))
    assert site.said().count("source cannot be read") == 1
    sources = json.loads(site.run("status", "--json").stdout)["sources"]
    assert "broken.jsonl" in sources["broken"]["last_error"]
    assert sources["jobs"]["last_error"] is None
    site.log(7, name="broken")
    eventually(lambda: ids(auditor) == sorted(names(1, 2) + names(7, prefix="broken")))
    eventually(lambda: "source works again" in site.said())
    assert end(process) == 0


def test_an_auditor_that_is_away_is_told_once_and_loses_nothing(tmp_path: Path):
    """Killed and started again: each change is logged once, and every job arrives."""
    auditor = start_auditor(tmp_path / "auditor.db")
    site = Site(tmp_path, auditor.url)
    site.log(*range(5))
    process = site.start("run")
    eventually(lambda: len(ids(auditor)) == 5)
    auditor.kill()
    site.log(*range(5, 10))
    eventually(lambda: json.loads(site.run("status", "--json").stdout)["waiting"] == 5)
    auditor = start_auditor(tmp_path / "auditor.db", listen=auditor.url.removeprefix("http://"))
    eventually(lambda: ids(auditor) == names(*range(10)))
    assert end(process) == 0
    auditor.stop()


def test_a_second_daemon_on_the_same_outbox_refuses(site: Site, daemon: subprocess.Popen[str]):
    """Its message names the outbox and the process that has it."""
    site.log(1)
    eventually(lambda: "started" in site.said())
    second = site.run("run")
    assert second.returncode == 1
    assert "outbox.db" in second.stderr
    assert str(daemon.pid) in second.stderr


def test_a_job_that_cannot_be_mapped_is_kept_and_stops_nothing(site: Site, auditor: RunningAuditor):
    """It stands in the rejected table with its reason; the others are sent."""
    site.log(1)
    site.log(2, cores=-1)
    site.log(3, cores="many")
    site.log(4)
    process = site.start("run")
    eventually(lambda: ids(auditor) == names(1, 4))
    status = json.loads(site.run("status", "--json").stdout)
    assert status["rejected"] == {"unmappable": 2}
    assert status["sources"]["jobs"]["counts"]["unmappable"] == 2
    assert end(process) == 0


def test_a_configuration_with_mistakes_does_not_start(site: Site):
    """All of them are told; the exit status is 78, on which systemd does not start it again."""
    site.config.write_text("sources: [{name: a, plugin: jsonlines, record_prefix: no}]\nlogs: {}")
    process = site.run("run")
    assert process.returncode == 78
    for words in (
        "sources[0].record_prefix",
        "sources[0].log: missing",
        'mean "log"',
        "3 mistakes",
    ):
        assert words in process.stderr
    assert not (site.folder / "outbox.db").exists()
