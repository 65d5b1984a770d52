"""A power cut at any moment: the outbox's files are copied between any two SQL statements."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
)
from tests.delivery.world import LIMITS, NOW, World

BATCHES, BATCH = 6, 10
SUFFIXES = ("", "-wal")


@dataclass
class Camera:
    """Copies the files of an outbox at every statement that it runs."""

    world: World
    folder: Path
    moments: list[Path] = field(default_factory=list)

    def __call__(self, _statement: str) -> None:
        moment = self.folder / str(len(self.moments))
        moment.mkdir(parents=True)
        for suffix in SUFFIXES:
            file = Path(f"{self.world.outbox.path}{suffix}")
            if file.exists():
                shutil.copy(file, moment / f"outbox.db{suffix}")
        self.moments.append(moment)


def entries(world: World, batch: int, *, stop: bool) -> list[NewRecord]:
    numbers = range(batch * BATCH, (batch + 1) * BATCH)
    return [NewRecord.of(world.record(number, stop=stop)) for number in numbers]


def read_from(world: World, outbox: Outbox) -> Iterator[None]:
    """A source: batch after batch from the checkpoint, half of the jobs first open, then ended."""
    for step in range(outbox.checkpoint("s") or 0, 2 * BATCHES):
        batch, ended = divmod(step, 2)
        outbox.put(Intake("s", entries(world, batch, stop=bool(ended)), checkpoint=step + 1))
        yield


def play(world: World, outbox: Outbox) -> None:
    for step, _ in enumerate(read_from(world, outbox)):
        if step % 3 == 2:
            world.sender.run_pass()
    world.drain()


@pytest.fixture
def moments(world: World, tmp_path: Path) -> list[Path]:
    """Copies of the files at every moment of a delivery; the Auditor has got all of it."""
    world.settings.batch_records = 8
    camera = Camera(world, tmp_path / "moments")
    world.outbox._connection.set_trace_callback(camera)
    play(world, world.outbox)
    world.outbox._connection.set_trace_callback(None)
    assert len(world.held()) == BATCHES * BATCH
    return camera.moments


def resume(world: World, moment: Path) -> None:
    """Starts from a copy and goes on to the end."""
    with Outbox.open(moment / "outbox.db", now=lambda: NOW, limits=LIMITS) as outbox:
        assert outbox.set_aside is None
        put = (outbox.checkpoint("s") or 0) // 2 * BATCH
        known = outbox._connection.execute("SELECT count(*) FROM ledger").fetchone()[0]
        assert known >= put, "a checkpoint without its records"
        world.outbox = outbox
        world.restart_sender()
        play(world, outbox)
        status = outbox.status()
        assert (status.waiting, status.open_records, status.rejected) == (0, 0, {})
    assert world.holds(range(BATCHES * BATCH))


@pytest.mark.slow
def test_from_any_moment_everything_arrives_once(world: World, moments: list[Path]):
    """Records and checkpoint are there together or not at all, so going on from them is right."""
    original = world.outbox
    chosen = random.Random(17).sample(moments, 20)
    for moment in chosen:
        resume(world, moment)
    world.outbox = original


@pytest.mark.slow
def test_a_log_that_is_cut_short_at_any_byte_only_sets_the_clock_back(
    world: World, moments: list[Path]
):
    """What was not on the platters is gone, records and checkpoint together, and is read again."""
    original = world.outbox
    dice = random.Random(17)
    for moment in dice.sample(moments, 15):
        log = moment / "outbox.db-wal"
        if log.exists():
            with log.open("r+b") as file:
                file.truncate(dice.randrange(log.stat().st_size + 1))
        resume(world, moment)
    world.outbox = original
