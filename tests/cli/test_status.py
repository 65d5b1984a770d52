"""`status`, `rejected` and `outbox forget`: what an operator asks first."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from collector.clock import utc_now
from collector.config import load, outbox_of
from collector.outbox import Intake, NewRecord, Origin, Outbox, StopTime, Unmappable
from collector.source import find_plugin
from tests.helpers.site import NOBODY, Site


def record(name: str, *, ends: bool = True) -> NewRecord:
    """A record that began an hour ago."""
    start = utc_now().replace(microsecond=0) - timedelta(hours=1)
    stop = start + timedelta(minutes=1) if ends else None
    text = (
        f'{{"record_id":"{name}","start_time":"{start.isoformat()}","components":[],"meta":{{}}}}'
    )
    return NewRecord(name, start, stop, text.encode())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose source has read some jobs, as has one that is not configured any more."""
    site = Site(tmp_path, NOBODY)
    job = Unmappable("u1", "no cores", b"{}", "line 1")
    with Outbox.open(tmp_path / "outbox.db", now=utc_now) as outbox:
        opened, ended = record("r3", ends=False), record("r1")
        outbox.put(Intake("jobs", [ended, opened], read=2, checkpoint={"offset": 17}))
        stop = StopTime("r3", utc_now())
        outbox.put(Intake("jobs", [ended], [stop], [job], {"held": 2}, read=4))
        outbox.put(Intake("jobs", [record("r9")], origin=Origin.RETRY))
        outbox.put(Intake("old", [record("r2")], read=1, checkpoint=1))
    return site


def test_the_numbers_of_a_source_add_up(site: Site):
    """What was read is the sum of what became of it; a retry was counted when it was read."""
    said = site.run("status").stdout
    (line,) = re.findall(r"^  jobs +(6 read and 1 stop times, .+)$", said, re.MULTILINE)
    read, stops, *became = map(int, re.findall(r"\d+", line))
    assert read + stops == sum(became)
    assert "1 stop times merged" in line
    assert "offset" not in said
    assert '  checkpoint    {"offset":17}' in site.run("status", "-v").stdout


@pytest.mark.parametrize("damage", ["unknwon: 1\n", "sender: {interval_s: soon}\n"])
def test_looking_works_with_a_wrong_configuration(site: Site, damage: str):
    """One line says that it is wrong; the outbox is the one that it names."""
    site.config.write_text(site.config.read_text().replace("sender:", "xsender:") + damage)
    for command, expected in (
        (["status"], "\nsource jobs\n"),
        (["rejected", "list"], "no cores"),
        (["rejected", "show"], "no cores"),
    ):
        before = site.said()
        done = site.run(*command)
        assert done.returncode == 0
        assert expected in done.stdout
        assert re.fullmatch(
            r".+ mistakes?, which auditor-collector check shows; .+\n", site.said()[len(before) :]
        )
    assert site.run("rejected", "retry", "--all").returncode == 78


def test_what_cannot_be_read_at_all_has_the_default_outbox(tmp_path: Path):
    """Broken YAML, and no file."""
    (tmp_path / "broken.yaml").write_text("outbox: {path: [\n")
    for name in ("broken.yaml", "missing.yaml"):
        assert outbox_of(tmp_path / name) == Path("/var/lib/auditor-collector/outbox.db")


def test_a_service_without_an_outbox_path_uses_its_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Only where the configuration gives none."""
    config = tmp_path / "ap1.yaml"
    sources = "sources: [{name: a, plugin: htcondor, record_prefix: a, history: /h}]\n"
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/ap1:{tmp_path}/other")
    config.write_text(sources)
    assert load(config, find_plugin).outbox.path == tmp_path / "ap1/outbox.db"
    assert outbox_of(config) == tmp_path / "ap1/outbox.db"
    config.write_text(sources + "outbox: {path: /elsewhere/o.db}\n")
    assert load(config, find_plugin).outbox.path == Path("/elsewhere/o.db")


def test_a_source_that_is_not_configured_can_be_forgotten(site: Site):
    """It is marked, and gone after that; what waits of it is not; a configured one is kept."""
    said = site.run("status").stdout
    assert "\nsource jobs\n" in said
    assert "\nsource old (not configured; auditor-collector outbox forget)\n" in said
    assert site.run("outbox", "forget", "old").returncode == 0
    assert site.run("outbox", "forget", "old").returncode == 1
    assert site.run("outbox", "forget", "jobs").returncode == 1
    said = site.run("status").stdout
    assert "\nsource old" not in said
    assert "waiting  4 records" in said
    assert site.run("outbox", "forget", "jobs", "--force").returncode == 0
    assert "\nsource jobs" not in site.run("status").stdout
