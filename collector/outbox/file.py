"""The SQLite file: how it is opened, laid out, migrated, locked and, if damaged, kept aside.

Only the outbox uses this. The file belongs to one user (mode 0600; SQLite gives `-wal` and
`-shm` the mode of the file). Each migration is one transaction: a crash leaves the layout before
it or after it. A file that SQLite cannot read is renamed, together with its `-wal`, and never
deleted; a crash between the two renames leaves a file without its log, which is renamed as well
when the next start cannot read it.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

LAYOUT = 1
"""Version of the layout that this program writes, kept in the file as `user_version`."""

_BUSY_TIMEOUT_S = 30
_PAGE_BYTES = 16_384
_DDL_1 = """
-- Every record id that is known: it waits, or was sent within the ledger's days, or is open.
-- `id` grows with each put that makes the record wait, so that it orders what waits by age.
CREATE TABLE ledger (
    id         INTEGER PRIMARY KEY,
    record_id  TEXT NOT NULL UNIQUE,
    source     TEXT NOT NULL,
    start_us   INTEGER NOT NULL,       -- instants are microseconds since 1970-01-01 UTC
    stop_us    INTEGER,                -- NULL: the run lasts
    sent_us    INTEGER                 -- NULL: something of it waits
);
CREATE INDEX ledger_sent ON ledger (sent_us) WHERE sent_us IS NOT NULL AND stop_us IS NOT NULL;

-- What is to be sent. Same `id` as in the ledger.
CREATE TABLE waiting (
    id         INTEGER PRIMARY KEY,
    origin     TEXT NOT NULL,
    is_update  INTEGER NOT NULL,       -- the Auditor holds it; only its stop time is to be sent
    corrects   INTEGER NOT NULL,       -- its source may correct a stop time
    put_us     INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,       -- 0: at once
    tries      INTEGER NOT NULL,
    revision   INTEGER NOT NULL,       -- grows when a put changes it, even while it is in flight
    body       BLOB NOT NULL           -- the whole record as JSON, also of an update
);

-- Records that the Auditor holds without a stop time, whole, to be completed by a stop.
CREATE TABLE open_records (
    id         INTEGER PRIMARY KEY,
    corrects   INTEGER NOT NULL,
    body       BLOB NOT NULL
);

-- What can be no record, or was refused. One row for each thing, however often it is read.
CREATE TABLE rejected (
    id         INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,   -- of source, record id and raw
    at_us      INTEGER NOT NULL,
    source     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    record_id  TEXT,
    reason     TEXT NOT NULL,
    raw        BLOB NOT NULL,          -- the job's text (kind job), or the record's JSON
    stored     BLOB,                   -- the other version of a collision
    place      TEXT NOT NULL
);
CREATE INDEX rejected_record_id ON rejected (record_id);

CREATE TABLE sources (
    name       TEXT PRIMARY KEY,
    checkpoint TEXT,                   -- JSON
    success_us INTEGER,
    error_us   INTEGER,
    error      TEXT
) WITHOUT ROWID;

-- At most one row: how sending goes.
CREATE TABLE sender (
    state      TEXT NOT NULL,
    since_us   INTEGER NOT NULL,
    reason     TEXT NOT NULL
);

CREATE TABLE counts (
    source     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    detail     TEXT NOT NULL,          -- why it was filtered; empty otherwise
    number     INTEGER NOT NULL,
    PRIMARY KEY (source, origin, outcome, detail)
) WITHOUT ROWID;

-- One row: what would be slow to count, and the next `ledger.id`, which is never used twice.
CREATE TABLE totals (
    next_id    INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 0, 0);
