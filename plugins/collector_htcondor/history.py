"""Reads jobs, or runs of jobs, from the history files of a schedd.

Promises: every ad of the history files is in exactly one of `jobs`, `unreadable` and `filtered`;
a checkpoint continues exactly behind the ads of its batch, whatever rotation did meanwhile; files
that are gone before they were read are reported. Nothing is kept between two polls, so a crash
leaves nothing that a checkpoint does not hold.
"""

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from collector.source import (
    Batch,
    Checkpoint,
    Context,
    Finding,
    Job,
    Lag,
    SourceError,
    Unreadable,
)
from collector_htcondor import places, rotation
from collector_htcondor.checkpoint import understood
from collector_htcondor.jobs import JobReader
from collector_htcondor.pieces import PieceReader
from collector_htcondor.section import HTCondorSection

_SAMPLE_BYTES = 2 * 2**20
"""About 500 ads."""


class _Checkpoint(msgspec.Struct, forbid_unknown_fields=True):
    files: list[rotation.Position] = []


class HistoryFiles:
    """Follows the history, or the epoch history, of one schedd."""

    def __init__(self, section: HTCondorSection, context: Context, reader: JobReader) -> None:
        self.section, self.context, self._reader = section, context, reader
        reads_epochs = section.mode == "epochs"
        self._current = section.epoch_history if reads_epochs else section.history
        self._waiting = False
        self._pieces = PieceReader(reader, context, of_epochs=reads_epochs)

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Reads what was appended since a checkpoint; see `Source.poll`."""
        known = self._positions(checkpoint)
        self._reader.now_s = int(self.context.now().timestamp())
        files = self._files(waits=not known)
        positions = {
            file.head: self._position(file, known.get(file.head) or rotation.Position(file.head))
            for file in files
        }
        lost = [one for head, one in known.items() if head not in positions and not one.ended]
        for position in lost:
            self._log_gap(position, [file for file in files if file.head not in known])
        due = [file for file in files if positions[file.head].has_more(file.size_bytes)]
        total_bytes = sum(file.size_bytes - positions[file.head].at for file in due)
        read_bytes = 0
        if lost:
            yield Batch(checkpoint=_checkpoint(positions))
        for file in due:
            self._pieces.next_file()
            before = positions[file.head].at
            for piece in self._read(file, positions[file.head]):
                read_bytes += piece.position.at - before
                before = piece.position.at
                positions[file.head] = piece.position
                batch = self._pieces.batch(piece)
                batch.checkpoint = _checkpoint(positions)
                batch.progress = min(read_bytes / total_bytes, 1.0) if total_bytes else 1.0
                yield batch
                if self.context.stop.is_set():
                    return

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        """Looks at the next ad of each file; see `Source.lag`."""
        known, now = self._positions(checkpoint), self.context.now()
        files = self._files(waits=not known)
        unread: dict[str, float] = {}
        for file in files:
            position = known.get(file.head) or rotation.Position(file.head)
            try:
                written = rotation.unread(file, position, now.timestamp())
            except FileNotFoundError:
                continue  # as when it is read
            except OSError as error:
                raise self._cannot_read(error) from error
            if written is not None:
                unread[file.head] = written
        oldest = min(
            filter(None, (rotation.left_queue(file.first) for file in files)), default=None
        )
        return Lag.of_files(
            now,
            unread=min(unread.values(), default=None),
            oldest=oldest if len(files) > 1 else None,
            oldest_unread=any(file.head in unread for file in files[:1]),
        )

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads all files for what ended in a period; see `Source.backfill`."""
        self._reader.now_s = int(self.context.now().timestamp())
        files = self._files()
        oldest_at = min(filter(None, map(_left_at, files)), default=None)
        if oldest_at is None or oldest_at > since:
            self.context.log.warning(
                "history begins after the period",
                history=str(self._current),
                oldest_at=str(oldest_at),
                since=str(since),
            )
        period = range(int(since.timestamp()), int(until.timestamp()))
        total_bytes = sum(file.size_bytes for file in files) or 1
        read_bytes = 0
        for file in files:
            self._pieces.next_file()
            before = 0
            for piece in self._read(file, rotation.Position(file.head)):
                read_bytes += piece.position.at - before
                before = piece.position.at
                batch = self._pieces.batch(piece, period)
                read = batch.jobs
                batch.jobs = [job for job in read if job.stop_at and since <= job.stop_at < until]
                batch.progress = min(read_bytes / total_bytes, 1.0)
                yield batch
                if self.context.stop.is_set():
                    return

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of a record of a file; see `Source.parse`."""
        return self._pieces.parse(raw, where)

    def check(self) -> Iterator[Finding]:
        """Looks at the files; see `Source.check`."""
        current, limits = self._current, places.PLACES[self.section.mode].limits
        try:
            files = self._files(waits=True)
        except SourceError as error:
            yield Finding(ok=False, text=str(error))
            return
        if not files and not current.exists():
            text = f"{current}: is not there yet; it is made when the first "
            yield Finding(ok=True, text=text + ("run ends" if limits[4] == "E" else "job leaves"))
            return
        size_bytes = sum(file.size_bytes for file in files)
        oldest_at = min(filter(None, map(_left_at, files)), default=None)
        span = "no job yet" if oldest_at is None else f"the oldest job left the queue {oldest_at}"
        yield Finding(
            ok=True,
            text=f"{current}: {len(files)} history files, {size_bytes} bytes, {span}. The schedd "
            "removes the oldest: if the collector is down for longer than that, jobs are lost. "
            f"{limits} in HTCondor's configuration set how many it keeps (by default 2 × 20 MB)",
        )

    def _positions(self, checkpoint: Checkpoint | None) -> dict[str, rotation.Position]:
        """What was read of each file, by its digest."""
        found = understood(checkpoint, _Checkpoint, self.section.mode)
        return {position.head: position for position in found.files}

    def _files(self, *, waits: bool = False) -> list[rotation.File]:
        """The history files with an ad in them, each file once whatever its copies.

        Args:
            waits: whether there may be none yet: a schedd makes it when the first job leaves.

        Raises:
            SourceError: when there is none, or one cannot be read.
        """
        current = self._current
        try:
            if not rotation.paths(current):
                if not waits or places.elsewhere(current) or not current.parent.is_dir():
                    raise SourceError(places.missing(current, self.section.mode))
                self._wait()
                return []
            found: dict[str, rotation.File] = {}
            for file in rotation.files(current):
                other = found.get(file.head)
                if other is None or file.size_bytes >= other.size_bytes:
                    found.pop(file.head, None)
                    found[file.head] = file
        except OSError as error:
            raise self._cannot_read(error) from error
        return list(found.values())

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            self.context.log.info(
                "history file not there yet; waiting for it", history=str(self._current)
            )

    def sample(self) -> Iterator[bytes]:
        """Some ads of each file, in which its schedd's name is looked up."""
        for path in rotation.paths(self._current):
            with contextlib.suppress(OSError), path.open("rb") as stream:
                yield from (b"\n" + ad for ad in stream.read(_SAMPLE_BYTES).split(b"\n*** "))

    def _position(self, file: rotation.File, position: rotation.Position) -> rotation.Position:
        """The position, if the file still is what was read up to there; else its beginning."""
        try:
            if rotation.continues(file, position):
                return position
        except OSError as error:
            raise self._cannot_read(error) from error
        self.context.log.warning(
            "history file was rewritten; reading it again",
            path=str(file.path),
            position_bytes=position.at,
            size_bytes=file.size_bytes,
        )
        return rotation.Position(file.head)

    def _read(self, file: rotation.File, position: rotation.Position) -> Iterator[rotation.Piece]:
        try:
            yield from rotation.read(file, position)
        except FileNotFoundError:
            return  # rotated or removed since it was listed; the next poll finds it, or reports it
        except OSError as error:
            raise self._cannot_read(error) from error

    def _cannot_read(self, error: OSError) -> SourceError:
        if isinstance(error, FileNotFoundError):
            return SourceError(places.missing(self._current, self.section.mode))
        return SourceError(
            f"{error.filename or self._current}: cannot be read: {error.strerror}; "
            "the schedd's history is readable to everybody by default, and the spool directory "
            "must be too"
        )

    def _log_gap(self, lost: rotation.Position, unread: Iterable[rotation.File]) -> None:
        """Logs that jobs may be lost between what was read last and the oldest file not read."""
        first_at = min(filter(None, map(_left_at, unread)), default=None)
        self.context.log.error(
            "history was rotated away before it was read; jobs may be missing",
            history=str(self._current),
            read_until=_instant(lost.left),
            continues_at=first_at and first_at.isoformat(),
            hint=f"raise {places.PLACES[self.section.mode].limits} in HTCondor's configuration",
        )


def _checkpoint(positions: dict[str, rotation.Position]) -> Checkpoint:
    return msgspec.to_builtins(_Checkpoint(list(positions.values())))


def _left_at(file: rotation.File) -> datetime | None:
    """When the first job of a file left the queue."""
    left = rotation.left_queue(file.first)
    return datetime.fromtimestamp(left, UTC) if left else None


def _instant(epoch_s: int) -> str | None:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat() if epoch_s else None
