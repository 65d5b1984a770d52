"""Where the embedded Auditor keeps its records: one SQLite file.

Promises: what `insert` or `update` returned from is on disk, also after SIGKILL or a power cut
(WAL, synchronous=FULL); an insert stores all of its records or none. A crash leaves the file
as it was before the statement that was under way. Readers see the state at their first row and
never wait for a writer. The file's mode is 0600: accounting names people.

Two things are kept twice, so that queries find them by an index: the meta, by key and value, and
name and amount of the first component, which is the only one that the API can ask for. A record
without a stop time has `stop_us = runtime_s = OPEN`, which sorts where PostgreSQL puts its nulls.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from collector.embedded.intake import FIRST_US, LAST_US, NewRecord, NewStopTime
from collector.record import instant_text

OPEN = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 1
_SCHEMA = """
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    record_id TEXT NOT NULL UNIQUE,
    start_us INTEGER NOT NULL,   -- microseconds since 1970, UTC
    stop_us INTEGER NOT NULL,
    runtime_s INTEGER NOT NULL,
    component TEXT,              -- name and amount of the first component
    amount INTEGER,
    meta TEXT NOT NULL,          -- JSON, as it is answered
    components TEXT NOT NULL     -- JSON, as it is answered
);
CREATE INDEX record_start ON record (start_us);
CREATE INDEX record_stop ON record (stop_us);
CREATE INDEX record_runtime ON record (runtime_s);
CREATE INDEX record_component ON record (component, amount);
CREATE TABLE meta (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    record INTEGER NOT NULL REFERENCES record (id),
    PRIMARY KEY (key, value, record)
) WITHOUT ROWID;
"""

_ROWS_AT_A_TIME = 200


class ConflictError(Exception):
    """Raised when a record to insert is stored already, or is twice in one insert."""


class Store:
    """The records in one file; any thread may call any method."""

    def __init__(self, path: Path) -> None:
        """Opens the file, and creates it when it is missing.

        Raises:
            sqlite3.Error: when it cannot be opened, or holds something else.
            OSError: when it cannot be created.
        """
        self._path = path
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._writing = threading.Lock()
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._writer.executescript(
                f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT"
            )
        elif version != _VERSION:
            raise sqlite3.DatabaseError(
                f"{path} is of version {version}, which this program does not know"
            )

    def insert(self, records: Sequence[NewRecord]) -> None:
        """Stores all of the records, or none.

        Raises:
            ConflictError: when one of them is stored already; none was stored.
            sqlite3.Error: when the file refuses.
        """
        with self._writing, self._transaction() as writer:
            (last,) = writer.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()
            numbered = list(enumerate(records, last + 1))
            try:
                writer.executemany(
                    "INSERT INTO record (id, record_id, start_us, stop_us, runtime_s, component, "
                    "amount, meta, components) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (_row(number, record) for number, record in numbered),
                )
            except sqlite3.IntegrityError as error:
                raise ConflictError(str(error)) from error
            writer.executemany(
                "INSERT OR IGNORE INTO meta VALUES (?, ?, ?)",
                (
                    (key, value, number)
                    for number, record in numbered
                    for key, values in (record.meta or {}).items()
                    for value in values
                ),
            )

    def update(self, change: NewStopTime) -> bool:
        """Sets a stop time, also over another one; returns whether there is such a record.

        Raises:
            sqlite3.Error: when the file refuses.
        """
        stop_us = change.stop_time.us
        with self._writing, self._transaction() as writer:
            found = writer.execute(
                # SQLite divides as the server does: towards zero.
                "UPDATE record SET stop_us = ?1, runtime_s = (?1 - start_us) / 1000000 "
                "WHERE record_id = ?2",
                (stop_us, change.record_id),
            )
            return found.rowcount > 0

    def select(self, conditions: str, values: Sequence[Any]) -> Iterator[bytes]:
        """Reads records as they are answered, some at a time, joined without anything between.

        Args:
            conditions: what follows `FROM record` in SQL.
            values: of its parameters.

        Raises:
            sqlite3.Error: when the file refuses.
        """
        with contextlib.closing(self._connect()) as reader:
            rows = reader.execute(
                f"SELECT record_id, meta, components, start_us, stop_us, runtime_s "  # noqa: S608 - made by filters.py, of parameters and fixed texts
                f"FROM record {conditions}",
                values,
            )
            while some := rows.fetchmany(_ROWS_AT_A_TIME):
                yield b"".join(map(_answer, some))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Reads what a statement selects.

        Raises:
            sqlite3.Error: when the file refuses.
        """
        with contextlib.closing(self._connect()) as reader:
            return reader.execute(sql, values).fetchall()

    def close(self) -> None:
        """Closes the file; what was stored is in it, not in its journal."""
        with self._writing:
            self._writer.execute("PRAGMA optimize")
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout = 10000")
        return connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise


def _row(number: int, record: NewRecord) -> tuple[Any, ...]:
    start_us, stop_us, runtime_s = record.start_time.us, OPEN, OPEN
    if record.stop_time is not None:
        stop_us = record.stop_time.us
        runtime_s = abs(stop_us - start_us) // 1_000_000 * (1 if stop_us > start_us else -1)
    first = record.components[0] if record.components else None
    return (
        number,
        record.record_id,
        start_us,
        stop_us,
        runtime_s,
        first and first.name,
        first and first.amount,
        _encode(record.meta).decode(),
        _encode(record.components).decode(),
    )


def _answer(row: tuple[str, str, str, int, int, int]) -> bytes:
    record_id, meta, components, start_us, stop_us, runtime_s = row
    stop, runtime = ("null", "null") if stop_us == OPEN else (f'"{_text(stop_us)}"', runtime_s)
    return (
        f'{{"record_id":{_encode(record_id).decode()},"meta":{meta},"components":{components},'
        f'"start_time":"{_text(start_us)}","stop_time":{stop},"runtime":{runtime}}}'
    ).encode()


_encode = msgspec.json.Encoder().encode


def _text(instant_us: int) -> str:
    # A file of before may hold instants that cannot be written; they are shown as the nearest one.
    within_us = max(FIRST_US, min(instant_us, LAST_US))
    return instant_text(_EPOCH + timedelta(microseconds=within_us))
