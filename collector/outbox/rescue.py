"""What is saved when the file was damaged, emptied, moved or replaced. Nothing of it is deleted.

- Damaged: it is renamed together with its `-wal`. A crash between the two renames leaves a file
  without its log, which is renamed as well when the next start cannot read it.
- Empty, or gone, beside a write-ahead log that is neither: SQLite would delete the log. It is kept
  aside; and if it holds a whole database (a young outbox, a quiet node), this becomes the outbox.
- Removed, moved or replaced under the daemon: the daemon still has what was in it, and writes it to
  its place; what is there by then is kept aside. A crash in between leaves `outbox.db.restored`,
  which the next start puts into place.
"""

import contextlib
import os
import shutil
import sqlite3
from datetime import datetime
from pathlib import Path

_WAL_HEADER_BYTES = 32
"""Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log."""


def identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None if to none, or to an empty one."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def log_identity(path: Path) -> tuple[int, int] | None:
    """Which write-ahead log is beside a path."""
    try:
        found = _beside(path, "-wal").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_hollow(path: Path) -> bool:
    """Whether an empty or missing file has a write-ahead log beside it that holds something."""
    if identity(path) is not None:
        return False
    with contextlib.suppress(FileNotFoundError):
        return _beside(path, "-wal").stat().st_size > _WAL_HEADER_BYTES
    return False


def keep_aside(path: Path, now: datetime, why: str = "damaged") -> Path:
    """Renames a file and its write-ahead log; returns the new name of the file."""
    aside = _beside(path, f".{why}-{now:%Y%m%dT%H%M%SZ}")
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(aside, suffix))
    _beside(path, "-shm").unlink(missing_ok=True)
    return aside


def salvage(aside: Path, path: Path) -> bool:
    """Makes an outbox of a write-ahead log that was kept aside, if it holds a whole one."""
    log, draft = _beside(aside, "-wal"), _beside(path, ".salvage")
    with log.open("rb") as file:
        page_bytes = int.from_bytes(file.read(12)[8:], "big")
    shutil.copyfile(log, _beside(draft, "-wal"))
    draft.write_bytes(bytes(page_bytes))  # an empty one would have SQLite delete the log
    try:
        with contextlib.closing(sqlite3.connect(draft)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok" or not connection.execute("SELECT 1 FROM totals").fetchone():
                return False
            _copy(connection, path)
    except sqlite3.Error:
        return False
    finally:
        for suffix in ("", "-wal", "-shm"):
            _beside(draft, suffix).unlink(missing_ok=True)
    _restored(path).rename(path)
    return True


def restore(
    connection: sqlite3.Connection, log: tuple[int, int] | None, path: Path, now: datetime
) -> Path | None:
    """Writes what an open connection holds to the path that does not lead to it any more.

    Args:
        connection: to the file that was removed, moved or replaced; it is closed.
        log: which write-ahead log is the connection's own, by `log_identity`.
        path: where an outbox is to be.
        now: names what is there by now.

    Returns:
        Where that was put, if there was something.

    Raises:
        sqlite3.Error, OSError: when it cannot be written; the connection stays open.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy(connection, path)
    if log is not None and log_identity(path) == log:
        # All of it is in the copy; beside another file it would be read into that.
        _beside(path, "-wal").unlink()
    aside = _put_into_place(path, now)
    connection.close()
    return aside


def finish(path: Path, now: datetime) -> Path | None:
    """Puts into place what a crash left in `restore`; returns where what was there was put."""
    return _put_into_place(path, now) if _restored(path).exists() else None


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    draft = _beside(path, ".restoring")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(draft)) as copy:
        connection.backup(copy)
    draft.rename(_restored(path))


def _put_into_place(path: Path, now: datetime) -> Path | None:
    there = identity(path) is not None
    # Also where there is no file: the log of another would be read into ours.
    aside = keep_aside(path, now, "replaced")
    _restored(path).rename(path)
    return aside if there else None


def _restored(path: Path) -> Path:
    return _beside(path, ".restored")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
