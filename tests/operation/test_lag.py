"""A source that falls behind, paused or failing, is told before the schedd removes its log."""

import json
import threading
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from collector.clock import utc_now
from collector.config import Config, OutboxSection, mapping_of
from collector.daemon import health
from collector.daemon.poll import Poll
from collector.outbox import (
    Outbox,
    Outcome,
    Verdict,
)
from collector.pipeline.sources import MappedSource
from collector.source import Lag, find_plugin
from collector.source.testing import context
from collector_htcondor import rotation
from collector_htcondor.source import HTCondorSection, HTCondorSource
from tests.helpers.auditor_server import start_auditor
from tests.helpers.site import NOBODY, eventually
from tests.htcondor.schedd import START, Schedd, ad
from tests.operation.manager import service
from tests.operation.paused import Paused

T = START + 10_000


class Site:
    """A schedd, the poll of its history, and an outbox that takes few records."""

    def __init__(self, folder: Path) -> None:
        self.now_s = T
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.schedd = Schedd(self.spool)
        path = folder / "outbox.db"
        self.limits = OutboxSection(path=path, max_records=1, min_free_bytes=0)
        self.outbox = Outbox.open(path, now=self.now, limits=self.limits)
        self.section = HTCondorSection(
            name="ap1", plugin="htcondor", record_prefix="ap1", history=self.schedd.history
        )
        given = context()
        given.now = self.now
        mapping = mapping_of(self.section, find_plugin("htcondor"))
        self.source = HTCondorSource(self.section, given)
        self.logs = structlog.testing.LogCapture()
        log = structlog.wrap_logger(
            None, [self.logs], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self.poll = Poll(
            MappedSource(self.source, mapping), self.outbox, threading.Event(), log, self.now
        )
        self.started_at = self.now()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def job(self, cluster: int) -> None:
        self.schedd.append(ad(cluster, EnteredCurrentStatus=self.now_s))

    def sent(self) -> None:
        """The Auditor takes all that waits."""
        waiting = self.outbox.take(1000, 10**9, self.now())
        self.outbox.settle([Verdict(one, Outcome.SENT) for one in waiting])

    def polls(self) -> str:
        return self.poll(lambda: None)

    def errors(self) -> list[MutableMapping[str, Any]]:
        """What was logged as an error."""
        return [entry for entry in self.logs.entries if entry["log_level"] == "error"]

    def problems(self) -> list[str]:
        """What is wrong with the source."""
        look = health.Look(
            Config(sources=[self.section]),
            self.outbox.status(),
            [self.poll],
            [],
            self.outbox,
            health.Reload(self.started_at),
            hanging_s=health.HANGING_S,
            started_at=self.started_at,
            now=self.now(),
        )
        found = health.judge(look).problems
        return [one for one in found if one.startswith("source")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.outbox:
        yield site


def test_a_source_that_reads_all_is_not_behind(site: Site):
    """However long nothing happens."""
    site.job(1)
    assert site.polls() == "ok"
    assert site.poll.lag == Lag(0)
    site.now_s += 100_000
    assert site.polls() == "ok"
    assert site.poll.lag == Lag(0)
    assert not site.problems()


def test_a_paused_source_falls_behind_and_is_told_before_jobs_are_lost(site: Site):
    """The outbox is full, the schedd goes on: red while everything unread is still there."""
    site.job(1)
    site.polls()
    told: list[bool] = []
    there: list[bool] = []
    for cluster in range(2, 8):
        site.now_s += 600
        site.schedd.rotate()
        site.job(cluster)
        site.now_s += 60
        assert site.polls() == "failed"
        assert site.poll.lag is not None
        told.append(any("jobs will be lost" in one for one in site.problems()))
        texts = [path.read_bytes() for path in site.spool.glob("history*")]
        there.append(any(b"ClusterId = 2\n" in text for text in texts))
    assert told == sorted(told)
    assert told[0] is False
    assert told[there.index(False) - 1], "told one file before the first job was lost"


def test_the_lag_of_a_paused_source_grows(site: Site):
    """As old as the first job that it could not take, until there is room again."""
    site.job(1)
    site.polls()
    site.now_s += 10
    site.job(2)
    for behind_s in (0, 60, 3600):
        site.now_s = T + 10 + behind_s
        assert site.polls() == "failed"
        assert site.poll.lag == Lag(behind_s)
    assert "source ap1: 1 h behind" not in site.problems()
    site.now_s = T + 10 + 7200
    site.polls()
    assert "source ap1: 2 h behind" in site.problems()
    site.sent()
    assert site.polls() == "ok"
    assert site.poll.lag == Lag(0)


def test_a_source_that_cannot_be_read_falls_behind_by_the_clock(site: Site):
    """Nothing is read, so what ended since the last look is not: red before it is removed."""
    site.job(1)
    site.now_s += 7200
    site.schedd.rotate()
    site.job(2)
    site.limits.max_records = 10
    site.polls()
    assert site.poll.lag == Lag(0, 7200)
    away = site.spool.rename(site.spool.with_name("away"))
    for behind_s in (600, 1200, 3600, 3660):
        site.now_s = T + 7200 + behind_s
        assert site.polls() == "failed"
        assert site.poll.lag == Lag(behind_s, 7200)
        lost = "source ap1: 61 min behind, and its log keeps 2 h only: jobs will be lost "
        assert any(one.startswith(lost) for one in site.problems()) == (behind_s == 3660)
    away.rename(site.spool)
    assert site.polls() == "ok"
    assert site.poll.lag == Lag(0, 7200 + 3660)
    assert [told["event"] for told in site.errors()] == ["source cannot be read"]


def test_a_long_poll_tells_its_lag_meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch):
    """A backlog of hours is seen to shrink."""
    monkeypatch.setattr(rotation, "CHUNK_BYTES", 2000)
    site.limits.max_records = 1000
    for cluster in range(1, 40):
        site.now_s += 10
        site.job(cluster)
    seen: list[float] = []

    def progressed() -> None:
        site.now_s += 100
        if site.poll.lag is not None:
            seen.append(site.poll.lag.behind_s - (site.now_s - T))  # minus the age of the oldest

    assert site.poll(progressed) == "ok"
    assert len(set(seen)) > 5
    assert seen == sorted(seen, reverse=True)
    assert site.poll.lag == Lag(0)


def test_a_mistake_in_a_plugins_lag_is_told_and_kills_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    """The jobs are stored; the poll is called failed, once in the log."""

    def lag(checkpoint: object) -> Lag:
        raise ZeroDivisionError(checkpoint)

    monkeypatch.setattr(site.source, "lag", lag)
    site.job(1)
    assert [site.polls(), site.polls()] == ["failed", "failed"]
    assert site.outbox.status().waiting == 1
    [told] = site.errors()
    assert told["error"].startswith("ZeroDivisionError")


def test_a_little_that_is_unread_is_no_alarm_however_little_is_kept(site: Site):
    """What the next poll will read: the schedd rotated between a poll and the look at its lag."""
    site.poll.lag = Lag(30, 30)
    assert not site.problems()
    site.poll.lag = Lag(61, 61)
    [problem] = site.problems()
    assert "jobs will be lost" in problem


# ------------------------------------------------------------------ the daemon, the status


def test_the_daemon_and_the_status_tell_of_a_paused_source(tmp_path: Path):
    """In /healthz, in the metrics, and by the command; all is well when the Auditor is back."""
    auditor = start_auditor(tmp_path / "auditor.db")
    auditor.kill()
    site = Paused(tmp_path, auditor.url)
    site.rotate_unread()
    with service(site):
        lost = "source ap1: 2 h behind, and its log keeps 2 h only: jobs will be lost "
        eventually(lambda: lost in site.get("/healthz")[1])
        assert site.get("/healthz")[0] == 503
        seen = site.samples()
        assert 9_000 <= seen["auditor_collector_source_behind_seconds", "ap1"] < 9_100
        assert 10_000 <= seen["auditor_collector_source_kept_seconds", "ap1"] < 10_100
        assert "\n  behind        2 h, of 2 h that the log keeps\n" in site.run("status").stdout
        lag = json.loads(site.run("status", "--json").stdout)["sources"]["ap1"]["lag"]
        assert 9_000 <= lag["behind_s"] < 9_100
        auditor = start_auditor(tmp_path / "auditor.db", listen=auditor.url.removeprefix("http://"))
        behind = "auditor_collector_source_behind_seconds", "ap1"
        eventually(lambda: site.samples().get(behind) == 0)
        eventually(lambda: site.get("/healthz") == (200, "all is well\n"))
        assert "\n  behind        0 s, of 2 h that the log keeps\n" in site.run("status").stdout
    auditor.stop()


def test_the_status_works_when_a_source_cannot_be_read(tmp_path: Path):
    """It says so in the place of the lag, and all else as always."""
    site = Paused(tmp_path, NOBODY)
    (tmp_path / "history").mkdir()
    with Outbox.open(tmp_path / "outbox.db", now=utc_now) as outbox:
        outbox.note_poll("ap1", ok=True, message="", now=utc_now())
    said = site.run("status")
    assert said.returncode == 0
    assert "\n  behind        not known: " in said.stdout
    assert "cannot" in said.stdout
    assert json.loads(site.run("status", "--json").stdout)["sources"]["ap1"]["lag"] is None
