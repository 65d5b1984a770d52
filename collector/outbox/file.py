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

from collector.outbox import layout

_BUSY_TIMEOUT_S = 30
_PAGE_BYTES = 16_384


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
    if layout.is_behind(connection):
        with lock(path, "layout", wait=True):
            if layout.is_behind(connection):
                layout.migrate(connection)
    if unknown := layout.unknown(connection):
        raise OutboxError(
            f"{path}: was written by a newer version of the program (this one does not know "
            f"{', '.join(unknown)}); install that version, or name another outbox"
        )


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
