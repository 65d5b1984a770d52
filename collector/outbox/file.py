"""The SQLite file: how it is opened and locked, and what its errors mean.

Only the outbox uses this. The file belongs to one user (mode 0600; SQLite gives `-wal` and
`-shm` the mode of the file). `rescue.py` has what is done with a file that cannot be used.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from collector.outbox import layout, rescue

_BUSY_TIMEOUT_S = 30
_PAGE_BYTES = 16_384
_INCREMENTAL = 2
"""Source: https://www.sqlite.org/pragma.html#pragma_auto_vacuum."""
_STEP_PAGES = 64
_SLACK_BYTES = 2**24
_REWRITE_BYTES = 2**26


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
                "of its directory, and whether the file system is read-only or has no inodes left "
                "(df -i)"
            ) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG):
            with contextlib.suppress(OSError):
                _broken(path).touch(mode=0o600)
            raise OutboxError(
                f"{path}: is damaged ({error}); restart the collector: it keeps the file aside, "
                "starts a new one and reads its sources again"
            ) from error
        raise OutboxError(f"{path}: {error}") from error


class SetAside(msgspec.Struct):
    """A file that could not be used, and was kept."""

    path: Path
    why: str
    """What was the matter with it."""
    restored: bool
    """Whether the outbox holds what was in it."""


def open_file(
    path: Path, now: datetime, *, create: bool
) -> tuple[sqlite3.Connection, SetAside | None]:
    """Opens an outbox, makes it if it is not there, and brings it to the present layout.

    Args:
        path: the file.
        now: names a file that is kept aside.
        create: whether a missing or damaged file may be replaced by a new one.

    Returns:
        The connection (autocommit; any thread), and what was kept aside.

    Raises:
        OutboxError: when it cannot be opened, or is of a newer program.
    """
    aside = None
    if create:
        aside = _prepare(path, now)
    else:
        _look(path)
    try:
        return _open(path, create=create), aside
    except OutboxError as error:
        damaged = isinstance(error.__cause__, sqlite3.DatabaseError) and _broken(path).exists()
        if not (damaged and create):
            raise
    aside = _keep_aside(path, now)
    return _open(path, create=True), aside


def _look(path: Path) -> None:
    """Raises for a file that only a start of the collector may touch."""
    if rescue.is_hollow(path):
        raise OutboxError(
            f"{path}: is empty or gone, beside a write-ahead log that holds something; start the "
            "collector: it keeps the log aside and restores what is in it"
        )
    if not path.exists():
        raise OutboxError(f"{path}: there is no outbox; has the collector run with this file?")


def _prepare(path: Path, now: datetime) -> SetAside | None:
    """Completes what a crash interrupted, and keeps aside what cannot be opened as it is."""
    if (replaced := rescue.finish(path, now)) is not None:
        return SetAside(replaced, "was put in the place of the one in use", restored=True)
    if _broken(path).exists():
        return _keep_aside(path, now)
    if rescue.is_hollow(path):
        return _keep_aside(path, now, "was empty or gone, beside its write-ahead log")
    return None


def _keep_aside(path: Path, now: datetime, why: str = "was damaged") -> SetAside:
    with lock(path, "daemon"):
        hollow = rescue.is_hollow(path)
        aside = rescue.keep_aside(path, now)
        _broken(path).unlink(missing_ok=True)
        restored = hollow and rescue.salvage(aside, path)
    return SetAside(aside, why, restored)


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
    if _is_unfinished(connection):
        # One at a time: SQLite does not wait for another that changes the journal mode too.
        with lock(path, "layout", wait=True):
            if _is_unfinished(connection):
                _set_up(connection)
    if unknown := layout.unknown(connection):
        raise OutboxError(
            f"{path}: was written by a newer version of the program (this one does not know "
            f"{', '.join(unknown)}); install that version, or name another outbox"
        )


def _is_unfinished(connection: sqlite3.Connection) -> bool:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return mode != "wal" or layout.is_behind(connection)


def _set_up(connection: sqlite3.Connection) -> None:
    # These two are of a new file; an old one keeps its own. The usual 4 kB hold a few records
    # only, and every page costs a system call or two.
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    layout.migrate(connection)


def give_back(connection: sqlite3.Connection) -> bool:
    """Gives a bounded part of the free pages back; says whether there is more to give.

    What the file will soon need again stays: a quarter of it, or 16 MiB.
    """
    pages, free, page_bytes, vacuum = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size", "auto_vacuum")
    )
    surplus = free - max(pages // 4, _SLACK_BYTES // page_bytes)
    if surplus <= 0:
        return False
    if vacuum == _INCREMENTAL:
        # It is stepped through only as a script: as a statement, it has a row without columns for
        # each page, and ends at the first.
        connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, _STEP_PAGES)})")
        return bool(surplus > _STEP_PAGES)
    if (pages - free) * page_bytes <= _REWRITE_BYTES:
        # A file of an earlier release; once, and then as above.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
    return False


def truncated(path: Path) -> OutboxError:
    """Marks a file that was emptied while it was in use, and says what to do."""
    _broken(path).touch(mode=0o600)
    return OutboxError(
        f"{path}: was emptied while it was in use; restart the collector: it keeps what is left "
        "aside, restores what it can and reads its sources again"
    )


def _broken(path: Path) -> Path:
    """A mark beside a file in which damage was met while it was in use."""
    return path.with_name(path.name + ".damaged")


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
