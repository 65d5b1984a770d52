"""Compares what a source says of a period with what the Auditor holds: the proof, job by job.

The source is read again, as in a backfill, and its records are kept in a temporary file of SQLite;
then the Auditor's records of the period stream past it, day by day. Memory does not grow with the
number of jobs. Nothing is written anywhere unless missing records are to be fixed; those are put
into the outbox, from where they go the way of all records. A crash leaves at worst a part of them
there, and repeating is harmless.

Compared are start, stop and components. Meta is not: other collectors and other configurations say
more or less about the same run. Nor are components that only ours has: a later release adds some.
A record that no source knows is *extra* if its id is that of a source: it has the prefix, and names
a scheduler that the source reads (the prefix of another collector may begin with ours). Where a
source's own log does not reach back to the beginning of the period, that is a difference of its
own, and nothing from before is called extra.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.protocol import UnknownRecordError
from collector.auditor.query import Operator, QueryBuilder, Value
from collector.clock import Now, utc_now
from collector.outbox import Intake, NewRecord, Origin, Outbox, PutResult, Unmappable
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.record import Component, Record, decode, shared
from collector.source import Job

_WINDOW = timedelta(days=1)
_ASKED_SINGLY = 200
_BATCH = 1000
_NEWEST = 20

Kind = Literal["missing", "extra", "start", "stop", "components", "rejected", "cannot tell"]


class Difference(msgspec.Struct):
    """Something in which source and Auditor do not agree."""

    kind: Kind
    """missing: not in the Auditor; extra: not in the source; start, stop, components: differ;
    rejected: the source's job cannot be made a record; cannot tell: the source reads no more what
    ended then."""
    record_id: str | None
    source: str
    ours: str
    """By the source; the reason for a rejected one."""
    theirs: str
    """By the Auditor."""


class Reconciliation:
    """One comparison; iterate `differences` to its end, then look at the numbers."""

    def __init__(
        self,
        sources: Sequence[MappedSource],
        client: AuditorClientBlocking,
        since: datetime,
        until: datetime,
        *,
        now: Now = utc_now,
    ) -> None:
        """Compares the runs that ended in `since <= stop < until`.

        Args:
            sources: to read again.
            client: of the Auditor.
            since: aware.
            until: aware; later than tomorrow is as tomorrow.
            now: the time, aware.
        """
        self.jobs = 0
        """Records that the sources say should be there."""
        self.equal = 0
        """How many of them are there, and equal."""
        self._sources = sources
        self._client = client
        self._since, self._until = since, min(until, now() + _WINDOW)
        self._schedulers: dict[str, set[str]] = {mapped.name: set() for mapped in sources}
        """Source → the schedds or clusters that its jobs name."""
        self._readable: dict[str, datetime] = {}
        # The empty name is a temporary file that SQLite deletes when it is closed.
        self._sql = sqlite3.connect("", isolation_level=None)
        self._sql.execute(
            "CREATE TABLE expected (record_id TEXT PRIMARY KEY, source TEXT, start TEXT,"
            " body BLOB, found INTEGER) WITHOUT ROWID"
        )
        self._sql.execute("PRAGMA cache_size = -16384")

    def close(self) -> None:
        """Deletes the temporary file."""
        self._sql.close()

    def differences(self) -> Iterator[Difference]:
        """Reads both sides and yields what differs.

        Raises:
            SourceError: when a source cannot be read in full.
            AuditorError: when the Auditor cannot be read in full.
        """
        for mapped in self._sources:
            yield from self._read(mapped)
            yield from self._look_back(mapped)
        (self.jobs,) = self._sql.execute("SELECT count(*) FROM expected").fetchone()
        start = self._since
        while start < self._until:
            end = min(start + _WINDOW, self._until)
            span = Operator().gte(Value.set_datetime(start)).lt(Value.set_datetime(end))
            yield from self._compare(QueryBuilder().with_stop_time(span).build(), extras=True)
            start = end
        yield from self._search_elsewhere()
        for record_id, source, body in self._sql.execute(
            "SELECT record_id, source, body FROM expected WHERE found = 0 ORDER BY start"
        ):
            yield Difference("missing", record_id, source, _run(decode(body)), "")

    def fix(self, outbox: Outbox) -> PutResult:
        """Puts what is missing, or open, in the Auditor into the outbox; after `differences`.

        Raises:
            OutboxError: when the outbox is full or cannot be written.
        """
        total = PutResult()
        for mapped in self._sources:
            rows = self._sql.execute(
                "SELECT body FROM expected WHERE found < 1 AND source = ? ORDER BY start",
                (mapped.name,),
            )
            while bodies := rows.fetchmany(_BATCH):
                records = [NewRecord.of(decode(body)) for (body,) in bodies]
                put = outbox.put(Intake(mapped.name, records, origin=Origin.RECONCILE, resend=True))
                total.outcomes.update(put.outcomes)
        return total

    def _read(self, mapped: MappedSource) -> Iterator[Difference]:
        prefix = f"{mapped.source.section.record_prefix}-"
        for batch in mapped.source.backfill(self._since, self._until):
            rows: list[tuple[str, str, str, bytes]] = []
            for entry in entries_of(itertools.chain(batch.unreadable, batch.jobs), mapped):
                if isinstance(entry, Unmappable):
                    record_id, reason = entry.record_id, entry.reason
                    yield Difference("rejected", record_id, mapped.name, reason, "")
                elif isinstance(entry, NewRecord):
                    start = entry.start_time.astimezone(UTC).isoformat()
                    self._learn(mapped, entry.record_id.removeprefix(prefix))
                    rows.append((entry.record_id, mapped.name, start, entry.body))
            self._sql.execute("BEGIN")
            self._sql.executemany(
                "INSERT OR IGNORE INTO expected VALUES (?, ?, ?, ?, 0)",
                rows,
            )
            self._sql.execute("COMMIT")

    def _look_back(self, mapped: MappedSource) -> Iterator[Difference]:
        """Learns how far back a source can be read, and which schedulers its jobs name."""
        readable = mapped.source.readable_since()
        if readable is not None and readable > self._since:
            self._readable[mapped.name] = readable
            reason = f"runs that ended before {readable.isoformat()} cannot be read any more"
            yield Difference("cannot tell", None, mapped.name, reason, "")
        if not self._schedulers[mapped.name]:
            for job in mapped.source.newest(_NEWEST):
                if isinstance(job, Job):
                    self._learn(mapped, job.id)

    def _learn(self, mapped: MappedSource, job_id: str) -> None:
        scheduler = mapped.source.scheduler_of(job_id)
        if scheduler is not None:
            self._schedulers[mapped.name].add(scheduler)

    def _compare(self, query: str, *, extras: bool) -> Iterator[Difference]:
        answer = self._client.stream_query(query)
        with contextlib.closing(answer) as records:
            for record in records:
                row = self._sql.execute(
                    "SELECT source, body, found FROM expected WHERE record_id = ?",
                    (record.record_id,),
                ).fetchone()
                if row is not None and not row[2]:
                    yield from self._judge(record, row[0], row[1])
                elif row is None and extras and (source := self._owner(record)) is not None:
                    yield Difference("extra", record.record_id, source, "", _run(record))

    def _owner(self, record: Record) -> str | None:
        """The source that should know a record; None if none, or if none can tell."""
        for mapped in self._sources:
            prefix = f"{mapped.source.section.record_prefix}-"
            if not record.record_id.startswith(prefix):
                continue
            scheduler = mapped.source.scheduler_of(record.record_id.removeprefix(prefix))
            known, readable = self._schedulers[mapped.name], self._readable.get(mapped.name)
            if scheduler is None or (known and scheduler not in known):
                continue
            if readable is None or record.stop_time is None or record.stop_time >= readable:
                return mapped.name
        return None

    def _judge(self, stored: Record, source: str, body: bytes) -> Iterator[Difference]:
        """Compares one record, and marks it: 1 found, -1 found without its stop time."""
        ours = decode(body)
        ours.components = shared(ours.components, stored.components)
        is_open = stored.stop_time is None and ours.stop_time is not None
        self._sql.execute(
            "UPDATE expected SET found = ? WHERE record_id = ?",
            (-1 if is_open else 1, stored.record_id),
        )
        before = self.equal
        self.equal += 1
        shown: tuple[tuple[Kind, Callable[[Record], str]], ...] = (
            ("start", lambda record: record.start_time.isoformat()),
            ("stop", lambda record: record.stop_time.isoformat() if record.stop_time else "runs"),
            ("components", lambda record: _components(record.components)),
        )
        for kind, show in shown:
            if (of_ours := show(ours)) != (of_theirs := show(stored)):
                self.equal = before
                yield Difference(kind, stored.record_id, source, of_ours, of_theirs)

    def _search_elsewhere(self) -> Iterator[Difference]:
        """Looks for what did not stop in the period by the Auditor: by start, then by id."""
        days = self._sql.execute(
            "SELECT DISTINCT substr(start, 1, 10) FROM expected WHERE found = 0 ORDER BY 1"
        ).fetchall()
        for (day,) in days:
            start = datetime.fromisoformat(day).replace(tzinfo=UTC)
            span = Operator().gte(Value.set_datetime(start))
            span = span.lt(Value.set_datetime(start + _WINDOW))
            yield from self._compare(QueryBuilder().with_start_time(span).build(), extras=False)
        rest = self._sql.execute(
            "SELECT record_id, source, body FROM expected WHERE found = 0 LIMIT ?",
            (_ASKED_SINGLY,),
        ).fetchall()
        for record_id, source, body in rest:
            with contextlib.suppress(UnknownRecordError):
                yield from self._judge(self._client.get_single_record(record_id), source, body)


def _run(record: Record) -> str:
    stop = record.stop_time.isoformat() if record.stop_time else "runs"
    return f"{record.start_time.isoformat()} to {stop}, {_components(record.components)}"


def _components(components: Sequence[Component]) -> str:
    return ", ".join(
        f"{component.name} {component.amount}"
        + "".join(f" {score.name}={score.value!r}" for score in component.scores)
        for component in components
    )
