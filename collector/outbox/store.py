"""The outbox as the rest of the program sees it: put, take, settle, status."""

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from collector.config import OutboxSection
from collector.logs import counted, size
from collector.outbox import file as outbox_file
from collector.outbox import rescue
from collector.outbox.file import OutboxError, OutboxFullError, SetAside
from collector.outbox.putting import delete_rejected, put
from collector.outbox.rows import instant, json, us
from collector.outbox.settling import settle
from collector.outbox.tried import Tried
from collector.outbox.values import (
    Intake,
    PutResult,
    RejectedRow,
    SenderState,
    SenderStatus,
    SourceStatus,
    Status,
    Verdict,
    Waiting,
)
from collector.outbox.whereabouts import Whereabouts, look_up


class Outbox:
    """The outbox in one file; of any number of threads and processes."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, now: Callable[[], datetime]
    ) -> None:
        """Use `open`."""
        self.path = path
        self.set_aside: SetAside | None = None
        """A file that `open` could not use; tell a person."""
        self.on_replaced: Callable[[Path | None], None] | None = None
        """Set by the daemon: a file that was removed, moved or replaced is written again from what
        the connection still holds, and this is called, with where the other one was put. Without
        it, such a file is an error."""
        self._connection = connection
        self._identity = rescue.identity(path)
        self._log = rescue.log_identity(path)
        self._lock = threading.RLock()
        self._now = now
        self._limits = OutboxSection()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        now: Callable[[], datetime],
        limits: OutboxSection | None = None,
        create: bool = True,
    ) -> Self:
        """Opens the file, makes it (mode 0600) if needed, and brings it to this program's layout.

        A damaged file is kept aside under a dated name and a new one is begun; see `set_aside`.

        Args:
            path: the file.
            now: the time, aware.
            limits: the configuration; its `path` is not looked at.
            create: False: raise when there is no outbox, or a damaged one (for commands that look).

        Raises:
            OutboxError: what is wrong with the file and what to do.
        """
        path = Path(path)
        connection, aside = outbox_file.open_file(path, now(), create=create)
        outbox = cls(path, connection, now)
        outbox.set_aside = aside
        if limits is not None:
            outbox._limits = limits
        return outbox

    def close(self) -> None:
        """Closes the file; nothing waits for it."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def wait_at_most(self, seconds: float) -> None:
        """Waits no longer for another process that writes."""
        with self._lock:
            self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")

    def keep_in_place(self) -> None:
        """Makes sure that the path still leads to the file that is open; see `on_replaced`.

        Raises:
            OutboxError: when it does not, and cannot be written to its place again.
        """
        with self._lock, outbox_file.explained(self.path):
            self._keep_in_place()

    def _keep_in_place(self) -> None:
        try:
            found = rescue.identity(self.path)
        except OSError:  # whatever it is, SQLite meets it as well, and says so
            return
        if found == self._identity:
            return
        if found is None and self.path.exists():
            raise outbox_file.truncated(self.path)
        if self.on_replaced is None:
            raise OutboxError(
                f"{self.path}: was removed or replaced while it was in use; run this again when "
                "the collector has written it again, which it does within a pass"
            )
        try:
            aside = rescue.restore(self._connection, self._log, self.path, self._now())
        except OSError as error:
            raise OutboxError(
                f"{self.path}: was removed or replaced while it was in use, and cannot be written "
                f"again ({error.strerror}); what it held is sent from memory: make that place "
                "writable, and do not stop the collector before"
            ) from error
        self._connection, _ = outbox_file.open_file(self.path, self._now(), create=True)
        self._identity = rescue.identity(self.path)
        self._log = rescue.log_identity(self.path)
        self.on_replaced(aside)

    def held_by_daemon(self) -> contextlib.AbstractContextManager[None]:
        """Makes this process the daemon of this outbox.

        Raises:
            OutboxInUseError: when another daemon runs on it.
        """
        return outbox_file.lock(self.path, "daemon")

    def held_by_sender(self) -> contextlib.AbstractContextManager[None]:
        """Makes this process the one that sends.

        Raises:
            OutboxInUseError: when another process sends now; it will send this one's records too.
        """
        return outbox_file.lock(self.path, "sender")

    # ------------------------------------------------------------------ sources

    def checkpoint(self, source: str) -> Any:
        """The checkpoint of the last batch that was stored; None if there is none."""
        with self._reading() as sql:
            row = sql.execute("SELECT checkpoint FROM sources WHERE name = ?", (source,)).fetchone()
        return msgspec.json.decode(row[0]) if row and row[0] is not None else None

    def full(self) -> str | None:
        """Why nothing can be put now, in words, or None."""
        with self._reading() as sql:
            records, length = sql.execute("SELECT records, bytes FROM totals").fetchone()
        limits = self._limits
        if records >= limits.max_records:
            return f"{counted(records, 'record')} wait, outbox.max_records is {limits.max_records}"
        if length >= limits.max_bytes:
            return f"{size(length)} wait, outbox.max_bytes is {size(limits.max_bytes)}"
        free = self.free_bytes()
        if free < limits.min_free_bytes:
            least = size(limits.min_free_bytes)
            return f"only {size(free)} are free, outbox.min_free_bytes is {least}"
        return None

    def free_bytes(self) -> int:
        """Room for the outbox: on its file system, and in the file where records were sent."""
        with self._reading() as sql:
            (pages,) = sql.execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = sql.execute("PRAGMA page_size").fetchone()
        try:
            free = shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise OutboxError(f"{self.path.parent}: cannot be looked at ({error})") from error
        return free + int(pages * page_bytes)

    def give_back(self, limit_s: float) -> None:
        """Gives room that the file does not need any more back to the file system.

        Args:
            limit_s: for so long at most; the rest another time.
        """
        until = time.monotonic() + limit_s
        with self._lock, outbox_file.explained(self.path):
            while outbox_file.give_back(self._connection) and time.monotonic() < until:
                pass

    def put(self, intake: Intake) -> PutResult:
        """Takes in what a source read, and its checkpoint, in one transaction.

        Raises:
            OutboxFullError: before anything is stored.
            OutboxError: when the file cannot be written; nothing is stored.
        """
        self.keep_in_place()
        if (why := self.full()) is not None:
            raise OutboxFullError(f"{self.path}: {why}")
        with self._writing() as sql:
            return put(sql, intake, us(self._now()))

    def note_poll(
        self, source: str, *, ok: bool, message: str, now: datetime, tried: Tried | None = None
    ) -> None:
        """Notes how a poll of a source went, and its newest jobs, for the status."""
        column, error = ("success_us", None) if ok else ("error_us", message)
        with self._writing() as sql:
            sql.execute(
                f"INSERT INTO sources (name, {column}, error) VALUES (?, ?, ?) ON CONFLICT (name)"  # noqa: S608 - one of two words
                f" DO UPDATE SET {column} = excluded.{column}, error = excluded.error",
                (source, us(now), error),
            )
            if tried is not None:
                query = "UPDATE sources SET tried = ? WHERE name = ?"
                sql.execute(query, (json(tried), source))

    def forget(self, source: str) -> bool:
        """Forgets checkpoint, state and counts of a source; its records stay. False: none is known.

        Should the source come back, it starts from the beginning, and the ledger knows its records.
        """
        with self._writing() as sql:
            found = sql.execute("DELETE FROM sources WHERE name = ?", (source,)).rowcount
            found += sql.execute("DELETE FROM counts WHERE source = ?", (source,)).rowcount
        return found > 0

    def note_sender(self, state: SenderState, reason: str, now: datetime) -> None:
        """Notes a change in how sending goes, for the status; see `SenderStatus`."""
        with self._writing() as sql:
            sql.execute("DELETE FROM sender")
            sql.execute("INSERT INTO sender VALUES (?, ?, ?)", (state, us(now), reason))

    # ------------------------------------------------------------------ sending

    def take(
        self, limit_records: int, limit_bytes: int, now: datetime, *, after: int = 0
    ) -> list[Waiting]:
        """What is due, oldest first; writes nothing.

        Args:
            limit_records: at most this many.
            limit_bytes: at most this many bytes of bodies, but always one.
            now: what is due later stays. (More than a day later: the clock was set back.)
            after: only records behind the one with this id.
        """
        due_us = us(now)
        taken: list[Waiting] = []
        length = 0
        with self._reading() as sql:
            for row in sql.execute(
                "SELECT w.id, revision, record_id, source, origin, is_stop, may_correct_stop_time,"
                " tries, start_us, stop_us, body FROM waiting w JOIN ledger USING (id)"
                " WHERE w.id > ? AND (due_us <= ? OR due_us > ?) ORDER BY w.id LIMIT ?",
                (after, due_us, due_us + 86_400_000_000, limit_records),
            ):
                length += len(row[10])
                if taken and length > limit_bytes:
                    break
                taken.append(Waiting(*row))
        return taken

    def settle(self, verdicts: Sequence[Verdict]) -> None:
        """Carries out verdicts, in one transaction.

        A record that a put changed while it was in flight stays: as a stop time if what was in
        flight was accepted, else as it is.
        """
        with self._writing() as sql:
            settle(sql, verdicts, us(self._now()), self._limits.ledger_days)

    # ------------------------------------------------------------------ looking

    def status(self) -> Status:
        """What the outbox holds, at one moment."""
        with self._reading() as sql:
            sql.execute("BEGIN")
            try:
                records, length, is_open = sql.execute(
                    "SELECT records, bytes, open_records FROM totals"
                ).fetchone()
                oldest = sql.execute("SELECT put_us FROM waiting ORDER BY id LIMIT 1").fetchone()
                sender = sql.execute("SELECT state, since_us, reason FROM sender").fetchone()
                sources = {
                    name: SourceStatus(
                        checkpoint=None if checkpoint is None else msgspec.json.decode(checkpoint),
                        last_success_at=None if success_us is None else instant(success_us),
                        last_error_at=None if error_us is None else instant(error_us),
                        last_error=error,
                        tried=Tried() if tried is None else msgspec.json.decode(tried, type=Tried),
                    )
                    for name, checkpoint, success_us, error_us, error, tried in sql.execute(
                        "SELECT name, checkpoint, success_us, error_us, error, tried FROM sources"
                    )
                }
                rejected = dict(
                    sql.execute("SELECT kind, number FROM rejected_totals WHERE number").fetchall()
                )
                counts = {tuple(row[:4]): row[4] for row in sql.execute("SELECT * FROM counts")}
            finally:
                sql.execute("COMMIT")
        return Status(
            waiting=records,
            waiting_bytes=length,
            oldest_put_at=None if oldest is None else instant(oldest[0]),
            open_records=is_open,
            sender=sender and SenderStatus(SenderState(sender[0]), instant(sender[1]), sender[2]),
            sources=sources,
            rejected=rejected,
            counts=counts,
        )

    def rejected(
        self,
        *,
        source: str | None = None,
        reason: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        ids: Sequence[int] | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[RejectedRow]:
        """Rejected rows, in the order of their ids.

        Args:
            source: only of this source.
            reason: only those whose reason, kind or record id holds this text.
            since: only those rejected then or later.
            until: only those rejected before.
            ids: only these.
            after: only rows behind the one with this id.
            limit: at most this many.
        """
        with self._reading() as sql:
            rows = sql.execute(
                "SELECT id, rejected_us, source, origin, kind, record_id, reason, raw,"
                " other_version, location FROM rejected"
                " WHERE id > :after AND (:source IS NULL OR source = :source)"
                " AND instr(kind || ' ' || coalesce(record_id, '') || ' ' || reason, :reason)"
                " AND rejected_us >= :since AND rejected_us < :until"
                " AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))"
                " ORDER BY id LIMIT :limit",
                {
                    "after": after,
                    "source": source,
                    "reason": reason,
                    "since": 0 if since is None else us(since),
                    "until": 2**62 if until is None else us(until),
                    "ids": None if ids is None else json(ids),
                    "limit": limit,
                },
            ).fetchall()
        return [RejectedRow(row[0], instant(row[1]), *row[2:]) for row in rows]

    def whereabouts(self, record_id: str) -> Whereabouts:
        """What is known of a record id."""
        with self._reading() as sql:
            return look_up(sql, record_id)

    def drop_rejected(self, ids: Sequence[int]) -> int:
        """Deletes rejected rows for good, because a person said so; returns how many."""
        with self._writing() as sql:
            return delete_rejected(sql, ids)

    def waits(self) -> bool:
        """Whether anything waits, due or not."""
        with self._reading() as sql:
            return bool(sql.execute("SELECT records FROM totals").fetchone()[0])

    def newest_id(self) -> int:
        """A mark: everything that is put later gets a higher `Waiting.id`."""
        with self._reading() as sql:
            return int(sql.execute("SELECT next_id - 1 FROM totals").fetchone()[0])

    def waiting_up_to(self, newest_id: int) -> int:
        """How many still wait of what was put before a mark of `newest_id`."""
        with self._reading() as sql:
            query = "SELECT records - (SELECT count(*) FROM waiting WHERE id > ?) FROM totals"
            return int(sql.execute(query, (newest_id,)).fetchone()[0])

    def _look_in_place(self) -> None:
        """As `keep_in_place`; but the daemon goes on sending what it holds if that fails."""
        if self.on_replaced is None:
            self._keep_in_place()
        else:
            with contextlib.suppress(OutboxError, sqlite3.Error):
                self._keep_in_place()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, outbox_file.explained(self.path):
            self._look_in_place()
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; immediate, as a deferred one fails at once beside another writer."""
        with self._lock, outbox_file.explained(self.path):
            self._look_in_place()
            sql = self._connection
            sql.execute("BEGIN IMMEDIATE")
            try:
                yield sql
                sql.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back already.
                if sql.in_transaction:
                    sql.execute("ROLLBACK")
                raise
