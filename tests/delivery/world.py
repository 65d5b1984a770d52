"""A small world for delivery: an outbox and a sender before an Auditor that misbehaves by script.

Each world has a day of its own in the one Auditor that all share, so that what the Auditor holds of
one world is a query away.
"""

import contextlib
import itertools
import threading
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.auditor.query import Operator, QueryBuilder, Value
from collector.config import OutboxSection, SenderSection
from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
    PutResult,
)
from collector.record import Component, Meta, Record, Score
from collector.sender import Pass, Sender
from tests.delivery.faulty_auditor import FaultyAuditor, faulty_auditor

_worlds = itertools.count()
FIRST_DAY = datetime(2001, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = SenderSection(batch_records=100, backoff_s=1, backoff_cap_s=60)
LIMITS = OutboxSection(min_free_bytes=0)


@dataclass
class World:
    """What a test of delivery plays with."""

    folder: Path
    day: datetime
    prefix: str
    outbox: Outbox
    client: AuditorClientBlocking
    direct: AuditorClientBlocking
    auditor: FaultyAuditor
    settings: SenderSection = SETTINGS
    time: datetime = NOW
    stop: threading.Event = field(default_factory=threading.Event)
    log: list[dict[str, object]] = field(default_factory=list)
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.restart_sender()

    @property
    def rights(self) -> frozenset[str] | None:
        """Of read and write, what the sender's role may do; None: there are no roles."""
        return self.auditor.rights

    @property
    def reads(self) -> bool:
        """Whether the sender may read."""
        return self.rights is None or "read" in self.rights

    def now(self) -> datetime:
        return self.time

    def restart_sender(self) -> None:
        """A new sender, as after a crash."""

        def keep(_logger: object, name: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
            self.log.append({"level": name, **event})
            raise structlog.DropEvent

        log = structlog.wrap_logger(
            structlog.PrintLogger(),
            processors=[keep],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        self.sender = Sender(
            self.outbox,
            self.client,
            self.settings,
            log=log,
            now=self.now,
            random=lambda: 0.999,
            stop=self.stop,
        )

    def record(self, number: int, *, stop: bool | int = True, cores: int = 8) -> Record:
        """Run `number` starts so many seconds into the day; it lasts an hour, or `stop` seconds."""
        start_time = self.day + timedelta(seconds=number)
        lasts_s = 3600 if stop is True else stop
        return Record(
            f"{self.prefix}-{number}",
            start_time,
            start_time + timedelta(seconds=lasts_s) if stop else None,
            Meta().insert("site", ["here"]),
            [Component("Cores", cores, [Score("HEPscore23", 11.5)]), Component("Memory", 16_000)],
        )

    def put(self, numbers: Sequence[int], *, corrects: bool = False, **fields: int) -> PutResult:
        """Puts runs into the outbox."""
        entries = [NewRecord.of(self.record(number, **fields)) for number in numbers]
        return self.outbox.put(
            Intake("here", entries, read=len(entries), may_correct_stop_time=corrects)
        )

    def drain(self, passes: int = 30) -> Pass:
        """Runs passes, with time going on between them, until nothing waits; returns the last."""
        last = self.sender.run_pass()
        for _ in range(passes):
            if not self.outbox.status().waiting:
                break
            self.time += timedelta(seconds=61)
            last = self.sender.run_pass()
        return last

    def stored(self) -> list[Record]:
        """What the Auditor holds of this world."""
        period = Operator().gte(Value.set_datetime(self.day))
        period = period.lt(Value.set_datetime(self.day + timedelta(days=1)))
        query = QueryBuilder().with_start_time(period).build()
        return list(self.direct.stream_query(query))

    def held(self) -> dict[str, Record]:
        """What the Auditor holds of this world, by record id."""
        return {record.record_id: record for record in self.stored()}

    def holds(self, numbers: Sequence[int], **fields: int) -> bool:
        """Whether the Auditor holds these runs and no others."""
        wanted = [self.record(number, **fields) for number in numbers]
        held = self.held()
        return held.keys() == {record.record_id for record in wanted} and all(
            (record.start_time, record.stop_time, record.components, record.meta)
            == (stored.start_time, stored.stop_time, stored.components, stored.meta)
            for record in wanted
            for stored in [held[record.record_id]]
        )

    def said(self, level: str) -> list[dict[str, object]]:
        """What was logged at a level."""
        return [event for event in self.log if event["level"] == level]


@contextlib.contextmanager
def new_world(
    folder: Path,
    behind: str,
    *,
    timeout_s: float = 10,
    settings: SenderSection = SETTINGS,
    kind: type[World] = World,
) -> Iterator[World]:
    """A world with an outbox in a folder, before the Auditor at an address."""
    number = next(_worlds)
    day = FIRST_DAY + timedelta(days=number)

    def client(url: str) -> AuditorClientBlocking:
        builder = AuditorClientBuilder().connection_string(url).timeout(timeout_s)
        return builder.plain_errors().build_blocking()

    with (
        faulty_auditor(behind) as auditor,
        client(auditor.url) as through,
        client(behind) as direct,
        Outbox.open(folder / f"outbox-{number}.db", now=lambda: NOW, limits=LIMITS) as outbox,
    ):
        own = msgspec.structs.replace(settings)
        yield kind(folder, day, f"w{number}", outbox, through, direct, auditor, own)
