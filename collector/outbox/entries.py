"""What goes into the outbox and what comes out of it: values, without any SQL."""

from datetime import datetime
from typing import Any, Literal, Self

import msgspec

from collector.outbox.rows import instant
from collector.record import Record


class Entry(msgspec.Struct, gc=False):
    """A record as the outbox keeps it."""

    record_id: str
    start_time: datetime
    stop_time: datetime | None
    body: bytes
    """The record as JSON."""
    suspicious: bool = False
    """Whether its job has values that cannot be; counted."""

    @classmethod
    def of(cls, record: Record, *, suspicious: bool = False) -> Self:
        """Encodes a record.

        Raises:
            InvalidRecordError: for one that clients could not read back.
        """
        body = record.encode()
        return cls(record.record_id, record.start_time, record.stop_time, body, suspicious)


class Rejected(msgspec.Struct):
    """A job that can be no record, with everything that is needed to try again."""

    record_id: str | None
    """None where not even the job's id could be read."""
    reason: str
    raw: bytes
    """The job's text, for `Source.parse`."""
    where: str
    """Where that text stood."""


class Put(msgspec.Struct):
    """What became of the entries and stops of a put."""

    new: int = 0
    """Will be sent whole."""
    merged: int = 0
    """Brought a stop time to a record that was still waiting."""
    updated: int = 0
    """Brought a stop time to a record that was sent; it will follow."""
    known: int = 0
    """Brought nothing new."""
    rejected: int = 0
    suspicious: int = 0
    """Of new, merged and updated: those of jobs with values that cannot be."""

    @property
    def stored(self) -> int:
        """How many brought something that will be sent."""
        return self.new + self.merged + self.updated


class Waiting(msgspec.Struct, gc=False):
    """A record to be sent, or one whose stop time is."""

    id: int
    revision: int
    record_id: str
    source: str
    origin: str
    is_update: int
    """1: the Auditor holds the record; send its stop time. Otherwise 0."""
    corrects: int
    """1: its source may correct a stop time that was sent. Otherwise 0."""
    tries: int
    """How often it was kept for a fault of its own."""
    start_us: int
    """Microseconds since 1970, as is `stop_us`."""
    stop_us: int | None
    body: bytes
    """The whole record as JSON, also of an update."""

    @property
    def start_time(self) -> datetime:
        """Start of the run, aware."""
        return instant(self.start_us)

    @property
    def stop_time(self) -> datetime | None:
        """End of the run, aware; None while it lasts."""
        return None if self.stop_us is None else instant(self.stop_us)


Outcome = Literal["sent", "updated", "already_there", "rejected", "kept"]


class Verdict(msgspec.Struct):
    """What became of a waiting record; the first three outcomes are acceptance."""

    entry: Waiting
    outcome: Outcome
    reason: str = ""
    """The server's words, for a rejected one."""
    stored: bytes | None = None
    """The Auditor's version, for a collision."""
    due_at: datetime | None = None
    """When a kept one is to be tried again; None: at once."""
    counts: bool = False
    """Whether a kept one was refused for a fault of its own."""


class RejectedRow(msgspec.Struct):
    """A row of the rejected table."""

    id: int
    at: datetime
    """When it was rejected last."""
    source: str
    origin: str
    kind: Literal["job", "stop", "collision", "refused"]
    """job: no record can be made of it; stop: belongs to no record; collision: another run has the
    id; refused: by the Auditor."""
    record_id: str | None
    reason: str
    raw: bytes
    """The job's text, for `Source.parse`; for collision and refused the record as JSON."""
    stored: bytes | None
    """The other version of a collision, as JSON."""
    place: str
    """Where the text stood."""


class SenderStatus(msgspec.Struct):
    """How sending goes."""

    state: Literal["sending", "away", "paused"]
    """away: the Auditor cannot be reached; paused: somebody has to act (access, address, TLS)."""
    since: datetime
    reason: str
    """What happened and what to do; empty while sending."""


class SourceStatus(msgspec.Struct):
    """What is known of a source."""

    checkpoint: Any = None
    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str | None = None
    """None after a poll that went well."""


class Status(msgspec.Struct):
    """What the outbox holds."""

    waiting: int
    waiting_bytes: int
    oldest_put_at: datetime | None
    """When the record that has waited longest was put."""
    open_records: int
    sender: SenderStatus | None
    """None before the first pass that sent, or failed to."""
    sources: dict[str, SourceStatus]
    rejected: dict[str, int]
    """Kind of rejection → how many."""
    counts: dict[tuple[str, str, str, str], int]
    """(source, origin, outcome, detail) → how many since the file was made. Outcomes of a put:
    read, filtered (detail: why), new, merged, updated, known, rejected, suspicious. Of sending:
    sent, completed (a stop time), already_there, refused."""
