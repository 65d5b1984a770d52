"""Finds the files of a log through rotation, compression, copy-and-truncate and plain truncation.

A file is known by its first line, not by its name or inode: it keeps that line when it is renamed,
copied or compressed, and another file has another one. How far each file has been read is the
caller's to keep, by the fingerprint of its first line; so a file that comes back later, from a
backup or by hand, is read like any other.

Which files are the log's is decided by their names alone: what rotation makes of the log's name.
`jobcomp_gpu` beside `jobcomp` is another log. Their order is that of their content, since times of
modification do not survive a copy, a restore or `touch`.

The writer is asked to do nothing. Lines that it wrote between the copy and the truncation of
`copytruncate` are lost before anybody can read them; with renaming (logrotate's default) none are.
"""

import bz2
import gzip
import hashlib
import lzma
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, cast

import msgspec

from collector.source import SourceError

_FIRST_LINE_BYTES = 4096
_LOOKED_AT_LINES = 100
_OPEN: dict[str, Callable[[Path], object]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_OTHER_ARCHIVES = ("7z", "lrz", "lz", "lz4", "lzma", "lzo", "Z", "zip", "zst")
_STAMP = r"[-._](?:\d[\dTZ.:_+-]*|old|bak)"
"""What rotation puts into a name: `.1`, `-20261125`, `-2026-11-25T00:00:00`, `.old`."""
_ARCHIVE = rf"(?:\.(?:{'|'.join([*(suffix[1:] for suffix in _OPEN), *_OTHER_ARCHIVES])}))?"
_DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile)


class Part(msgspec.Struct, frozen=True):
    """A file of the log."""

    path: Path
    head: str
    """Fingerprint of its first line."""
    final: bool
    """Whether the writer has gone on to a newer file, so that nothing will be added."""
    size_bytes: int | None
    """How long it is; None for an archive, which says so only when it is unpacked."""
    written_at: float
    """When it was last written, in epoch seconds; no more than a hint."""


class Files(msgspec.Struct, frozen=True):
    """What there is of a log."""

    parts: list[Part]
    """Oldest first."""
    problems: list[str]
    """Files of this log that cannot be read: which, why, and what to do."""
    neighbours: list[Path]
    """Files whose names begin with the log's, and that no rotation made of it."""


