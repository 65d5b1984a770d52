"""Taking records in: what a record means, by what is known of its id."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from collector.outbox.outcomes import REJECTED, Origin, Outcome
from collector.outbox.rows import Rejection, count, instant, json, reject, us, weigh
from collector.outbox.values import Intake, NewRecord, PutResult, StopTime
from collector.record import InvalidRecordError, decode

FOUND_BY_PUT = "put"
"""Detail of the counts of refused and colliding records that the outbox found, not the Auditor."""


class _Known(msgspec.Struct, gc=False):
    """A record id that the ledger holds."""

    id: int
    start_us: int
    stop_us: int | None
    waits: bool
    open: bool


def put(sql: sqlite3.Connection, intake: Intake, now_us: int) -> PutResult:
    """Takes an intake into an open transaction."""
    putting = _Putting(sql, intake, now_us)
    delete_rejected(sql, intake.replaces_rejected)
    for unique in _without_repeats(intake.records):
        putting.take_in(unique)
    for stop in intake.stops:
        putting.take_in_stop(stop)
    putting.result.outcomes[Outcome.UNMAPPABLE] += len(intake.unmappable)
    putting.reject(
        Rejection("unmappable", job.record_id, job.reason, job.raw, None, job.where)
        for job in intake.unmappable
    )
    if intake.checkpoint is not None:
        sql.execute(
            "INSERT INTO sources (name, checkpoint) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET checkpoint = excluded.checkpoint",
            (intake.source, json(intake.checkpoint)),
        )
    putting.result.outcomes = +putting.result.outcomes  # without zeros
    _count(sql, intake, putting.result)
    return putting.result


def delete_rejected(sql: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Deletes rows of the rejected table; returns how many there were."""
    if not ids:
        return 0
    query = "DELETE FROM rejected WHERE id IN (SELECT value FROM json_each(?))"
    return sql.execute(query, (json(ids),)).rowcount


def _count(sql: sqlite3.Connection, intake: Intake, result: PutResult) -> None:
    numbers = {
        ("read", ""): intake.read,
        ("stops_read", ""): len(intake.stops),
        ("suspicious", ""): result.suspicious,
    }
    for outcome, number in result.outcomes.items():
        if intake.origin == Origin.RETRY and outcome in REJECTED:
            continue  # it was counted when it was rejected first
        by_put = outcome in (Outcome.REFUSED, Outcome.COLLISION)
        numbers[outcome, FOUND_BY_PUT if by_put else ""] = number
    for reason, number in intake.filtered.items():
        numbers[Outcome.FILTERED, reason] = number
    count(sql, {(intake.source, intake.origin, *key): n for key, n in numbers.items()})


