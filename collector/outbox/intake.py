"""Taking records in: what a record means, by what is known of its id."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from collector.outbox.entries import Entry, Put
from collector.outbox.rows import instant, json, reject, us, weigh
from collector.record import InvalidRecordError, decode


class _Known(msgspec.Struct, gc=False):
    """A record id that the ledger holds."""

    id: int
    start_us: int
    stop_us: int | None
    waits: bool
    open: bool


class Intake:
    """Takes records into an open transaction: decides for each id by what is known of it."""

    def __init__(
        self,
        sql: sqlite3.Connection,
        source: str,
        origin: str,
        *,
        corrects: bool,
        again: bool,
        now_us: int,
        put: Put,
    ) -> None:
        self.sql, self.source, self.origin = sql, source, origin
        self.corrects, self.now_us, self.put = corrects, now_us, put
        self.again = again
        self.any_rejected = sql.execute("SELECT 1 FROM rejected LIMIT 1").fetchone() is not None

    def take_in(self, entries: Sequence[Entry]) -> None:
        """Takes in entries of different ids."""
        known = self._known([entry.record_id for entry in entries])
        if self.again:
            self._forget([found.id for found in known.values() if not found.waits])
            known = {record_id: found for record_id, found in known.items() if found.waits}
        refused = self._refused(entries)
        new: list[Entry] = []
        collisions: list[tuple[Entry, _Known]] = []
        for entry in entries:
            found = known.get(entry.record_id) if known else None
            if found is None:
                if entry.record_id in refused and entry.body in refused[entry.record_id]:
                    self.put.rejected += 1
                else:
                    new.append(entry)
            elif found.start_us != us(entry.start_time):
                collisions.append((entry, found))
            else:
                self._take_in_known(entry, found)
        self._insert(new)
        self.put.rejected += len(collisions)
        self.reject(
            (
                "collision",
                entry.record_id,
                (
                    f"the run known under this id started at {instant(found.start_us)}, this one at"
                    f" {entry.start_time}; the ids of runs must differ (two clusters, one prefix?)"
                ),
                entry.body,
                self._version(entry.record_id, found),
                "ledger",
            )
            for entry, found in collisions
        )

    def take_in_stop(self, record_id: str, stop_time: datetime) -> None:
        """Takes in the stop time of a run that was put before."""
        found = self._known([record_id]).get(record_id)
        reason = ""
        if found is None:
            reason = "a stop time for a run that is not known; read its period again (backfill)"
        elif not (found.waits or found.open):
            self.put.known += 1
        else:
            (body,) = self.sql.execute(
                f"SELECT body FROM {'waiting' if found.waits else 'open_records'} WHERE id = ?",  # noqa: S608 - one of two words
                (found.id,),
            ).fetchone()
            try:
                entry = Entry.of(decode(body).with_stop_time(stop_time))
            except InvalidRecordError as error:
                reason = str(error)
            else:
                self._take_in_known(entry, found)
        if reason:
            self.put.rejected += 1
            raw = msgspec.json.encode({"record_id": record_id, "stop_time": stop_time})
            self.reject([("stop", record_id, reason, raw, None, "")])

    def reject(self, rows: Iterable[tuple[str, str | None, str, bytes, bytes | None, str]]) -> None:
        """Keeps (kind, record id, reason, raw, stored, place); does not count them."""
        reject(self.sql, self.source, self.origin, self.now_us, rows)

    def _take_in_known(self, entry: Entry, found: _Known) -> None:
        stop_us = None if entry.stop_time is None else us(entry.stop_time)
        first = found.stop_us is None
        if stop_us is None or stop_us == found.stop_us or not (first or self.corrects):
            self.put.known += 1
            return
        self.put.suspicious += entry.suspicious
        if found.waits:
            self.put.merged += 1
            (before,) = self.sql.execute(
                "SELECT length(body) FROM waiting WHERE id = ?", (found.id,)
            ).fetchone()
            self.sql.execute(
                "UPDATE waiting SET body = ?, corrects = ?, revision = revision + 1, tries = 0,"
                " due_us = 0 WHERE id = ?",
                (entry.body, self.corrects, found.id),
            )
            self.sql.execute("UPDATE ledger SET stop_us = ? WHERE id = ?", (stop_us, found.id))
            weigh(self.sql, 0, len(entry.body) - before)
            return
        self.put.updated += 1
        new_id = self._next_ids(1)
        self.sql.execute("DELETE FROM open_records WHERE id = ?", (found.id,))
        self.sql.execute(
            "UPDATE ledger SET id = ?, stop_us = ?, sent_us = NULL WHERE id = ?",
            (new_id, stop_us, found.id),
        )
        self.sql.execute(
            "INSERT INTO waiting VALUES (?, ?, 1, ?, ?, 0, 0, 0, ?)",
            (new_id, self.origin, self.corrects, self.now_us, entry.body),
        )
        weigh(self.sql, 1, len(entry.body))

    def _insert(self, new: Sequence[Entry]) -> None:
        if not new:
            return
        self.put.new += len(new)
        self.put.suspicious += sum(entry.suspicious for entry in new)
        first = self._next_ids(len(new))
        self.sql.executemany(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, NULL)",
            [
                (
                    number,
                    entry.record_id,
                    self.source,
                    us(entry.start_time),
                    None if entry.stop_time is None else us(entry.stop_time),
                )
                for number, entry in enumerate(new, first)
            ],
        )
        origin, corrects, now_us = self.origin, self.corrects, self.now_us
        self.sql.executemany(
            "INSERT INTO waiting VALUES (?, ?, 0, ?, ?, 0, 0, 0, ?)",
            [
                (number, origin, corrects, now_us, entry.body)
                for number, entry in enumerate(new, first)
            ],
        )
        weigh(self.sql, len(new), sum(len(entry.body) for entry in new))
        if self.any_rejected:
            # Its job could not be mapped; now it can.
            self.sql.execute(
                "DELETE FROM rejected WHERE kind = 'job' AND source = ?"
                " AND record_id IN (SELECT value FROM json_each(?))",
                (self.source, json([entry.record_id for entry in new])),
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

    def _refused(self, entries: Sequence[Entry]) -> dict[str, list[bytes]]:
        """Record id → the bodies that were refused under it."""
        refused: dict[str, list[bytes]] = {}
        if self.any_rejected:
            for record_id, raw in self.sql.execute(
                "SELECT record_id, raw FROM rejected WHERE kind IN ('refused', 'collision')"
                " AND record_id IN (SELECT value FROM json_each(?))",
                (json([entry.record_id for entry in entries]),),
            ):
                refused.setdefault(record_id, []).append(raw)
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
        (after,) = self.sql.execute(
            "UPDATE totals SET next_id = next_id + ? RETURNING next_id", (number,)
        ).fetchone()
        return int(after) - number


def without_repeats(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Splits entries so that no part holds an id twice, keeping the order of each id."""
    while entries:
        unique: dict[str, Entry] = {}
        repeated = [
            entry for entry in entries if unique.setdefault(entry.record_id, entry) is not entry
        ]
        yield list(unique.values())
        entries = repeated
