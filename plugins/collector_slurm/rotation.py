"""Follows a log through rotation, compression, copy-and-truncate and plain truncation.

A file is known by its first line, not by its name or inode: it keeps that line when it is renamed,
copied or compressed, and another file has another one. A place in the log is therefore the
fingerprint of a first line and a number of (uncompressed) bytes that have been read after it.

The writer is asked to do nothing. Lines that it wrote between the copy and the truncation of
`copytruncate` are lost before anybody can read them; with renaming (logrotate's default) none are.
"""

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import msgspec

from collector.source import SourceError

_FIRST_LINE_BYTES = 4096
_OPEN: dict[str, Callable[[Path], object]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile)


class Place(msgspec.Struct, frozen=True):
    """How far a log has been read."""

    head: str
    """Fingerprint of the first line of the file."""
    position: int
    """Bytes of it that have been read."""


class Part(msgspec.Struct, frozen=True):
    """A file to read."""

    path: Path
    head: str
    position: int
    """Where to begin."""
    final: bool
    """Whether the writer has gone on to a newer file, so that nothing will be added."""


def all_parts(path: Path) -> list[Part]:
    """Finds the files of a log, oldest first.

    Args:
        path: the log; rotated files stand beside it and have names that begin with its name.

    Raises:
        SourceError: when the log or its directory cannot be read.
    """
    try:
        files = sorted(
            (one for one in path.parent.glob(f"{path.name}*") if one.is_file()),
            key=lambda one: (one == path, one.stat().st_mtime_ns, one.name),
        )
        if not files:
            path.stat()
        known = [(one, head) for one in files if (head := fingerprint(one)) is not None]
    except OSError as error:
        raise SourceError(
            f"{path}: {error.strerror or error}; is it JobCompLoc, and may this user read it?"
        ) from error
    newest = {head: one for one, head in known}
    known = [(one, head) for one, head in known if newest[head] == one]
    return [Part(one, head, 0, number < len(known) - 1) for number, (one, head) in enumerate(known)]


def parts_since(path: Path, place: Place | None) -> tuple[list[Part], bool]:
    """Finds what is to be read after a place; see `all_parts` and `unread_parts`."""
    return unread_parts(all_parts(path), place)


def unread_parts(parts: list[Part], place: Place | None) -> tuple[list[Part], bool]:
    """Leaves out what was read.

    Args:
        parts: all that there are.
        place: how far was read; None: nothing yet.

    Returns:
        The parts, and whether the place was found again. When it was not (truncated, or rotated
        away), they are all that there are: reading something twice is harmless.
    """
    if place is None:
        return parts, True
    for number, part in enumerate(parts):
        if part.head == place.head and length_bytes(part.path, place) >= place.position:
            begin = msgspec.structs.replace(part, position=place.position)
            return [begin, *parts[number + 1 :]], True
    return parts, False


def fingerprint(path: Path) -> str | None:
    """What a file is known by; None while it has no first line."""
    try:
        with opened(path) as file:
            line = file.readline(_FIRST_LINE_BYTES)
    except _DAMAGED:
        return None
    if not line.endswith(b"\n") and len(line) < _FIRST_LINE_BYTES:
        return None
    return hashlib.sha256(line).hexdigest()[:32]


def length_bytes(path: Path, place: Place) -> int:
    """How long a file is, as far as a place needs to know; compressed files are never cut."""
    return place.position if path.suffix in _OPEN else path.stat().st_size


def lines_of(part: Part) -> Iterator[bytes]:
    """Gives the lines of a part; the last one without a newline only when it is final.

    Raises:
        SourceError: when it cannot be read, or is damaged.
    """
    try:
        with opened(part.path) as file:
            file.seek(part.position)
            for line in file:
                if line.endswith(b"\n") or part.final:
                    yield line
    except (OSError, *_DAMAGED) as error:
        raise SourceError(f"{part.path}: cannot be read to its end: {error}") from error


def opened(path: Path) -> IO[bytes]:
    """Opens a log, compressed or not."""
    open_compressed = _OPEN.get(path.suffix)
    return cast("IO[bytes]", open_compressed(path)) if open_compressed else path.open("rb")
