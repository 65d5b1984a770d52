"""What the daemon tells systemd, heard at the other end of the real socket."""

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import LIMIT_S, NOBODY, Site, end, eventually
from tests.helpers.stored import ids
from tests.operation.manager import service

IDLE = "idle: nothing waits; all is well"


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    return Site(tmp_path, auditor.url)


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of an Auditor that takes requests and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_start_passes_and_end_are_told(site: Site):
    """READY, then one line each pass, then STOPPING."""
    site.log(1)
    with service(site) as (process, manager):
        assert (
            manager.hear_until(lambda said: "READY" in said)[-1]["STATUS"] == "starting: 1 source"
        )
        manager.hear_until(lambda said: said.get("STATUS") == IDLE)
        process.send_signal(signal.SIGTERM)
        manager.hear_until(lambda said: said.get("STOPPING") == "1")
        assert process.wait(LIMIT_S) == 0


def test_the_status_says_what_waits_and_what_is_wrong(tmp_path: Path):
    """One line: how many, how old, and each problem in words."""
    site = Site(tmp_path, NOBODY, more="metrics: {waiting_limit_s: 0.1, source_limit_s: 0.1}\n")
    site.logs = ["jobs", "absent"]
    site.write_config()
    site.log(1, 2, 3)
    with service(site) as (_, manager):
        said = manager.hear_until(
            lambda said: (
                "a record has waited" in said.get("STATUS", "") and "never" in said["STATUS"]
            )
        )[-1]["STATUS"]
    assert said.startswith("unreachable: 3 records wait (oldest ")
    assert "source absent: last good poll never: cannot read" in said


def test_the_watchdog_is_fed_while_everything_gets_on(site: Site):
    """Twice in the time that systemd gives, also when there is nothing to do."""
    with service(site, WATCHDOG_USEC="1000000") as (_, manager):
        for _ in range(4):
            manager.hear_until(lambda said: said.get("WATCHDOG") == "1")


def test_a_watchdog_of_another_process_is_not_fed(site: Site):
    """WATCHDOG_PID names the process that systemd means."""
    with service(site, WATCHDOG_USEC="200000", WATCHDOG_PID="1") as (_, manager):
        heard = manager.hear_until(lambda said: "well" in said.get("STATUS", ""))
        heard += [manager.hear() or {} for _ in range(10)]
    assert not any("WATCHDOG" in said for said in heard)


def test_a_source_that_hangs_is_not_covered_up(site: Site):
    """A poll that gets nowhere stops the feeding, and feeding goes on when the poll does."""
    site.logs = ["jobs", "pipe"]
    site.write_config()
    os.mkfifo(site.folder / "pipe.jsonl")  # opening it waits for somebody who writes
    with service(site, WATCHDOG_USEC="1000000") as (_, manager):
        eventually(lambda: "hung; systemd restarts the service" in site.said())
        assert '"what":"pipe"' in site.said().replace('": "', '":"')
        manager.forget()
        heard = [manager.hear() or {} for _ in range(20)]
        assert not any("WATCHDOG" in said for said in heard)
        (site.folder / "pipe.jsonl").rename(site.folder / "away")
        with (site.folder / "away").open("wb"):
            manager.hear_until(lambda said: said.get("WATCHDOG") == "1")
    assert site.said().count("hung; systemd restarts the service") == 1


@pytest.mark.slow
def test_a_sender_that_hangs_is_not_covered_up(tmp_path: Path, mute: str):
    """An Auditor that never answers, with a long time-out of ours: no food meanwhile."""
    site = Site(tmp_path, mute)
    site.log(1)
    with service(site, WATCHDOG_USEC="1000000") as (_, manager):
        eventually(lambda: "hung; systemd restarts the service" in site.said())
        manager.forget()
        heard = manager.hear(1.5)
        assert heard is None or "WATCHDOG" not in heard


@pytest.mark.slow
def test_a_manager_that_reads_nothing_holds_up_nothing(site: Site, auditor: RunningAuditor):
    """Its socket fills up; records are sent all the same, and the end comes."""
    with service(site) as (process, _):
        for number in range(15):
            site.log(number)
            eventually(lambda number=number: f"jobs-{number}" in ids(auditor))  # type: ignore[misc]
        assert end(process) == 0


