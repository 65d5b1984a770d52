r"""Follows the files that a schedd appends its history to, through their rotation.

A record is the lines of an ad, then its banner (`*** Offset = … CurrentTime = …`), which ends it. A
file grows by appends that are neither atomic nor synced, is renamed to `history.YYYYMMDDTHHMMSS`
when it is full, and is removed some rotations later. So:

- an ad counts only when its banner line and the newline after it are there; what follows the last
  banner is read again at the next poll. Behind the last banner of a rotated file nothing can come
  any more: what is there is given as `Piece.stump`, once.
- a file is known by its first ad with its banner (`head`, a digest of them), whatever its name and
  inode are: it is followed through renames, restores from a backup and reused inodes. What was read
  of it is a byte position, which is trusted only while a banner ends there.
- each file has its own position, so the order of the names does not matter (they are local times,
  which run backwards once a year), nor how many rotations there were between two polls.
- a file that is gone before it was read to its end as a rotated one is a gap (see `source.py`).

The banner's `Offset` is where the last line began when the ad was appended: normally the banner
before it. If so the ad was appended to an intact file, and is one whole ad; if not, `Ad.intact` is
False and `torn_ads.py` looks closer.

A crash leaves nothing here: positions are the caller's to keep.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

CHUNK_BYTES = 4 * 2**20
"""About a thousand ads; what is read of a file at a time, and the size of a batch."""
AD_LIMIT_BYTES = 64 * 2**20
"""An ad that is larger is not read but reported; users can make ads of any size."""

_BANNER = re.compile(rb"\n\*\*\* ([^\n]*)(?=\n)")
_ROTATED = re.compile(r"\.(?:\d{8}T\d{6}|old)\Z")
_LEFT = re.compile(
    rb"\n(?:EnteredCurrentStatus = (\d{1,11})(?=\n)|\*\*\* [^\n]* CurrentTime ?= ?(\d{1,11})\Z)"
)
_HEAD_BYTES = 16 * 2**10
_WRITING_S = 60
"""An ad takes no longer to be written; one whose end is missing for longer, its schedd left so."""


class Ad(msgspec.Struct, gc=False):
    """The text of one record of a history file."""

    raw: bytes
    """A newline, the ad's lines, and its banner line without its newline."""
    at: int
    """Byte position of its first line in the file."""
    intact: bool
    """Whether it was surely appended to an intact file."""
    missing_bytes: int = 0
    """How much of its middle is left out, because it is larger than AD_LIMIT_BYTES."""


class Position(msgspec.Struct, forbid_unknown_fields=True):
    """What was read of one file."""

    head: str
    """Digest of the file's first ad with its banner, or of all it holds if there is no banner."""
    at: int = 0
    """Bytes read; the next ad begins here."""
    banner_at: int = 0
    """Where the last banner before `at` begins; 0 at the start of a file, as in a banner."""
    ended: bool = False
    """The file was rotated and read to its end."""
    left: int = 0
    """When the last job read from it left the queue, in epoch seconds; 0 where it does not say."""
    size_bytes: int = 0
    """Of an ended file: how long it was. A shadow that had it open may still append to it."""

    def has_more(self, size_bytes: int) -> bool:
        """Whether there may be more to read in the file, which is so long now."""
        return not self.ended or (0 < self.size_bytes < size_bytes)


class Piece(msgspec.Struct):
    """What a pass gives at a time: the ads of a chunk of a file, and the position behind them."""

    path: Path
    ads: list[Ad]
    position: Position
    stump: bytes = b""
    """What is at `position.at` of a rotated file: an ad that nothing will complete."""


class File(msgspec.Struct):
    """A history file on disk."""

    path: Path
    head: str
    size_bytes: int
    first: bytes
    """The beginning of its first ad, up to its banner, at most 16 KiB."""
    rotated: bool


def paths(current: Path) -> list[Path]:
    """The history files of a schedd that are there, oldest first by name, the current one last."""
    found = [
        entry.name
        for entry in os.scandir(current.parent)
        if entry.name.startswith(current.name)
        and _ROTATED.fullmatch(entry.name[len(current.name) :])
    ]
    found.sort(key=lambda name: (not name.endswith(".old"), name))
    return [*(current.parent / name for name in found), *([current] if current.exists() else [])]


def files(current: Path) -> list[File]:
    """The history files that hold anything to read, oldest first.

    Raises:
        OSError: when one cannot be read; one that vanishes meanwhile is left out.
    """
    found = []
    for path in paths(current):
        try:
            with path.open("rb") as stream:
                file = _identify(stream, path, rotated=path != current)
        except FileNotFoundError:
            continue
        if file is not None:
            found.append(file)
    return found


