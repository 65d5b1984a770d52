"""The client with a queue: what it took is on disk, and reaches the Auditor once."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.auditor import AuditorClientBuilder, Component, QueuedAuditorClient, Record
from collector.record import InvalidRecordError
from tests.helpers.auditor_server import RunningAuditor, start_auditor

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(number: int, *, stop: bool = True) -> Record:
    made = Record(f"r{number}", START).with_component(Component("Cores", 8))
    return made.with_stop_time(START + timedelta(hours=1)) if stop else made


def builder(url: str, path: Path, interval_s: float = 0.05) -> AuditorClientBuilder:
    made = AuditorClientBuilder().connection_string(url).timeout(5)
    return made.database_path(str(path)).send_interval(interval_s)


async def sent(client: QueuedAuditorClient) -> None:
    """Returns when nothing waits any more."""
    for _ in range(1000):
        if not client.waiting():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it still waits")


def play(play_it: Callable[[QueuedAuditorClient], Awaitable[None]], made: AuditorClientBuilder):
    async def run() -> None:
        client = await made.build_queued()
        try:
            await play_it(client)
        finally:
            await client.stop()

    asyncio.run(run())


def held(auditor: RunningAuditor) -> dict[str, bool]:
    """Record id → whether it has a stop time."""
    with auditor.client() as client:
        return {one.record_id: one.stop_time is not None for one in client.advanced_query("")}


def test_what_is_added_and_updated_reaches_the_auditor(
    auditor: RunningAuditor, tmp_path: Path
) -> None:
    """By add, bulk_insert, add again with a stop time, and update."""

    async def adds(client: QueuedAuditorClient) -> None:
        assert await client.health_check()
        await client.add(record(1))
        await client.add(record(2, stop=False))
        await client.bulk_insert([record(3, stop=False), record(4)])
        await sent(client)
        await client.add(record(2))
        await client.update(record(3))
        with pytest.raises(InvalidRecordError, match="no stop time"):
            await client.update(record(5, stop=False))
        await sent(client)
        assert (await client.get_single_record("r3")).stop_time is not None
        assert len(await client.advanced_query("")) == 4

    play(adds, builder(auditor.url, tmp_path / "queue.db"))
    assert held(auditor) == {f"r{number}": True for number in (1, 2, 3, 4)}


def test_a_run_that_somebody_else_stored_without_its_stop_time_is_updated(
    auditor: RunningAuditor, tmp_path: Path
) -> None:
    """The queue does not know it, the Auditor does."""
    with auditor.client() as client:
        client.add(record(1, stop=False))
    play(lambda client: client.update(record(1)), builder(auditor.url, tmp_path / "queue.db"))
    assert held(auditor) == {"r1": True}


def test_an_outage_and_a_restart_lose_nothing(tmp_path: Path) -> None:
    """Added while nobody listens, by one client; sent by the next one, with what it adds."""
    auditor = start_auditor(tmp_path / "auditor.db")
    auditor.kill()
    path = tmp_path / "queue.db"
    play(lambda client: client.bulk_insert(map(record, range(10))), builder(auditor.url, path))
    auditor = start_auditor(tmp_path / "auditor.db", listen=f"127.0.0.1:{auditor.port}")
    try:
        play(lambda client: client.add(record(10)), builder(auditor.url, path))
        assert set(held(auditor)) == {f"r{number}" for number in range(11)}
    finally:
        auditor.kill()


def test_a_kill_loses_nothing_that_add_returned_from(
    auditor: RunningAuditor, tmp_path: Path
) -> None:
    """SIGKILL after each add; the next life sends it."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from datetime import UTC, datetime\n"
        "from collector.auditor import AuditorClientBuilder, Record\n"
        "async def run():\n"
        "    made = AuditorClientBuilder().address('127.0.0.1', 9).database_path(sys.argv[1])\n"
        "    client = await made.build_queued()\n"
        "    await client.add(Record(f'r{sys.argv[2]}', datetime(2026, 1, 31, 12, tzinfo=UTC)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(run())\n"
    )
    path = tmp_path / "queue.db"
    for number in range(2):
        done = subprocess.run([sys.executable, "-c", program, str(path), str(number)], check=False)
        assert done.returncode == -signal.SIGKILL
    play(lambda client: client.add(record(2)), builder(auditor.url, path))
    assert set(held(auditor)) == {"r0", "r1", "r2"}


def test_a_record_that_is_refused_stops_no_other(auditor: RunningAuditor, tmp_path: Path) -> None:
    """A collision is kept; what comes after it arrives."""
    other = Record("r1", START + timedelta(days=1)).with_component(Component("Cores", 1))
    with auditor.client() as client:
        client.add(other)
    play(
        lambda client: client.bulk_insert([record(1), record(2)]),
        builder(auditor.url, tmp_path / "queue.db"),
    )
    assert set(held(auditor)) == {"r1", "r2"}


def test_without_a_path_the_queue_ends_with_the_client(auditor: RunningAuditor) -> None:
    """As in the public package, where it is in memory."""
    made = AuditorClientBuilder().address("127.0.0.1", auditor.port).send_interval(1)
    play(lambda client: client.add(record(1)), made)
    assert held(auditor) == {"r1": True}