"""


class OutboxError(Exception):
    """Raised when the outbox cannot be read or written: which file, what happened, what to do.

    Nothing was stored by the call that raised it.
    """


class OutboxFullError(OutboxError):
    """Raised by a put that would exceed a limit of the outbox, or that the disk has no room for.

    Sources pause: what they read is their buffer.
    """


class OutboxInUseError(OutboxError):
    """Raised when another process holds the outbox, for good or for longer than was waited."""


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into ones that say which file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise OutboxFullError(
                f"{path}: no room on the file system; nothing was stored, make room"
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OutboxInUseError(
                f"{path}: locked by another process for too long; "
                "end what holds it open (a sqlite3 shell, a backup?)"
            ) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise OutboxError(
                f"{path}: cannot be written ({error}); look at the owner and mode of the file and "
                "of its directory, and whether the file system is mounted read-only"
            ) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            with contextlib.suppress(OSError):
                _broken(path).touch(mode=0o600)
            raise OutboxError(
                f"{path}: is damaged ({error}); restart the collector: it keeps the file aside, "
                "starts a new one and reads its sources again"
            ) from error
        raise OutboxError(f"{path}: {error}") from error


def open_file(path: Path, now: datetime, *, create: bool) -> tuple[sqlite3.Connection, Path | None]:
    """Opens an outbox, makes it if it is not there, and brings it to the present layout.

    Args:
        path: the file.
        now: names a damaged file that is kept aside.
        create: whether a missing or damaged file may be replaced by a new one.

    Returns:
        The connection (autocommit; any thread), and where a damaged file was put.

    Raises:
        OutboxError: when it cannot be opened, or is of a newer program.
    """
    aside = None
    if not path.exists() and not create:
        raise OutboxError(f"{path}: there is no outbox; has the collector run with this file?")
    if create and _broken(path).exists():
        aside = _keep_aside(path, now)
    try:
        return _open(path, create=create), aside
    except OutboxError as error:
        damaged = isinstance(error.__cause__, sqlite3.DatabaseError) and _broken(path).exists()
        if not (damaged and create):
            raise
    aside = _keep_aside(path, now)
    return _open(path, create=True), aside


def _open(path: Path, *, create: bool) -> sqlite3.Connection:
    try:
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise OutboxError(
            f"{path}: cannot be opened for writing ({error.strerror}); look at the owner and mode "
            "of the file and of its directory"
        ) from error
    with explained(path):
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            # Of a new file; an old one keeps its own. The usual 4 kB hold a few records only, and
            # every page costs a system call or two.
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            # A power cut under NORMAL takes back all since the last checkpoint of the WAL, which
            # on a quiet node is hours: longer than some sources keep. FULL is one fsync a batch.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _layout(connection) < LAYOUT:
        with lock(path, "layout", wait=True):
            if _layout(connection) < LAYOUT:
                _apply_migrations(connection)
    if (found := _layout(connection)) > LAYOUT:
        raise OutboxError(
            f"{path}: was written by a newer version of the program (layout {found}, this one "
            f"knows {LAYOUT}); install that version, or name another outbox"
        )


def _layout(connection: sqlite3.Connection) -> int:
    layout: int = connection.execute("PRAGMA user_version").fetchone()[0]
    # A file may be damaged beyond its first page: this reads the roots of the tables.
    for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()  # noqa: S608 - our own names
    return layout


def _apply_migrations(connection: sqlite3.Connection) -> None:
    # Costs 5 MiB, which a daemon on a file of the present layout does not pay.
    from sqlite_utils import Database, Migrations  # noqa: PLC0415

    migrations = Migrations("outbox")

    @migrations()
    def lay_out(db: Database) -> None:
        for statement in _DDL_1.split(";\n"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")

    migrations.apply(Database(connection, execute_plugins=False))


def _broken(path: Path) -> Path:
    """A mark beside a file in which damage was met while it was in use."""
    return path.with_name(path.name + ".damaged")


def _keep_aside(path: Path, now: datetime) -> Path:
    with lock(path, "daemon"):
        aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%SZ}")
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        _broken(path).unlink(missing_ok=True)
    return aside


@contextlib.contextmanager
def lock(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock beside the outbox; the kernel lets go of it when the process ends, however.

    Args:
        path: the outbox.
        purpose: `daemon`, `sender` or `layout`; each is a lock of its own.
        wait: for a holder to let go, instead of raising.

    Raises:
        OutboxInUseError: when another holds it.
        OutboxError: when the lock file cannot be written.
    """
    file = path.with_name(f"{path.name}.{purpose}.lock")
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutboxError(f"{file}: cannot be written ({error.strerror})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "?"
            raise OutboxInUseError(
                f"{path}: process {holder} is its {purpose} already; end that one, "
                "or name another outbox in the configuration"
            ) from None
        with contextlib.suppress(OSError):  # a full disk has room for the lock, not for a number
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