def test_a_dead_poll_ends_the_daemon(site: Site):
    """What no poll is meant to raise ends it with a failure, so that systemd starts anew."""
    with service(site) as (process, manager):
        manager.hear_until(lambda said: "well" in said.get("STATUS", ""))
        with sqlite3.connect(site.folder / "outbox.db") as sql:
            sql.execute("DROP TABLE counts")
        sql.close()
        site.log(1)
        assert process.wait(LIMIT_S) not in (0, 78)
    assert '"died"' in site.said()


@pytest.mark.slow
def test_time_is_asked_for_while_a_batch_is_in_flight(tmp_path: Path, mute: str):
    """EXTEND_TIMEOUT_USEC, until the request has ended one way or the other."""
    site = Site(tmp_path, mute)
    site.log(1)
    with service(site) as (process, manager):
        eventually(lambda: '"polled"' in site.said())
        time.sleep(0.3)  # the next pass takes the record up
        process.send_signal(signal.SIGTERM)
        heard = manager.hear_until(lambda said: "EXTEND_TIMEOUT_USEC" in said)
        assert any("STOPPING" in said for said in heard)
        assert int(heard[-1]["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
        assert process.wait(LIMIT_S) == 0


def test_a_reload_changes_sources_and_says_so(site: Site, auditor: RunningAuditor):
    """RELOADING with the monotonic time, then READY; the new source is read."""
    site.log(1)
    with service(site) as (process, manager):
        eventually(lambda: ids(auditor) == ["jobs-1"])
        site.logs = ["jobs", "more"]
        site.write_config()
        site.log(2, name="more")
        manager.forget()
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        process.send_signal(signal.SIGHUP)
        told = manager.hear_until(lambda said: said.get("RELOADING") == "1")[-1]
        assert before <= int(told["MONOTONIC_USEC"]) <= time.clock_gettime_ns(1) // 1000
        assert (
            manager.hear_until(lambda said: "READY" in said)[-1]["STATUS"] == "starting: 2 sources"
        )
        eventually(lambda: ids(auditor) == ["jobs-1", "more-2"])
        assert end(process) == 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("senders: {interval_s: 1}\n", "mean"),
        ("sources: [", "line"),
        ("metrics: {listen: 9817}\n", "metrics.listen"),
        ("metrics: {listen: nowhere}\n", "expected HOST:PORT"),
    ],
)
def test_a_wrong_configuration_changes_nothing(
    site: Site, auditor: RunningAuditor, more: str, why: str
):
    """The old one stays, the reason is told, and accounting goes on."""
    with service(site) as (process, manager):
        manager.hear_until(lambda said: "READY" in said)
        site.more = more
        site.write_config()
        process.send_signal(signal.SIGHUP)
        manager.hear_until(lambda said: "old one stays" in said.get("STATUS", ""))
        site.log(5)
        eventually(lambda: ids(auditor) == ["jobs-5"])
        assert end(process) == 0
    assert why in site.said()


def test_another_outbox_needs_a_restart(site: Site):
    """What waits in the old one would be left behind."""
    with service(site) as (process, manager):
        manager.hear_until(lambda said: "READY" in said)
        site.config.write_text(site.config.read_text().replace("outbox.db", "other.db"))
        process.send_signal(signal.SIGHUP)
        manager.hear_until(lambda said: "old one stays" in said.get("STATUS", ""))
        assert end(process) == 0
    assert "outbox.path" in site.said()
    assert "needs a restart" in site.said()
    assert not (site.folder / "other.db").exists()


def test_reloads_lose_no_job_and_count_none_twice(site: Site, auditor: RunningAuditor):
    """Twenty reloads, with other intervals each time, while jobs end."""
    with service(site) as (process, manager):
        manager.hear_until(lambda said: "READY" in said)
        text = site.config.read_text()
        for number in range(20):
            site.log(*range(50 * number, 50 * number + 50))
            site.config.write_text(text.replace("interval_s: 0.1", f"interval_s: 0.{number + 1}"))
            process.send_signal(signal.SIGHUP)
            manager.hear_until(lambda said: "READY" in said)
        eventually(lambda: len(ids(auditor)) == 1000)
        assert end(process) == 0
    assert ids(auditor) == sorted(f"jobs-{number}" for number in range(1000))
    assert site.said().count('"configuration changed"') == 20
