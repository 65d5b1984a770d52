"""A disk that is really full, and one that is really read-only: small file systems of our own."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
    OutboxError,
    OutboxFullError,
)
from tests.delivery.world import LIMITS, NOW, World, new_world
from tests.helpers.small_disk import mount, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as path:
        yield path


@pytest.fixture
def world(disk: Path, behind: str) -> Iterator[World]:
    with new_world(disk, behind) as world:
        yield world


def fill(world: World, numbers: range) -> None:
    """One poll: a batch and its checkpoint."""
    entries = [NewRecord.of(world.record(number)) for number in numbers]
    world.outbox.put(Intake("here", entries, read=len(entries), checkpoint=numbers.stop))


def test_a_disk_that_fills_up_while_storing_stops_the_source_and_loses_nothing(
    world: World, disk: Path
):
    """The put that has no room leaves records and checkpoint as they were; with room it goes on."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(10_000_000))
    with pytest.raises(OutboxFullError, match="no room on the file system"):  # noqa: PT012 - which put it is depends on the disk
        for first in range(0, 20_000, 250):
            fill(world, range(first, first + 250))
    read = world.outbox.checkpoint("here")
    assert 0 < read < 20_000
    assert world.outbox.status().waiting == read
    ballast.unlink()
    fill(world, range(read, read + 250))
    world.drain()
    assert world.holds(range(read + 250))


def test_a_disk_that_is_full_while_settling_only_delays(world: World, disk: Path):
    """What was sent is found in the Auditor once there is room."""
    fill(world, range(250))
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        free = shutil.disk_usage(disk).free
        assert ballast.write(bytes(free)) == free
    for _ in range(5):
        assert world.sender.run_pass().state == "unreachable"
        world.time += timedelta(seconds=61)
    (disk / "ballast").unlink()
    world.drain()
    assert world.holds(range(250))
    status = world.outbox.status()
    assert (status.waiting, status.rejected) == (0, {})
    assert status.counts["here", "poll", "already_there", ""] >= 100


def test_a_file_system_that_is_mounted_read_only_is_told_and_loses_nothing(disk: Path, behind: str):
    """Commands that look, and the daemon, name the file; when it can be written, all is there."""
    path = disk / "outbox.db"

    def opened(*, create: bool = True) -> Outbox:
        return Outbox.open(path, now=lambda: NOW, limits=LIMITS, create=create)

    with new_world(disk, behind) as world:
        entries = [NewRecord.of(world.record(number)) for number in range(10)]
        with opened() as outbox:
            outbox.put(Intake("here", entries, checkpoint=10))
    mount("-o", "remount,ro", str(disk))
    for create in (True, False):
        with pytest.raises(OutboxError, match=f"{path}: cannot be .*ead-only"):
            opened(create=create)
    mount("-o", "remount,rw", str(disk))
    with opened() as outbox:
        assert outbox.set_aside is None
        assert (outbox.checkpoint("here"), outbox.status().waiting) == (10, 10)