def read(file: File, position: Position) -> Iterator[Piece]:
    """Reads what a file holds behind a position, a chunk at a time.

    Yields:
        Pieces; one that ends a rotated file has `position.ended`.

    Raises:
        OSError: when the file cannot be read, or is gone.
    """
    with file.path.open("rb") as stream:
        present = _identify(stream, file.path, rotated=file.rotated)
        if present is None or present.head != file.head:
            return  # rotated since it was listed: the next pass finds it under its new name
        yield from _read(stream, file, position)


def continues(file: File, position: Position) -> bool:
    """Whether a position lies in the file as it is: at the end of a banner line."""
    if not position.has_more(file.size_bytes) or position.at == 0:
        return True
    with file.path.open("rb") as stream:
        stream.seek(position.banner_at)
        line = stream.read(position.at - position.banner_at)
    return (
        len(line) == position.at - position.banner_at
        and line.startswith(b"*** ")
        and line.find(b"\n") == len(line) - 1
    )


def unread(file: File, position: Position, now: float) -> float | None:
    """When the oldest ad behind a position was written; reads that ad only.

    Args:
        file: that holds it.
        position: in that file.
        now: in epoch seconds.

    Returns:
        Epoch seconds: of an ad whose end was never written, the file's last write. None if there is
        nothing behind the position, or just an ad that is being written.

    Raises:
        OSError: when the file cannot be read, or is gone.
    """
    if not position.has_more(file.size_bytes) or file.size_bytes <= position.at:
        return None
    with file.path.open("rb") as stream:
        written = os.fstat(stream.fileno()).st_mtime
        stream.seek(position.at)
        text, whole = _first_ad(stream)
    if whole:
        return left_queue(text) or written
    return written if now - written > _WRITING_S else None


def left_queue(ad: bytes) -> int:
    """When the job of an ad left the queue, or ended, in epoch seconds; 0 if the ad does not say.

    `CurrentTime` of the banner says it from HTCondor 24.0.23 on.
    """
    found = _LEFT.findall(ad)
    return int(found[-1][0] or found[-1][1]) if found else 0


def _identify(stream: BinaryIO, path: Path, *, rotated: bool) -> File | None:
    """Digests the first ad with its banner; None for a file that holds no whole ad yet."""
    text, whole = _first_ad(stream)
    if not whole and len(text) < AD_LIMIT_BYTES and not (rotated and len(text) > 1):
        return None
    return File(
        path=path,
        head=hashlib.sha256(text[:AD_LIMIT_BYTES]).hexdigest()[:32],
        size_bytes=os.fstat(stream.fileno()).st_size,
        first=text[:_HEAD_BYTES],
        rotated=rotated,
    )


def _first_ad(stream: BinaryIO) -> tuple[bytes, bool]:
    """Reads an ad with its banner, and says whether it is whole; if not, all that is there."""
    text, banner = b"\n", None
    while banner is None and len(text) < AD_LIMIT_BYTES:
        chunk = stream.read(max(len(text), _HEAD_BYTES))
        if not chunk:
            return text, False
        text += chunk
        banner = _BANNER.search(text)
    return (text, False) if banner is None else (text[: banner.end()], True)


def _read(stream: BinaryIO, file: File, position: Position) -> Iterator[Piece]:
    at, banner_at, left = position.at, position.banner_at, position.left
    stream.seek(at)
    tail = b"\n"  # text behind the last banner, from the newline that ends it
    hole_bytes = 0  # what was left out of the middle of `tail`, because the ad is too large
    searched = 0
    while chunk := stream.read(CHUNK_BYTES):
        text = tail + chunk
        ads, start = [], 0
        for banner in _BANNER.finditer(text, searched):
            intact = not hole_bytes and text.startswith(
                b"Offset = %d ClusterId" % banner_at, banner.start() + 5
            )
            end = banner.end()
            ads.append(Ad(text[start:end], at, intact, hole_bytes))
            banner_at = at + hole_bytes + banner.start() - start
            at += hole_bytes + end - start
            start, hole_bytes = end, 0
        tail = text[start:]
        if len(tail) > AD_LIMIT_BYTES:
            hole_bytes += len(tail) - 2 * _HEAD_BYTES
            tail = tail[:_HEAD_BYTES] + tail[-_HEAD_BYTES:]
        searched = tail.rfind(b"\n")
        if ads:
            left = left_queue(ads[-1].raw) or left
            yield Piece(file.path, ads, Position(file.head, at, banner_at, left=left))
    if file.rotated:
        size_bytes = at + hole_bytes + len(tail) - 1
        ended = Position(file.head, at, banner_at, True, left, size_bytes)
        yield Piece(file.path, [], ended, tail[1:])
