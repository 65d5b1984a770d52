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
import io
import lzma
import re
import threading
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from collector.source import SourceError
from collector.source.command import output_of

_FIRST_LINE_BYTES = 4096
_LOOKED_AT_LINES = 100
_SKIP_BYTES = 1 << 20
_OPEN: dict[str, Callable[[Path], object]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".lzma": lzma.open,
}
_COMMANDS = {".zst": "zstd", ".lz4": "lz4", ".lz": "lzip", ".Z": "gzip"}
"""Archives that Python cannot read → the command that unpacks them, if it is installed."""
_COMMAND_TIMEOUT_S = 300
_OTHER_ARCHIVES = (".7z", ".lrz", ".lzo", ".zip")
_STAMP = r"[-._](?:\d[\dTZ.:_+-]*|old|bak)"
"""What rotation puts into a name: `.1`, `-20261125`, `-2026-11-25T00:00:00`, `.old`."""
_ARCHIVE = rf"(?:\.(?:{'|'.join(one[1:] for one in (*_OPEN, *_COMMANDS, *_OTHER_ARCHIVES))}))?"
_DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile, SourceError)


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
            if one.suffix in _OTHER_ARCHIVES:
                problems.append(_damage(one, "this kind of archive is not known"))
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
        head = head_of(path)
        found = None if head is None else (head, "")
        if head is not None and path != self.path:  # the log itself is always the newest
            with opened(path) as file:
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
        if not _is_plain(part.path) and head_of(part.path) != part.head:
            raise SourceError("another file has its name by now")
        with opened(part.path) as file:
            if _is_plain(part.path) and _read_head(file) != part.head:
                raise SourceError("it was rotated while it was read; read on later")
            _go_to(file, position)
            for line in file:
                if line.endswith(b"\n") or part.final:
                    yield line
    except (OSError, *_DAMAGED) as error:
        raise SourceError(_damage(part.path, error)) from error


def head_of(path: Path) -> str | None:
    """What a file is known by; None while it has no first line."""
    with opened(path) as file:
        return _read_head(file)


def opened(path: Path) -> IO[bytes]:
    """Opens a log, compressed or not."""
    if open_compressed := _OPEN.get(path.suffix):
        return cast("IO[bytes]", open_compressed(path))
    if command := _COMMANDS.get(path.suffix):
        arguments = [command, "-dcq", "--", str(path)]
        chunks = output_of(arguments, _COMMAND_TIMEOUT_S, threading.Event())
        return cast("IO[bytes]", io.BufferedReader(_Printed(chunks)))
    return path.open("rb")


class _Printed(io.RawIOBase):
    """What a command prints, as a file that is read once, from its beginning."""

    def __init__(self, chunks: Generator[bytes, None, None]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        self._chunks.close()  # ends the command, if it still runs
        super().close()


def _is_plain(path: Path) -> bool:
    """Whether a file is none that has to be unpacked."""
    return path.suffix not in _OPEN and path.suffix not in _COMMANDS


def _go_to(file: IO[bytes], position: int) -> None:
    """Goes to a position; a file that cannot seek is at its beginning."""
    if file.seekable():
        file.seek(position)
        return
    while position > 0 and (skipped := file.read(min(position, _SKIP_BYTES))):
        position -= len(skipped)


def _read_head(file: IO[bytes]) -> str | None:
    """The fingerprint of the line that a file is at; None for one that is not whole yet."""
    line = file.readline(_FIRST_LINE_BYTES)
    if not line.endswith(b"\n") and len(line) < _FIRST_LINE_BYTES:
        return None
    return hashlib.sha256(line).hexdigest()[:32]


def _part(path: Path, head: str, *, final: bool) -> Part | None:
    """A file with its size; None if it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    size_bytes = stat.st_size if _is_plain(path) else None
    return Part(path, head, final, size_bytes, stat.st_mtime)


def _rank(path: Path, log: Path) -> tuple[bool, bool]:
    """Which of two files with the same first line to read: the log, else what is not packed."""
    return path == log, _is_plain(path)


def _damage(path: Path, error: BaseException | str) -> str:
    return (
        f"{path}: cannot be read to its end: {error}; if it stays so, unpack it beside the log, or "
        "put an intact copy in its place"
    )


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S")
