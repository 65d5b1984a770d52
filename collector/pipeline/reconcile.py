"""Compares what a source says of a period with what the Auditor holds: the proof, job by job.

The source is read again, as in a backfill, and its records are kept in a temporary file of SQLite;
then the Auditor's records of the period stream past it, day by day. Memory does not grow with the
number of jobs. Nothing is written anywhere unless missing records are to be fixed; those are put
into the outbox, from where they go the way of all records. A crash leaves at worst a part of them
there, and repeating is harmless.

Compared are start, stop and components. Meta is not: other collectors and other configurations say
more or less about the same run. Nor are components that only ours has: a later release adds some.
Records of other prefixes than the sources' own are not looked at.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.protocol import UnknownRecordError
from collector.auditor.query import Operator, QueryBuilder, Value
from collector.outbox import Intake, NewRecord, Origin, Outbox, PutResult, Unmappable
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.record import Component, Record, decode, shared

_WINDOW = timedelta(days=1)
_ASKED_SINGLY = 200
_BATCH = 1000

Kind = Literal["missing", "extra", "start", "stop", "components", "rejected"]


class Difference(msgspec.Struct):
    """Something in which source and Auditor do not agree."""

    kind: Kind
    """missing: not in the Auditor; extra: not in the source; start, stop, components: differ;
    rejected: the source's job cannot be made a record."""
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
    ) -> None:
        """Compares the runs that ended in `since <= stop < until`.

        Args:
            sources: to read again.
            client: of the Auditor.
            since: aware.
            until: aware.
        """
        self.jobs = 0
        """Records that the sources say should be there."""
        self.equal = 0
        """How many of them are there, and equal."""
        self._sources = sources
        self._client = client
        self._since, self._until = since, until
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
        for batch in mapped.source.backfill(self._since, self._until):
            rows: list[tuple[str, str, str, bytes]] = []
            for entry in entries_of(itertools.chain(batch.unreadable, batch.jobs), mapped):
                if isinstance(entry, Unmappable):
                    record_id, reason = entry.record_id, entry.reason
                    yield Difference("rejected", record_id, mapped.name, reason, "")
                elif isinstance(entry, NewRecord):
                    start = entry.start_time.isoformat()
                    rows.append((entry.record_id, mapped.name, start, entry.body))
            self._sql.execute("BEGIN")
            self._sql.executemany(
                "INSERT OR IGNORE INTO expected VALUES (?, ?, ?, ?, 0)",
                rows,
            )
            self._sql.execute("COMMIT")

    def _compare(self, query: str, *, extras: bool) -> Iterator[Difference]:
        prefixes = {
            f"{mapped.source.section.record_prefix}-": mapped.name for mapped in self._sources
        }
        answer = self._client.stream_query(query)
        with contextlib.closing(answer) as records:
            for record in records:
                row = self._sql.execute(
                    "SELECT source, body FROM expected WHERE record_id = ? AND found = 0",
                    (record.record_id,),
                ).fetchone()
                if row is not None:
                    yield from self._judge(record, *row)
                elif extras and record.record_id.startswith(tuple(prefixes)):
                    if self._is_expected(record.record_id):
                        continue
                    source = next(
                        name
                        for prefix, name in prefixes.items()
                        if record.record_id.startswith(prefix)
                    )
                    yield Difference("extra", record.record_id, source, "", _run(record))

    def _is_expected(self, record_id: str) -> bool:
        query = "SELECT 1 FROM expected WHERE record_id = ?"
        return self._sql.execute(query, (record_id,)).fetchone() is not None

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
        first, last = self._sql.execute(
            "SELECT min(start), max(start) FROM expected WHERE found = 0"
        ).fetchone()
        if first is None:
            return
        start, end = (datetime.fromisoformat(text) for text in (first, last))
        while start <= end:
            span = Operator().gte(Value.set_datetime(start))
            span = span.lt(Value.set_datetime(start + _WINDOW))
            if self._any_missing(start, start + _WINDOW):
                yield from self._compare(QueryBuilder().with_start_time(span).build(), extras=False)
            start += _WINDOW
        rest = self._sql.execute(
            "SELECT record_id, source, body FROM expected WHERE found = 0 LIMIT ?",
            (_ASKED_SINGLY,),
        ).fetchall()
        for record_id, source, body in rest:
            with contextlib.suppress(UnknownRecordError):
                yield from self._judge(self._client.get_single_record(record_id), source, body)

    def _any_missing(self, start: datetime, end: datetime) -> bool:
        query = "SELECT 1 FROM expected WHERE found = 0 AND start >= ? AND start < ? LIMIT 1"
        span = (start.isoformat(), end.isoformat())
        return self._sql.execute(query, span).fetchone() is not None


def _run(record: Record) -> str:
    stop = record.stop_time.isoformat() if record.stop_time else "runs"
    return f"{record.start_time.isoformat()} to {stop}, {_components(record.components)}"


def _components(components: Sequence[Component]) -> str:
    return ", ".join(
        f"{component.name} {component.amount}"
        + "".join(f" {score.name}={score.value!r}" for score in component.scores)
        for component in components
    )
