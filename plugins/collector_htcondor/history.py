"""Reads jobs, or runs of jobs, from the history files of a schedd.

Promises: every ad of the history files is in exactly one of `jobs`, `unreadable` and `filtered`;
a checkpoint continues exactly behind the ads of its batch, whatever rotation did meanwhile; files
that are gone before they were read are told. Nothing is kept between two polls, so a crash leaves
nothing that a checkpoint does not hold.
"""

from collections import Counter
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
from collector_htcondor import classad, rotation, torn_ads
from collector_htcondor.checkpoint import understood
from collector_htcondor.jobs import JobReader
from collector_htcondor.section import HTCondorSection


class _Checkpoint(msgspec.Struct, forbid_unknown_fields=True):
    files: list[rotation.Position] = []


class HistoryFiles:
    """Follows the history, or the epoch history, of one schedd."""

    def __init__(self, section: HTCondorSection, context: Context, reader: JobReader) -> None:
        self.section, self.context, self._reader = section, context, reader
        reads_epochs = section.mode == "epochs"
        self._current = section.epoch_history if reads_epochs else section.history

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Reads what was appended since a checkpoint; see `Source.poll`."""
        known = self._positions(checkpoint)
        files = self._files()
        positions = {
            file.head: self._position(file, known.get(file.head) or rotation.Position(file.head))
            for file in files
        }
        lost = [one for head, one in known.items() if head not in positions and not one.ended]
        for position in lost:
            self._tell_gap(position, [file for file in files if file.head not in known])
        due = [file for file in files if not positions[file.head].ended]
        total_bytes = sum(file.size_bytes - positions[file.head].at for file in due)
        read_bytes = 0
        if lost:
            yield Batch(checkpoint=_checkpoint(positions))
        for file in due:
            before = positions[file.head].at
            for piece in self._pieces(file, positions[file.head]):
                read_bytes += piece.position.at - before
                before = piece.position.at
                positions[file.head] = piece.position
                batch = self._batch(piece)
                batch.checkpoint = _checkpoint(positions)
                batch.progress = min(read_bytes / total_bytes, 1.0) if total_bytes else 1.0
                yield batch
                if self.context.stop.is_set():
                    return

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        """Looks at the next ad of each file; see `Source.lag`."""
        known, now = self._positions(checkpoint), self.context.now()
        files = self._files()
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
            before = 0
            for piece in self._pieces(file, rotation.Position(file.head)):
                read_bytes += piece.position.at - before
                before = piece.position.at
                batch = self._batch(piece, period)
                read = batch.jobs
                batch.jobs = [job for job in read if job.stop_at and since <= job.stop_at < until]
                batch.progress = min(read_bytes / total_bytes, 1.0)
                yield batch
                if self.context.stop.is_set():
                    return

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of a record of a file; see `Source.parse`."""
        position = where.rpartition(":")[2]
        try:
            ad = torn_ads.whole(raw, int(position) if position.isdigit() else None).raw
        except torn_ads.TornError as error:
            return Unreadable(raw, where, str(error))
        found = self._reader.job(ad, where)
        return Unreadable(raw, where, found) if isinstance(found, str) else found

    def check(self) -> Iterator[Finding]:
        """Looks at the files; see `Source.check`."""
        current = self._current
        try:
            files = self._files()
        except SourceError as error:
            yield Finding(ok=False, text=str(error))
            return
        size_bytes = sum(file.size_bytes for file in files)
        oldest_at = min(filter(None, map(_left_at, files)), default=None)
        span = "no job yet" if oldest_at is None else f"the oldest job left the queue {oldest_at}"
        yield Finding(
            ok=True,
            text=f"{current}: {len(files)} history files, {size_bytes} bytes, {span}. The schedd "
            "removes the oldest: if the collector is down for longer than that, jobs are lost. "
            "MAX_HISTORY_LOG and MAX_HISTORY_ROTATIONS in HTCondor's configuration set how many "
            "it keeps (by default 2 × 20 MB)",
        )

    def _positions(self, checkpoint: Checkpoint | None) -> dict[str, rotation.Position]:
        """What was read of each file, by its digest."""
        found = understood(checkpoint, _Checkpoint, self.section.mode)
        return {position.head: position for position in found.files}

    def _files(self) -> list[rotation.File]:
        """The history files with an ad in them, each file once whatever its copies.

        Raises:
            SourceError: when there is none, or one cannot be read.
        """
        current = self._current
        try:
            if not rotation.paths(current):
                name = "HISTORY" if self.section.mode == "history" else "JOB_EPOCH_HISTORY"
                raise SourceError(
                    f"{current}: there is no history file, nor a rotated one beside it; expected "
                    f"what `condor_config_val {name}` says on the machine of the schedd"
                )
            found: dict[str, rotation.File] = {}
            for file in rotation.files(current):
                other = found.get(file.head)
                if other is None or file.size_bytes >= other.size_bytes:
                    found.pop(file.head, None)
                    found[file.head] = file
        except OSError as error:
            raise self._cannot_read(error) from error
        return list(found.values())

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

    def _pieces(self, file: rotation.File, position: rotation.Position) -> Iterator[rotation.Piece]:
        try:
            yield from rotation.read(file, position)
        except FileNotFoundError:
            return  # rotated or removed since it was listed; the next poll finds it, or tells
        except OSError as error:
            raise self._cannot_read(error) from error

    def _cannot_read(self, error: OSError) -> SourceError:
        return SourceError(
            f"{error.filename or self._current}: cannot be read: {error.strerror}; "
            "the schedd's history is readable to everybody by default, and the spool directory "
            "must be too"
        )

    def _batch(self, piece: rotation.Piece, period: range | None = None) -> Batch:
        """Makes jobs of the ads of a piece.

        Args:
            piece: of a file.
            period: epoch seconds; if given, ads that are no jobs count only if they may be of it.
        """
        jobs: list[Job] = []
        unreadable: list[Unreadable] = []
        filtered: Counter[str] = Counter()
        make, path = self._reader.job, str(piece.path)
        for ad in piece.ads:
            raw, where = ad.raw, f"{path}:{ad.at}"
            if not ad.intact:
                try:
                    raw, begin = self._untangled(ad, where, unreadable)
                except torn_ads.TornError as error:
                    unreadable.append(Unreadable(raw, where, str(error)))
                    continue
                where = f"{path}:{ad.at + begin}"
            found = make(raw, where)
            if isinstance(found, Job):
                jobs.append(found)
            elif period is not None and (left := rotation.left_queue(raw)) and left not in period:
                continue
            elif isinstance(found, str):
                filtered[found] += 1
            else:
                unreadable.append(found)
        if piece.stump:
            where = f"{path}:{piece.position.at}"
            unreadable.append(Unreadable(piece.stump, where, _STUMP))
        return Batch(jobs, unreadable, dict(filtered))

    def _untangled(
        self, ad: rotation.Ad, where: str, unreadable: list[Unreadable]
    ) -> tuple[bytes, int]:
        """The ad without the stump of another that stands before it, and how long that is.

        Raises:
            TornError: when it is not surely one whole ad.
        """
        if ad.missing_bytes:
            raise torn_ads.TornError(
                f"the ad is larger than {rotation.AD_LIMIT_BYTES} bytes; "
                f"{ad.missing_bytes} bytes of it are left out here"
            )
        found = torn_ads.whole(ad.raw, ad.at)
        if found.begin:
            stump = ad.raw[1 : found.begin + 1]
            of = classad.attribute(b"\n" + stump, "GlobalJobId")
            self.context.log.warning("torn ad in the history", where=where, job=_shown(of))
            if of is None or of != classad.attribute(found.raw, "GlobalJobId"):
                unreadable.append(Unreadable(stump, where, _STUMP))
        return found.raw, found.begin

    def _tell_gap(self, lost: rotation.Position, unread: Iterable[rotation.File]) -> None:
        """Tells that jobs may be lost between what was read last and the oldest file not read."""
        first_at = min(filter(None, map(_left_at, unread)), default=None)
        self.context.log.error(
            "history was rotated away before it was read; jobs may be missing",
            history=str(self._current),
            read_until=_instant(lost.left),
            continues_at=first_at and first_at.isoformat(),
            hint="raise MAX_HISTORY_LOG or MAX_HISTORY_ROTATIONS in HTCondor's configuration",
        )


_STUMP = (
    "the ad is torn: its end was never written. A schedd that was killed meanwhile writes the job "
    "again when it restarts; a failed write (a full disk) loses it. Look whether a record of the "
    "job is there before discarding this"
)


def _checkpoint(positions: dict[str, rotation.Position]) -> Checkpoint:
    return msgspec.to_builtins(_Checkpoint(list(positions.values())))


def _left_at(file: rotation.File) -> datetime | None:
    """When the first job of a file left the queue."""
    left = rotation.left_queue(file.first)
    return datetime.fromtimestamp(left, UTC) if left else None


def _instant(epoch_s: int) -> str | None:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat() if epoch_s else None


def _shown(text: bytes | None) -> str | None:
    return None if text is None else text.decode(errors="replace")
