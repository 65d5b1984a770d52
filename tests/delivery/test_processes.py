"""Whole commands, as a person or the system runs them, through faults."""

import contextlib
import shlex
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from collector.clock import utc_now
from collector.config import load
from collector.daemon.health import Reload
from collector.daemon.poll import Poll
from collector.daemon.runtime import Runtime
from collector.daemon.signals import Events
from collector.outbox import Outbox
from collector.pipeline.assemble import assemble
from collector.pipeline.sources import make_sources
from collector.source import find_plugin
from tests.delivery.faulty_auditor import Answer, FaultyAuditor, faulty_auditor
from tests.helpers.site import Site, end, eventually
from tests.slurm.standin import program, standin

PERIOD = ("--since", "2026-01-01", "--until", "2026-01-02")
CAPTURED = ("--since", "2026-11-22", "--until", "2026-11-25")


@pytest.fixture
def auditor(behind: str) -> Iterator[FaultyAuditor]:
    with faulty_auditor(behind) as faulty:
        yield faulty


@pytest.mark.slow
def test_a_backfill_does_not_wait_for_ever_for_a_record_that_is_refused_for_ever(
    tmp_path: Path, auditor: FaultyAuditor
):
    """It ends, with the record among the rejected ones and exit status 1."""
    site = Site(tmp_path, auditor.url, logs=["poison"])
    site.log(*range(3), name="poison")
    poison = Answer(500, b"UNEXPECTED_ERROR")
    auditor.script = lambda request: poison if b'"poison-1"' in request.body else None
    result = site.run("backfill", *PERIOD)
    assert result.returncode == 1
    assert "1  rejected" in result.stdout
    assert "0  waiting" in result.stdout
    assert "refused  poison-1" in site.run("rejected", "list").stdout


def test_a_damaged_outbox_is_told_of_and_its_jobs_arrive(tmp_path: Path, auditor: FaultyAuditor):
    """The log names the file that was kept; the source is read again; the status says it sends."""
    site = Site(tmp_path, auditor.url, logs=["damaged"])
    site.log(*range(5), name="damaged")
    (tmp_path / "outbox.db").write_bytes(b"no database" * 1000)
    process = site.start("run")
    try:
        eventually(lambda: auditor.count("POST /records") >= 1)
        eventually(lambda: "waiting  0 " in site.run("status").stdout)
    finally:
        assert end(process) == 0
    (kept,) = tmp_path.glob("outbox.db.damaged-*Z")
    told = [line for line in site.said().splitlines() if str(kept) in line]
    assert len(told) == 1
    assert auditor.count("POST /records") >= 1


def test_a_poll_whose_end_cannot_be_noted_has_stored_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An outbox that is in trouble for that moment ends neither poll nor daemon."""
    monkeypatch.syspath_prepend(tmp_path)
    site = Site(tmp_path, "http://127.0.0.1:1")
    site.log(*range(5))
    log, stop = structlog.get_logger(), threading.Event()
    (mapped,) = make_sources(load(site.config, find_plugin), log, stop)
    with Outbox.open(tmp_path / "outbox.db", now=utc_now) as outbox:
        outbox._connection.execute(
            "CREATE TEMP TRIGGER trouble BEFORE INSERT ON main.sources WHEN new.success_us NOT NULL"
            " BEGIN SELECT raise(ABORT, 'trouble'); END"
        )
        poll = Poll(mapped, outbox, stop, log, utc_now)
        assert poll(lambda: None) == "ok"
        assert outbox.status().waiting == 5
        assert outbox.status().sources["jobs"].last_success_at is None
        outbox._connection.execute("DROP TRIGGER trouble")
        assert poll(lambda: None) == "ok"
        assert outbox.status().sources["jobs"].last_success_at is not None


def test_a_clock_that_is_set_back_stalls_neither_sources_nor_sender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auditor: FaultyAuditor
):
    """The scheduler goes by the clock: after a step back of an hour it would wait for an hour."""
    monkeypatch.syspath_prepend(tmp_path)
    site = Site(tmp_path, auditor.url, logs=["back"])
    site.log(1, name="back")
    config, log, stop = load(site.config, find_plugin), structlog.get_logger(), threading.Event()
    with (
        assemble(config, log, stop) as parts,
        contextlib.closing(Events()) as events,
        Runtime(
            config, parts, stop, events=events, reload=Reload(utc_now()), log=log, now=utc_now
        ) as runtime,
    ):
        eventually(lambda: auditor.count("POST /records") == 1)
        for job in runtime._scheduler.get_jobs():
            job.modify(next_run_time=utc_now() + timedelta(hours=1))
        runtime._clock_s += 3600
        site.log(2, name="back")
        runtime.correct_clock_jump()
        eventually(lambda: auditor.count("POST /records") == 2)


class SlurmSite(Site):
    """A site whose `sacct` is killed in the middle of its answer, as often as is said."""

    def kill(self, sacct: str, times: int) -> str:
        """A `sacct` that is killed so many times, later and later in its answer."""
        count = shlex.quote(str(self.folder / "killed"))
        return program(
            self.folder,
            f"n=$(cat {count} 2>/dev/null || echo 0)\n"
            f'[ "$n" -ge {times} ] && exec {shlex.quote(sacct)} "$@"\n'
            f"echo $((n + 1)) > {count}\n"
            f'{shlex.quote(sacct)} "$@" | head -c $((n * 3000))\n'
            "kill -9 $$",
        )

    def configure(self, sacct: str) -> None:
        lines = self.config.read_text().splitlines()
        lines[1] = (
            f"  - {{name: s, plugin: slurm, record_prefix: {self.folder.name}, sacct: {sacct},"
            " window_s: 1000000000}"
        )
        self.config.write_text("\n".join(lines))


@pytest.mark.slow
def test_a_source_command_that_is_killed_in_its_answer_loses_nothing(
    tmp_path: Path, auditor: FaultyAuditor
):
    """What it had printed is not taken for all; repeated, all is there."""
    stored = []
    for name, kills in (("killed", 2), ("undisturbed", 0)):
        folder = tmp_path / name
        (folder / "real").mkdir(parents=True)
        site = SlurmSite(folder, auditor.url)
        site.configure(site.kill(standin(folder / "real"), kills))
        for _ in range(kills):
            result = site.run("backfill", *CAPTURED)
            assert result.returncode == 1
            assert "broke off" in result.stderr
        assert site.run("backfill", *CAPTURED).returncode == 0
        period = ("--since", "2026-11-22", "--until", "2026-11-25")
        stored.append(site.run("reconcile", *period).stdout)
    assert stored[0] == stored[1]
    assert "equal" in stored[0]
