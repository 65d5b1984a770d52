"""The newest jobs of a source are read in bounded time, whatever its log holds."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import structlog

from collector.config import SourceSection
from collector.job import Job
from collector.pipeline.newest import NUMBER, newest_of
from collector.source import Batch, Checkpoint, Context, Finding, Source, Unreadable

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Log(Source):
    """A log with a job each `every`, which is read at `pause_s` a batch."""

    every, pause_s, asked = timedelta(minutes=1), 0.0, 0

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        raise NotImplementedError

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        self.asked += 1
        at = NOW - self.every * ((NOW - since) // self.every)
        while at < until:
            job = Job(at.isoformat(), at - timedelta(hours=1), at, {}, b"", "log")
            yield Batch(jobs=[job])
            at += self.every
            if self.context.stop.wait(self.pause_s):
                return

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        raise NotImplementedError

    def check(self) -> Iterator[Finding]:
        raise NotImplementedError


def log(**given: object) -> Log:
    section = SourceSection(name="s", plugin="log", record_prefix="p")
    context = Context("s", structlog.get_logger(), lambda: NOW, threading.Event())
    found = Log(section, context)
    for name, value in given.items():
        setattr(found, name, value)
    return found


def test_no_longer_period_is_read_than_needed():
    """A busy source is asked for some hours, an idle one for a month; always the newest."""
    busy, idle = log(), log(every=timedelta(days=1))
    jobs = newest_of(busy, busy.context.stop, 10)
    assert (len(jobs), busy.asked) == (NUMBER, 2)
    assert isinstance(jobs[-1], Job)
    assert jobs[-1].stop_at == NOW - timedelta(minutes=1)
    assert (len(newest_of(idle, idle.context.stop, 10)), idle.asked) == (31, 5)


def test_a_slow_source_is_judged_by_what_was_read_in_time():
    """`check` does not take minutes for a long log."""
    slow, began = log(pause_s=0.01), time.monotonic()
    jobs = newest_of(slow, slow.context.stop, 0.3)
    assert 0 < len(jobs) < NUMBER
    assert time.monotonic() - began < 10
