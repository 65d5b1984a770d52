"""What goes into the outbox and what comes out of it: values, without any SQL.

in:   Intake (NewRecord, StopTime, Unmappable)  → PutResult
out:  Waiting → Verdict;  RejectedRow;  Status (SenderStatus, SourceStatus)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

import msgspec

from collector.outbox.outcomes import REJECTED, TO_BE_SENT, Origin, Outcome
from collector.outbox.rows import instant
from collector.outbox.tried import Tried
from collector.record import Record


class NewRecord(msgspec.Struct, gc=False):
    """A record to be put, encoded."""

    record_id: str
    start_time: datetime
    stop_time: datetime | None
    body: bytes
    """The record as JSON."""
    suspicious: bool = False
    """Whether its job has impossible values; counted."""

    @classmethod
    def of(cls, record: Record, *, suspicious: bool = False) -> Self:
        """Encodes a record.

        Raises:
            InvalidRecordError: for one that clients could not read back.
        """
        body = record.encode()
        return cls(record.record_id, record.start_time, record.stop_time, body, suspicious)


class StopTime(msgspec.Struct):
    """The end of a run whose record was put before without one."""

    record_id: str
    stop_time: datetime
    """Aware."""


class Unmappable(msgspec.Struct):
    """A job of which no record can be made, with everything that is needed to try again."""

    record_id: str | None
    """None where not even the job's id could be read."""
    reason: str
    raw: bytes
    """The job's text, for `Source.parse`."""
    where: str
    """Where that text was read."""


class Intake(msgspec.Struct):
    """What a source read, and its checkpoint: taken in together or not at all."""

    source: str
    """Its name."""
    records: Sequence[NewRecord] = ()
    """In the order in which they were read."""
    stops: Sequence[StopTime] = ()
    unmappable: Sequence[Unmappable] = ()
    filtered: Mapping[str, int] = {}
    """Reason → number of jobs that are not to be accounted; counted only."""
    read: int = 0
    """Number of jobs that were read; counted only."""
    checkpoint: Any = None
    """JSON, or None to leave the source's checkpoint as it is."""
    origin: str = Origin.POLL
    """A member of `Origin`, or `Origin.of_backfill`."""
    may_correct_stop_time: bool = False
    """Whether another stop time for a known run is a correction; if not, the first one holds."""
    replaces_rejected: Sequence[int] = ()
    """Ids of rejected rows that this replaces."""
    resend: bool = False
    """Send also what the ledger knows as sent, because the Auditor has lost it."""


class PutResult(msgspec.Struct):
    """What became of an intake."""

    outcomes: Counter[Outcome] = msgspec.field(default_factory=Counter)
    suspicious: int = 0
    """How many of those that will be sent are of jobs with impossible values."""

    @property
    def to_be_sent(self) -> int:
        """How many brought something that will be sent."""
        return sum(self.outcomes[outcome] for outcome in TO_BE_SENT)

    @property
    def rejected(self) -> int:
        """How many are kept in the table of what was rejected."""
        return sum(self.outcomes[outcome] for outcome in REJECTED)


class Waiting(msgspec.Struct, gc=False):
    """A record to be sent, or one whose stop time is."""

    id: int
    revision: int
    record_id: str
    source: str
    origin: str
    is_stop: int
    """1: the Auditor holds the record; send its stop time. Otherwise 0."""
    may_correct_stop_time: int
    """1: its source may correct a stop time that was sent. Otherwise 0."""
    tries: int
    """How many times it was refused for a fault of its own."""
    start_us: int
    """Microseconds since 1970, as is `stop_us`."""
    stop_us: int | None
    body: bytes
    """The whole record as JSON, also for a stop time."""

    @property
    def start_time(self) -> datetime:
        """Start of the run, aware."""
        return instant(self.start_us)

    @property
    def stop_time(self) -> datetime | None:
        """End of the run, aware; None while it lasts."""
        return None if self.stop_us is None else instant(self.stop_us)


class Verdict(msgspec.Struct):
    """What became of a waiting record."""

    waiting: Waiting
    outcome: Outcome
    """One of `ACCEPTED`, or refused, collision or retrying."""
    reason: str = ""
    """The server's words, for a refused one."""
    other_version: bytes | None = None
    """The Auditor's version, for a collision."""
    due_at: datetime | None = None
    """When a retrying one is to be tried again; None: at once."""
    own_fault: bool = False
    """Whether a retrying one was refused for a fault of its own."""


Kind = Literal["unmappable", "stop", "collision", "refused"]
"""unmappable: no record can be made of the job; stop: a stop time that belongs to no record;
collision: another run has the id; refused: by the Auditor."""


class RejectedRow(msgspec.Struct):
    """A row of the rejected table."""

    id: int
    rejected_at: datetime
    """The last time."""
    source: str
    origin: str
    kind: Kind
    record_id: str | None
    reason: str
    raw: bytes
    """The job's text, for `Source.parse`; of a stop a `StopTime` as JSON; for collision and refused
    the record as JSON."""
    other_version: bytes | None
    """The other version of a collision, as JSON."""
    where: str
    """Where the text was read."""


class SenderState(StrEnum):
    """How sending goes, as an operator would say it."""

    IDLE = "idle"
    """The Auditor answers, and nothing waits."""
    SENDING = "sending"
    """The Auditor takes what waits."""
    UNREACHABLE = "unreachable"
    """The Auditor does not answer, or is in trouble; records wait."""
    PAUSED = "paused"
    """Somebody has to act: access, address, certificates; records wait."""


class SenderStatus(msgspec.Struct):
    """How sending goes."""

    state: SenderState
    since: datetime
    reason: str
    """What happened and what to do; empty while idle or sending."""


class SourceStatus(msgspec.Struct):
    """What is known of a source."""

    checkpoint: Any = None
    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str | None = None
    """None after a poll that went well."""
    tried: Tried = msgspec.field(default_factory=Tried)


class Status(msgspec.Struct):
    """What the outbox holds."""

    waiting: int
    waiting_bytes: int
    oldest_put_at: datetime | None
    """When the record that has waited longest was put."""
    open_records: int
    sender: SenderStatus | None
    """None before the first pass."""
    sources: dict[str, SourceStatus]
    rejected: dict[str, int]
    """Kind of rejection → how many."""
    counts: dict[tuple[str, str, str, str], int]
    """(source, origin, what, detail) → how many since the file was made. What: an outcome (but
    `retrying`), or `read` or `suspicious` (jobs). Detail: why a job was filtered; `READ_AGAIN` for
    a refused or colliding record that the put found, not the Auditor."""
