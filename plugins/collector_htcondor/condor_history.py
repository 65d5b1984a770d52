"""Reads the history of schedds elsewhere, by calling `condor_history` for windows of time.

- *Every job.* A poll asks for what ended since the window that was read in full last, and again for
  `overlap_s` before it; now and then for the last `rescan_s`, since a job comes into the history
  only when it leaves the queue. A job that is read twice has one id.
- *Nothing half.* A checkpoint moves to the end of a window after the command has ended well and all
  of its answer is given. Each schedd has its own: one that fails stops no other, and is told.
- *No limit unseen.* A schedd looks through its newest ads only (HISTORY_HELPER_MAX_HISTORY: 10,000
  before HTCondor 24.12), and says nothing when that cuts an answer; so to halve the window would
  change nothing. `-scanlimit` lifts the limit where the schedd lets it; and each poll also asks for
  the newest job of the poll before, the anchor. If that does not come, what lies between the two
  polls is out of reach, be it by the limit or by rotation, and is told as a gap.

`-since` and `-completedsince` are not used: they stop at the first ad that left the queue late.
Source: `condor_history` of HTCondor 25.14, see `docs/htcondor.md`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
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
    guarded,
)
from collector.source.command import StoppedError
from collector.source.windows import Part, Window, WindowReader, ceil, stopwatch
from collector.source.windows import Reached as WindowsReached
from collector_htcondor import command
from collector_htcondor.checkpoint import understood
from collector_htcondor.jobs import JobReader
from collector_htcondor.rotation import left_queue
from collector_htcondor.section import HTCondorSection

_BATCH_ADS = 1000
_GLOBAL_JOB_ID = re.compile(rb"\nGlobalJobId = ([^\n]*)")
_ANCHOR = re.compile(r'"[^"\\]{1,500}#\d+\.\d+#\d{1,11}"')
"""A GlobalJobId that may be part of a constraint: its owner can write any expression."""
_REPORTED_LIMIT = 10_000
_ENDS = ("EnteredCurrentStatus", "LastJobLeaseRenewal", "JobFinishedHookDone")
"""Any of these in a window is asked for: an owner who edits one of them hides nothing."""
_NO_LIMIT = "2000000000"
_HERE = ""
"""Stands for the schedd of this machine."""


class Reached(WindowsReached, forbid_unknown_fields=True, kw_only=True):
    """How far the history of one schedd has been read."""

    anchor: str | None = None
    """GlobalJobId of the newest job that was read, as it stands in its ad."""


class _Checkpoint(msgspec.Struct, forbid_unknown_fields=True):
    schedds: dict[str, Reached] = {}


class _Asked(msgspec.Struct):
    """What is asked for at once: the jobs that entered their last state in a window."""

    window: Window
    new_from: int = 0
    """Jobs that are not accounted count when they ended since then; before, they were counted."""
    removed_only: bool = False
    """Only jobs that were removed: they may have ended earlier."""
    anchor: str | None = None
    """A job that is asked for too, until it has come."""
    newest: str | None = None
    """The newest job that came."""
    newest_end: int | None = None
    """When the newest job of the window entered its last state, in epoch seconds."""


class CondorHistory:
    """Reads the history of one schedd, or several, through `condor_history`."""

    def __init__(self, section: HTCondorSection, context: Context, reader: JobReader) -> None:
        self._section, self._context, self._reader = section, context, reader
        self._names = section.schedd_names or [_HERE]
        # A schedd looks through its whole history for a short window too.
        first_s = section.window_s
        self._windows = {name: WindowReader(section, context, first_s) for name in self._names}
        self._reported: dict[bytes, None] = {}

    def poll(self, checkpoint: Checkpoint | None) -> Iterator[Batch]:
        """Reads what ended since the checkpoint, schedd by schedd; see `Source.poll`."""
        reached = understood(checkpoint, _Checkpoint, "condor_history").schedds

        def read(name: str) -> Iterator[Batch]:
            for batch, at in self._poll(name, reached.get(name)):
                reached[name] = at
                batch.checkpoint = msgspec.to_builtins(_Checkpoint(reached))
                yield batch

        yield from self._isolated(read)

    def lag(self, checkpoint: Checkpoint | None) -> Lag:
        """Of the schedd that is furthest behind, beyond what the next poll is due to ask for; see
        `Source.lag`. How far back its history reaches is not known here.
        """
        reached = understood(checkpoint, _Checkpoint, "condor_history").schedds
        lags = [
            self._windows[name].lag(reached.get(name) or self._begin(name)) for name in self._names
        ]
        return max(lags, key=lambda lag: lag.behind_s)

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads what ended in a period; see `Source.backfill`."""
        now = ceil(self._context.now().timestamp())
        begin, end = ceil(since.timestamp()), min(ceil(until.timestamp()), now)

        def read(name: str) -> Iterator[Batch]:
            self._tell_if_shorter(name, begin)
            windows = self._windows[name]

            def ended(window: Window) -> Iterator[Part]:
                return self._window(name, _Asked(window))

            def removed(window: Window) -> Iterator[Part]:
                return self._window(name, _Asked(window, new_from=now, removed_only=True))

            for first, last, ask in ((begin, end, ended), (end, now, removed)):
                for window, part in windows.stretch(first, last, ask, more=last < now):
                    batch = part.batch
                    batch.jobs = [job for job in batch.jobs if _within(job, since, until)]
                    if part.last:
                        batch.progress = (window.end - begin) / (now - begin)
                    yield batch

        yield from self._isolated(read)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of an ad; see `Source.parse`."""
        self._begin_reading(where.partition(" ")[2])
        found = guarded(self._reader.job, raw, where)
        return Unreadable(raw, where, found) if isinstance(found, str) else found

    def _begin_reading(self, name: str) -> None:
        self._reader.of_schedd(name)
        self._reader.now_s = int(self._context.now().timestamp())

    def sample(self) -> Iterator[bytes]:
        """No ads: the schedds' names are learned from their answers."""
        return iter(())

    def check(self) -> Iterator[Finding]:
        """Asks each schedd for one job; see `Source.check`."""
        for name in self._names:
            shown = name or "the schedd of this machine"
            try:
                with self._asked(name, "true", "-limit", "1") as found:
                    said = "its history answers" if len(found) else "its history is empty"
                    yield Finding(ok=True, text=f"{shown}: {said}")
            except SourceError as error:
                yield Finding(ok=False, text=f"{shown}: {error}")

    def _isolated(self, read: Callable[[str], Iterator[Batch]]) -> Iterator[Batch]:
        """Reads each schedd, whatever becomes of the others.

        Raises:
            SourceError: at the end, for those that could not be read.
        """
        failed: list[str] = []
        for number, name in enumerate(self._names):
            try:
                for batch in read(name):
                    if batch.progress is not None:
                        batch.progress = (number + batch.progress) / len(self._names)
                    yield batch
                    if self._context.stop.is_set():
                        return
            except StoppedError:
                return
            except SourceError as error:
                failed.append(str(error))
        if failed:
            raise SourceError("; ".join(failed))

    def _poll(self, name: str, before: Reached | None) -> Iterator[tuple[Batch, Reached]]:
        at = before or self._begin(name)
        anchor = at.anchor if at.anchor and _ANCHOR.fullmatch(at.anchor) else None

        def read(window: Window) -> Iterator[Part]:
            nonlocal anchor
            asked = _Asked(window, new_from=at.until, anchor=anchor)
            for part in self._window(name, asked):
                if part.last:
                    if asked.anchor is not None:
                        self._tell_gap(name, at.until)
                        at.anchor = None
                    anchor = None
                    at.anchor = asked.newest or at.anchor
                yield part

        for batch in self._windows[name].poll(at, read, is_new=before is None):
            yield batch, at

    def _begin(self, name: str) -> Reached:
        """Where the very first poll of a schedd begins."""
        until, rescanned = self._windows[name].start()
        return Reached(until=until, rescanned=rescanned)

    def _window(self, name: str, asked: _Asked) -> Iterator[Part]:
        """Reads a window."""
        window, elapsed_s = asked.window, stopwatch()
        self._begin_reading(name)
        wanted = " || ".join(f"({end} >= {window.begin} && {end} < {window.end})" for end in _ENDS)
        if asked.removed_only:
            wanted = f"({wanted}) && JobStatus == 3"
        if self._section.constraint:
            wanted = f"({wanted}) && ({self._section.constraint})"
        if asked.anchor is not None:
            wanted = f"({wanted}) || GlobalJobId == {asked.anchor}"
        with self._asked(name, wanted) as found:
            if found.malformed:
                self._context.log.warning("schedd has unreadable history", schedd=name or None)
            took_s, batch = elapsed_s(), Batch()
            for raw in found.ads():
                self._take(batch, raw, name, asked)
                if batch.read >= _BATCH_ADS:
                    yield Part(batch)
                    batch = Batch()
            yield Part(batch, last=True, newest=asked.newest_end, took_s=took_s)

    def _take(self, batch: Batch, raw: bytes, name: str, asked: _Asked) -> None:
        of, left_at = _GLOBAL_JOB_ID.search(raw), left_queue(raw)
        if of is not None:
            found_id = of[1].decode(errors="replace")
            asked.newest = found_id if _ANCHOR.fullmatch(found_id) else asked.newest
            if found_id == asked.anchor:
                asked.anchor = None
                if left_at < asked.window.begin:
                    return
        if left_at < asked.window.end:
            asked.newest_end = max(left_at, asked.newest_end or left_at)
        where = f"condor_history {name}".rstrip()
        if len(raw) > command.AD_LIMIT_BYTES:
            reason = f"the ad is larger than {command.AD_LIMIT_BYTES} bytes"
            batch.unreadable.append(Unreadable(raw[: 2**16], where, reason))
            return
        found = guarded(self._reader.job, raw, where)
        if isinstance(found, Job):
            batch.jobs.append(found)
        elif isinstance(found, Unreadable):
            if self._is_new(raw):
                batch.unreadable.append(found)
        elif left_at >= asked.new_from:
            batch.filtered[found] = batch.filtered.get(found, 0) + 1

    def _is_new(self, raw: bytes) -> bool:
        """Whether an ad was not reported before: windows overlap."""
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        if digest in self._reported:
            return False
        if len(self._reported) >= _REPORTED_LIMIT:
            self._reported.clear()
        self._reported[digest] = None
        return True

    def _asked(self, name: str, wanted: str, *more: str) -> AbstractContextManager[command.Answer]:
        section = self._section
        arguments = [
            section.condor_history,
            *(["-pool", section.pool] if section.pool else []),
            *(["-name", name, "-scanlimit", _NO_LIMIT] if name else []),
            *more,
            "-long",
            "-constraint",
            wanted,
        ]
        return command.answer(arguments, section.timeout_s, self._context.stop)

    def _tell_if_shorter(self, name: str, begin: int) -> None:
        with self._asked(name, f"EnteredCurrentStatus < {begin}", "-limit", "1") as found:
            if not len(found):
                self._context.log.warning(
                    "history begins after the period, or the schedd shows no more of it",
                    schedd=name or None,
                    since=_shown(begin),
                )

    def _tell_gap(self, name: str, read_until: int) -> None:
        self._context.log.error(
            "the job that was read last is no longer in the history; jobs may be missing",
            schedd=name or None,
            read_until=_shown(read_until),
            hint="raise MAX_HISTORY_LOG, MAX_HISTORY_ROTATIONS or HISTORY_HELPER_MAX_HISTORY in "
            "the configuration of that schedd, or poll more often",
        )


def _within(job: Job, since: datetime, until: datetime) -> bool:
    return job.stop_at is not None and since <= job.stop_at < until


def _shown(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat()
