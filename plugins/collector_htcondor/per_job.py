"""Reads the directory into which a schedd writes a file for each job that left the queue.

A file `history.<cluster>.<proc>` (`PER_JOB_HISTORY_DIR`) holds one ad without a banner. It is
written under another name and renamed, so it is there whole or not at all. HTCondor never removes
it: others have to, or this source, if `remove` says so. Then a file is removed in the poll *after*
the one that read it, since only then its record is known to be stored with the checkpoint that
names it; a crash at any point leaves the file, or a name that is there no more.

Where files are kept, what was read is known by the time of writing, and by name for the last
minute: a file that is put back with an older time is not read. After the clock was set back, all
files are read once more.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

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
    guarded,
)
from collector_htcondor import places
from collector_htcondor.checkpoint import understood
from collector_htcondor.jobs import JobReader
from collector_htcondor.rotation import left_queue
from collector_htcondor.section import HTCondorSection

_NAME = re.compile(r"history\.\d+\.\d+")
_BATCH_FILES = 1000
_SLACK_NS = 60 * 10**9
"""How much later than its time of writing a file may appear under its name."""
_SAMPLE_FILES = 300
_LIMIT_BYTES = 64 * 2**20
_NS = 10**9


class _File(msgspec.Struct, order=True):
    """A file of the directory."""

    written_ns: int
    name: str
    size_bytes: int


class _Checkpoint(msgspec.Struct, forbid_unknown_fields=True):
    until_ns: int = 0
    """When the newest file that was read was written."""
    read: dict[str, int] = {}
    """Files that were read → when they were written: those that are to be removed, or the last."""


class PerJobDirectory:
    """Reads the per-job history of one schedd."""

    def __init__(self, section: HTCondorSection, context: Context, reader: JobReader) -> None:
        self._section, self._context, self._reader = section, context, reader
        self._folder = section.per_job_history

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Removes what the checkpoint covers, if asked for, and reads what is new."""
        at, files = self._begin(checkpoint), self._files()
        if self._section.remove:
            at.read = self._remove(at.read, files)
        new = self._new(files, at)
        done = vanished = 0
        for some in _batches(new):
            batch = Batch()
            for file in some:
                vanished += not self._take(batch, file)
                at.read[file.name] = file.written_ns
            at.until_ns = max(at.until_ns, min(some[-1].written_ns, self._now_ns()))
            if not self._section.remove:
                oldest_ns = at.until_ns - _SLACK_NS
                at.read = {name: ns for name, ns in at.read.items() if ns >= oldest_ns}
            done += len(some)
            batch.progress = done / len(new)
            batch.checkpoint = msgspec.to_builtins(at)
            yield batch
            if self._context.stop.is_set():
                break
        self._log_vanished(vanished)

    def _log_vanished(self, vanished: int) -> None:
        if vanished:
            self._context.log.error(
                "per-job history files vanished before they were read; their jobs are lost",
                files=vanished,
                path=str(self._folder),
                hint="another program removes these files: give each its own copy, or let it "
                "remove only what is older than a day",
            )

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        """By the oldest file that is not read; HTCondor removes none. See `Source.lag`."""
        new = self._new(self._files(), self._begin(checkpoint))
        if not new:
            return Lag(0)
        return Lag(max(0.0, self._context.now().timestamp() - new[0].written_ns / _NS))

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads all files for what ended in a period, and removes none; see `Source.backfill`."""
        files = self._files()
        period = range(int(since.timestamp()), int(until.timestamp()))
        done = 0
        for some in _batches(files):
            batch = Batch()
            for file in some:
                self._take(batch, file, period)
            batch.jobs = [job for job in batch.jobs if job.stop_at and since <= job.stop_at < until]
            done += len(some)
            batch.progress = done / len(files)
            yield batch
            if self._context.stop.is_set():
                return

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of a file's text; see `Source.parse`."""
        self._reader.now_s = self._now_ns() // _NS
        if not raw:  # it could not be read then
            raw = _text(Path(where))[0] or b""
        found = guarded(self._reader.job, raw, where)
        return Unreadable(raw, where, found) if isinstance(found, str) else found

    def sample(self) -> Iterator[bytes]:
        """Some files, in which the schedd's name is looked up."""
        with contextlib.suppress(SourceError):
            for file in self._files()[-_SAMPLE_FILES:]:
                raw, _ = _text(self._folder / file.name)
                yield raw or b""

    def check(self) -> Iterator[Finding]:
        """Looks at the directory; see `Source.check`."""
        try:
            files = self._files()
        except SourceError as error:
            yield Finding(ok=False, text=str(error))
            return
        oldest = f", the oldest of {_shown(files[0].written_ns)}" if files else ""
        yield Finding(ok=True, text=f"{self._folder}: {len(files)} files{oldest}")
        if self._section.remove and not os.access(self._folder, os.W_OK):
            yield Finding(
                ok=False,
                text=f"{self._folder}: remove: true needs the right to remove files from it",
            )
        elif not self._section.remove:
            yield Finding(
                ok=True,
                text="HTCondor never removes these files: let another do so, or remove: true",
            )

    def _files(self) -> list[_File]:
        """The files, oldest first.

        Raises:
            SourceError: when the directory cannot be read.
        """
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if _NAME.fullmatch(entry.name):
                        status = entry.stat(follow_symlinks=False)
                        found.append(_File(status.st_mtime_ns, entry.name, status.st_size))
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise SourceError(places.missing(self._folder, "per_job")) from error
            raise SourceError(f"{self._folder}: cannot be read: {error.strerror}") from error
        return sorted(found)

    def _begin(self, checkpoint: Checkpoint | None) -> _Checkpoint:
        """What was read; nothing, if that was while the clock was ahead: files since then are older
        than those that were read.
        """
        at = understood(checkpoint, _Checkpoint, "per_job")
        return at if at.until_ns <= self._now_ns() + _SLACK_NS else _Checkpoint(read=at.read)

    def _now_ns(self) -> int:
        return int(self._context.now().timestamp()) * _NS

    def _new(self, files: list[_File], at: _Checkpoint) -> list[_File]:
        """Those that were not read."""
        oldest_ns = 0 if self._section.remove else at.until_ns - _SLACK_NS
        return [
            file
            for file in files
            if file.written_ns >= oldest_ns and at.read.get(file.name) != file.written_ns
        ]

    def _remove(self, read: dict[str, int], files: list[_File]) -> dict[str, int]:
        """Removes files that were read, unless they are not the same any more.

        Returns:
            Those that are still there.
        """
        kept: dict[str, int] = {}
        removed: set[str] = set()
        for file in files:
            if read.get(file.name) != file.written_ns:
                continue
            try:
                path = self._folder / file.name
                if file.size_bytes > _LIMIT_BYTES or not os.access(path, os.R_OK):
                    kept[file.name] = file.written_ns
                else:
                    path.unlink(missing_ok=True)
                    removed.add(file.name)
            except OSError as error:
                if not kept:
                    self._context.log.error(
                        "per-job history cannot be removed",
                        path=str(self._folder / file.name),
                        error=error.strerror,
                    )
                kept[file.name] = file.written_ns
        files[:] = [file for file in files if file.name not in removed]
        return kept

    def _take(self, batch: Batch, file: _File, period: range | None = None) -> bool:
        """Reads a file into a batch; False if it was there when it was listed, and is not now."""
        path = self._folder / file.name
        raw, failed = _text(path)
        if raw is None:
            if not failed:
                return False
            batch.unreadable.append(Unreadable(b"", str(path), failed))
            return True
        found: Job | Unreadable | str
        if file.size_bytes > _LIMIT_BYTES:
            reason = f"the ad is larger than {_LIMIT_BYTES} bytes; its file is left in place"
            found = Unreadable(raw[: 2**16], str(path), reason)
        else:
            self._reader.now_s = max(self._now_ns(), file.written_ns) // _NS
            found = guarded(self._reader.job, raw, str(path))
        if isinstance(found, Job):
            batch.jobs.append(found)
        elif period is not None and (left_queue(raw) or file.written_ns // _NS) not in period:
            return True
        elif isinstance(found, Unreadable):
            batch.unreadable.append(found)
        else:
            batch.filtered[found] = batch.filtered.get(found, 0) + 1
        return True


def _batches(files: list[_File]) -> Iterator[list[_File]]:
    return (files[at : at + _BATCH_FILES] for at in range(0, len(files), _BATCH_FILES))


def _text(path: Path) -> tuple[bytes | None, str]:
    """The ad of a file, each line after a newline; or None, and why unless it was removed."""
    try:
        with path.open("rb") as stream:
            return b"\n" + stream.read(_LIMIT_BYTES).strip(b"\n"), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"cannot be read: {error.strerror}; the schedd writes these files for all"


def _shown(ns: int) -> str:
    return datetime.fromtimestamp(ns // _NS, UTC).isoformat()
