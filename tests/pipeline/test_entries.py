"""One way from a job to its record, and whatever one job does costs that job alone."""

import copy
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from collector.clock import utc_now
from collector.config import OutboxSection, SourceSection, mapping_of
from collector.job import Job
from collector.mapping.rules import Condition
from collector.outbox import NewRecord, Outbox, Outcome, Unmappable
from collector.pipeline.backfill import dry_run
from collector.pipeline.collect import Collected, store
from collector.pipeline.entries import Entry, Read, entries_of
from collector.pipeline.sources import MappedSource
from collector.source import Batch, Checkpoint, Context, Filtered, Finding, Source, Unreadable

START = datetime(2026, 1, 1, tzinfo=UTC)


class Given(Source):
    """A source that has what a test gives it."""

    mapping = "{meta: {user: user}, components: {Cores: cores}}"
    batch = Batch()

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        raise NotImplementedError

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        yield self.batch

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        raise NotImplementedError

    def check(self) -> Iterator[Finding]:
        raise NotImplementedError


class BrokenText:
    """What a job was read from, and cannot be written down."""

    def __bytes__(self) -> bytes:
        raise RuntimeError("no text")


class BrokenFields(dict[str, Any]):
    """Fields whose look-up fails in a way that nobody foresaw."""

    def get(self, *_: object) -> Any:
        raise RecursionError("too deep")


def job(number: int, **fields: Any) -> Job:
    stop = START + timedelta(hours=1)
    return Job(str(number), START, stop, {"user": "alice", "cores": 2, **fields}, b"raw", "log:1")


def mapped(**keys: Any) -> MappedSource:
    section = SourceSection(name="s", plugin="given", record_prefix="p", **keys)
    context = Context("s", structlog.get_logger(), utc_now, threading.Event())
    return MappedSource(Given(section, context), mapping_of(section, Given))


def changed(change: Callable[[Job], None]) -> Job:
    found = job(2)
    change(found)
    return found


def _without_text(one: Job) -> None:
    one.raw, one.fields = BrokenText(), {"user": "a"}


BAD: dict[str, Callable[[Job], None]] = {
    "no number": lambda one: setattr(one, "fields", {"user": "a", "cores": "many"}),
    "no fields": lambda one: setattr(one, "fields", None),
    "fields that fail": lambda one: setattr(one, "fields", BrokenFields()),
    "a naive start": lambda one: setattr(one, "start_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - what is tried
    "a naive stop": lambda one: setattr(one, "stop_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - likewise
    "a stop before its start": lambda one: setattr(one, "stop_at", START - timedelta(1)),
    "text that fails": _without_text,
    "an id that is blank": lambda one: setattr(one, "id", "\0"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("filters", [False, True])
def test_a_bad_job_costs_itself_alone(name: str, filters: bool):
    """Whether a filter, a rule, the encoding or its own text fails."""
    keys: dict[str, Any] = {"since": START - timedelta(days=1)} if filters else {}
    if filters:
        keys["only_if"] = [Condition(field="user", matches="a")]
    found = list(entries_of([job(1), changed(BAD[name]), job(3)], mapped(**keys)))
    assert [type(entry) for entry in found] == [NewRecord, Unmappable, NewRecord]
    assert isinstance(found[1], Unmappable)
    assert found[1].reason
    assert found[1].raw


def test_each_job_has_one_entry_in_order():
    """Filtered by the plugin, `since` or `only_if`; unreadable; or a record."""
    source = mapped(since=START, only_if=[Condition(field="user", matches="alice")])
    old = changed(lambda one: setattr(one, "stop_at", START - timedelta(hours=1)))
    read: list[Read] = [
        job(1),
        old,
        job(3, user="bob"),
        Unreadable(b"x", "log:2", "torn"),
        Filtered("y"),
    ]
    found: list[Entry] = list(entries_of(read, source))
    assert isinstance(found[0], NewRecord)
    assert found[0].record_id == "p-1"
    assert found[1:] == [
        Filtered("ended before since"),
        Filtered("only_if user"),
        Unmappable(None, "torn", b"x", "log:2"),
        Filtered("y"),
    ]


@pytest.fixture
def batch() -> Batch:
    return Batch(
        jobs=[job(1), job(2, cores="many"), job(3)],
        unreadable=[Unreadable(b"x", "log:2", "torn")],
        filtered={"never started": 2},
        checkpoint=7,
    )


def test_a_batch_is_given_back_as_it_was(batch: Batch, tmp_path: Path):
    """A plugin may look at what it has yielded, and a test compare it."""
    before = copy.deepcopy(batch)
    limits = OutboxSection(min_free_bytes=0)
    with Outbox.open(tmp_path / "outbox.db", now=utc_now, limits=limits) as outbox:
        store(batch, mapped(), outbox, Collected(), origin="poll")
    assert batch == before


def test_a_dry_run_says_what_happens(batch: Batch, tmp_path: Path):
    """The same outcomes as the run without `--dry-run`, and the reasons."""
    source, total = mapped(), Collected()
    assert isinstance(source.source, Given)
    source.source.batch = batch
    said, reasons = dry_run([source], START, START, lambda *_: None)
    limits = OutboxSection(min_free_bytes=0)
    with Outbox.open(tmp_path / "outbox.db", now=utc_now, limits=limits) as outbox:
        store(batch, source, outbox, total, origin="poll")
    assert said.counts() == total.counts()
    assert said.outcomes == {Outcome.QUEUED: 2, Outcome.FILTERED: 2, Outcome.UNMAPPABLE: 2}
    assert reasons["never started"] == 2
    assert reasons["torn"] == 1