class _Putting:
    """Takes records in: decides for each id by what is known of it."""

    def __init__(self, sql: sqlite3.Connection, intake: Intake, now_us: int) -> None:
        self.sql, self.source, self.origin, self.now_us = sql, intake.source, intake.origin, now_us
        self.corrects, self.resend = intake.may_correct_stop_time, intake.resend
        self.result = PutResult()
        self.any_rejected = sql.execute("SELECT 1 FROM rejected LIMIT 1").fetchone() is not None

    def take_in(self, records: Sequence[NewRecord]) -> None:
        """Takes in records of different ids."""
        known = self._known([record.record_id for record in records])
        if self.resend:
            self._forget([found.id for found in known.values() if not found.waits])
            known = {record_id: found for record_id, found in known.items() if found.waits}
        refused = self._refused(records)
        new: list[NewRecord] = []
        collisions: list[tuple[NewRecord, _Known]] = []
        for record in records:
            found = known.get(record.record_id) if known else None
            if found is None:
                if record.record_id in refused and record.body in refused[record.record_id]:
                    self.result.outcomes[refused[record.record_id][record.body]] += 1
                else:
                    new.append(record)
            elif found.start_us != us(record.start_time):
                collisions.append((record, found))
            else:
                self._take_in_known(record, found)
        self._insert(new)
        self.result.outcomes[Outcome.COLLISION] += len(collisions)
        self.reject(
            Rejection(
                "collision",
                record.record_id,
                (
                    f"the run known under this id started at {instant(found.start_us)}, this one at"
                    f" {record.start_time}; the ids of runs must differ (two clusters, one prefix?)"
                ),
                record.body,
                self._version(record.record_id, found),
                "ledger",
            )
            for record, found in collisions
        )

    def take_in_stop(self, stop: StopTime) -> None:
        """Takes in the stop time of a run that was put before."""
        found = self._known([stop.record_id]).get(stop.record_id)
        reason = ""
        if found is None:
            reason = "a stop time for a run that is not known; read its period again (backfill)"
        elif not (found.waits or found.open):
            self.result.outcomes[Outcome.KNOWN] += 1
        else:
            (body,) = self.sql.execute(
                f"SELECT body FROM {'waiting' if found.waits else 'open_records'} WHERE id = ?",  # noqa: S608 - one of two words
                (found.id,),
            ).fetchone()
            try:
                record = NewRecord.of(decode(body).with_stop_time(stop.stop_time))
            except InvalidRecordError as error:
                reason = str(error)
            else:
                self._take_in_known(record, found)
        if reason:
            self.result.outcomes[Outcome.UNMAPPABLE] += 1
            raw = msgspec.json.encode(stop)
            self.reject([Rejection("stop", stop.record_id, reason, raw, None, "")])

    def reject(self, rows: Iterable[Rejection]) -> None:
        """Keeps what was rejected; does not count it."""
        reject(self.sql, self.source, self.origin, self.now_us, rows)

    def _take_in_known(self, record: NewRecord, found: _Known) -> None:
        stop_us = None if record.stop_time is None else us(record.stop_time)
        first = found.stop_us is None
        if stop_us is None or stop_us == found.stop_us or not (first or self.corrects):
            self.result.outcomes[Outcome.KNOWN] += 1
            return
        self.result.suspicious += record.suspicious
        if found.waits:
            self.result.outcomes[Outcome.MERGED] += 1
            (before,) = self.sql.execute(
                "SELECT length(body) FROM waiting WHERE id = ?", (found.id,)
            ).fetchone()
            self.sql.execute(
                "UPDATE waiting SET body = ?, may_correct_stop_time = ?, revision = revision + 1,"
                " tries = 0, due_us = 0 WHERE id = ?",
                (record.body, self.corrects, found.id),
            )
            self.sql.execute("UPDATE ledger SET stop_us = ? WHERE id = ?", (stop_us, found.id))
            weigh(self.sql, 0, len(record.body) - before)
            return
        self.result.outcomes[Outcome.STOP_QUEUED] += 1
        new_id = self._next_ids(1)
        self.sql.execute("DELETE FROM open_records WHERE id = ?", (found.id,))
        self.sql.execute(
            "UPDATE ledger SET id = ?, stop_us = ?, sent_us = NULL WHERE id = ?",
            (new_id, stop_us, found.id),
        )
        self.sql.execute(
            "INSERT INTO waiting VALUES (?, ?, 1, ?, ?, 0, 0, 0, ?)",
            (new_id, self.origin, self.corrects, self.now_us, record.body),
        )
        weigh(self.sql, 1, len(record.body))

    def _insert(self, new: Sequence[NewRecord]) -> None:
        if not new:
            return
        self.result.outcomes[Outcome.QUEUED] += len(new)
        self.result.suspicious += sum(record.suspicious for record in new)
        first = self._next_ids(len(new))
        self.sql.executemany(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, NULL)",
            [
                (
                    number,
                    record.record_id,
                    self.source,
                    us(record.start_time),
                    None if record.stop_time is None else us(record.stop_time),
                )
                for number, record in enumerate(new, first)
            ],
        )
        origin, corrects, now_us = self.origin, self.corrects, self.now_us
        self.sql.executemany(
            "INSERT INTO waiting VALUES (?, ?, 0, ?, ?, 0, 0, 0, ?)",
            [
                (number, origin, corrects, now_us, record.body)
                for number, record in enumerate(new, first)
            ],
        )
        weigh(self.sql, len(new), sum(len(record.body) for record in new))
        if self.any_rejected:
            # Its job could not be mapped; now it can.
            self.sql.execute(
                "DELETE FROM rejected WHERE kind = 'unmappable' AND source = ?"
                " AND record_id IN (SELECT value FROM json_each(?))",
                (self.source, json([record.record_id for record in new])),
            )

    def _known(self, record_ids: Sequence[str]) -> dict[str, _Known]:
        return {
            row[0]: _Known(
                row[1], row[2], row[3], row[4] is None, row[4] is not None and row[3] is None
            )
            for row in self.sql.execute(
                "SELECT record_id, id, start_us, stop_us, sent_us FROM ledger"
                " WHERE record_id IN (SELECT value FROM json_each(?))",
                (json(record_ids),),
            )
        }

    def _forget(self, sent: Sequence[int]) -> None:
        for table in ("ledger", "open_records"):
            query = f"DELETE FROM {table} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608 - one of two words
            self.sql.execute(query, (json(sent),))

    def _refused(self, records: Sequence[NewRecord]) -> dict[str, dict[bytes, Outcome]]:
        """Record id → the bodies that were rejected under it, and how."""
        refused: dict[str, dict[bytes, Outcome]] = {}
        if self.any_rejected:
            for record_id, raw, kind in self.sql.execute(
                "SELECT record_id, raw, kind FROM rejected WHERE kind IN ('refused', 'collision')"
                " AND record_id IN (SELECT value FROM json_each(?))",
                (json([record.record_id for record in records]),),
            ):
                refused.setdefault(record_id, {})[raw] = Outcome(kind)
        return refused

    def _version(self, record_id: str, found: _Known) -> bytes:
        """What is known of a record: whole if it is still here."""
        row = self.sql.execute(
            "SELECT body FROM waiting WHERE id = :id"
            " UNION ALL SELECT body FROM open_records WHERE id = :id",
            {"id": found.id},
        ).fetchone()
        if row is not None:
            return bytes(row[0])
        return msgspec.json.encode(
            {
                "record_id": record_id,
                "start_time": instant(found.start_us),
                "stop_time": None if found.stop_us is None else instant(found.stop_us),
            }
        )

    def _next_ids(self, number: int) -> int:
        (first,) = self.sql.execute("SELECT next_id FROM totals").fetchone()
        self.sql.execute("UPDATE totals SET next_id = ?", (first + number,))
        return int(first)


def _without_repeats(records: Sequence[NewRecord]) -> Iterator[Sequence[NewRecord]]:
    """Splits records so that no part holds an id twice, keeping the order of each id."""
    while records:
        unique: dict[str, NewRecord] = {}
        repeated = [
            record
            for record in records
            if unique.setdefault(record.record_id, record) is not record
        ]
        yield list(unique.values())
        records = repeated