class RotatedLog:
    """Finds the files of one log; remembers of archives what it has seen in them."""

    def __init__(self, path: Path, time_of: Callable[[bytes], str | None]) -> None:
        """Keeps both.

        Args:
            path: the log; rotated files are beside it.
            time_of: the time of a line, as a text that sorts; None for a line without any.
        """
        self.path, self._time_of = path, time_of
        whole, stem, suffix = (re.escape(one) for one in (path.name, path.stem, path.suffix))
        names = [f"{whole}(?:{_STAMP})?"]
        if suffix:  # logrotate's `extension`: jobcomp-20261125.log
            names.append(f"{stem}{_STAMP}{suffix}")
        self._own = re.compile(f"(?:{'|'.join(names)}){_ARCHIVE}")
        self._seen: dict[Path, tuple[tuple[int, ...], tuple[str, str] | None]] = {}

    def files(self) -> Files:
        """Looks which files there are.

        Raises:
            SourceError: when the log or its directory cannot be read.
        """
        own, neighbours = [], []
        try:
            for one in self.path.parent.glob(f"{self._common_name()}*"):
                if self._own.fullmatch(one.name) and one.is_file():
                    own.append(one)
                elif one.name.startswith(self.path.name):
                    neighbours.append(one)
            if not own:
                self.path.stat()
            return self._files(own, sorted(neighbours))
        except OSError as error:
            raise SourceError(
                f"{self.path}: {error.strerror or error}; is it JobCompLoc, and may this user "
                "read it?"
            ) from error

    def _common_name(self) -> str:
        """What all names of this log's files begin with, as a pattern for `glob`."""
        return re.sub(r"([*?[])", r"[\1]", self.path.stem)

    def _files(self, own: list[Path], neighbours: list[Path]) -> Files:
        """Reads the first lines, and puts the files in order."""
        problems: list[str] = []
        known: dict[str, tuple[tuple[bool, str, str], Path]] = {}
        for one in own:
            if one.suffix[1:] in _OTHER_ARCHIVES:
                problems.append(
                    f"{one}: this kind of archive cannot be read; unpack it beside the log, and "
                    "set compresscmd to gzip, bzip2 or xz in logrotate's configuration"
                )
                continue
            try:
                found = self._look(one)
            except FileNotFoundError:
                continue  # rotated away meanwhile: the next look finds it under its new name
            except _DAMAGED as error:
                problems.append(_damage(one, error))
                continue
            if found is None:
                continue
            head, time = found
            order = (one == self.path, time, one.name)
            # A file and its archive, or the log and its copy, are the same: the plain one is whole.
            if head not in known or _rank(one, self.path) > _rank(known[head][1], self.path):
                known[head] = (order, one)
        ordered = sorted((order, path, head) for head, (order, path) in known.items())
        parts = [
            part
            for number, (_, path, head) in enumerate(ordered, 1)
            if (part := _part(path, head, final=number < len(ordered))) is not None
        ]
        self._seen = {path: seen for path, seen in self._seen.items() if path in own}
        return Files(parts, problems, neighbours)

    def _look(self, path: Path) -> tuple[str, str] | None:
        """The fingerprint of a file, and the time of its first line that has one.

        None while it has no first line.
        """
        stat = path.stat()
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if path in self._seen and self._seen[path][0] == state:
            return self._seen[path][1]
        with opened(path) as file:
            head = _fingerprint(file.readline(_FIRST_LINE_BYTES))
            found = None if head is None else (head, "")
            if head is not None and path != self.path:  # the log itself is always the newest
                file.seek(0)
                found = (head, self._first_time(file) or _iso(stat.st_mtime))
        self._seen[path] = state, found
        return found

    def _first_time(self, lines: IO[bytes]) -> str | None:
        times = map(self._time_of, islice(lines, _LOOKED_AT_LINES))
        return next((time for time in times if time is not None), None)


def lines_of(part: Part, position: int) -> Iterator[bytes]:
    """Gives the lines of a part; the last one without a newline only when it is final.

    Args:
        part: the file.
        position: where to begin, in (uncompressed) bytes.

    Raises:
        SourceError: when it cannot be read, is damaged, or another file has its name by now.
    """
    try:
        with opened(part.path) as file:
            if _fingerprint(file.readline(_FIRST_LINE_BYTES)) != part.head:
                raise SourceError(f"{part.path}: was rotated while it was read; read on later")
            file.seek(position)
            for line in file:
                if line.endswith(b"\n") or part.final:
                    yield line
    except (OSError, *_DAMAGED) as error:
        raise SourceError(_damage(part.path, error)) from error


def opened(path: Path) -> IO[bytes]:
    """Opens a log, compressed or not."""
    open_compressed = _OPEN.get(path.suffix)
    return cast("IO[bytes]", open_compressed(path)) if open_compressed else path.open("rb")


def _part(path: Path, head: str, *, final: bool) -> Part | None:
    """A file with its size; None if it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    size_bytes = None if path.suffix in _OPEN else stat.st_size
    return Part(path, head, final, size_bytes, stat.st_mtime)


def _rank(path: Path, log: Path) -> tuple[bool, bool]:
    """Which of two files with the same first line to read: the log, else what is not packed."""
    return path == log, path.suffix not in _OPEN


def _fingerprint(line: bytes) -> str | None:
    """What a file is known by; None while it has no first line."""
    if not line.endswith(b"\n") and len(line) < _FIRST_LINE_BYTES:
        return None
    return hashlib.sha256(line).hexdigest()[:32]


def _damage(path: Path, error: BaseException) -> str:
    return (
        f"{path}: cannot be read to its end: {error}; if it stays so, put an intact copy in its "
        "place, or move it away"
    )


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S")
