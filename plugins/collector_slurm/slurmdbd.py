"""Reads ended runs from slurmdbd, by calling `sacct` for bounded windows of time.

What is promised, and how:

- *Every ended run.* A poll asks for all that ended since the window that was read in full last,
  and again for `overlap_s` before it, because runs reach slurmdbd late; now and then it asks for
  the last `rescan_s` once more. Reading a run twice is harmless: its id is always the same.
- *Every run once.* `-D` shows all runs of a requeued or resized job. The first run of a job keeps
  the plain job id; which one is the first is asked of slurmdbd, not remembered, so that it does
  not depend on what was read before.
- *All of a run.* A window of `sacct` shows only the steps that touch it, and sums CPU time over
  those: so windows tell which runs there are, and their steps are asked for by job id.
- *Nothing unfinished.* Rows without an End, and rows that slurmdbd has not heard everything of,
  are left to a later poll, within the overlap.
- *Nothing half.* The checkpoint moves to the end of a window after `sacct` has ended well, and
  never before: a crash, a time-out or an outage of slurmdbd makes the next poll read it again.
- *No time zone.* `sacct` is called with UTC and asked for epoch seconds.

Source: sacct(1); behaviour measured on Slurm 22.05, see `docs/slurm.md`.
"""

import os
import pwd
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice

import msgspec

from collector.command import output_of
from collector.source import Batch, Context, Finding, Job, Lag, SourceError, Unreadable
from collector_slurm import sacct
from collector_slurm.jobid import JobId
from collector_slurm.known import Known
from collector_slurm.sacct import Columns, Run
from collector_slurm.section import SlurmSection
from collector_slurm.windows import Pace, Window, windows

_BATCH_RUNS = 1000
_SHORTEST_WINDOW_S = 60
_TOKEN_BYTES = 9
_CHECKED_S = 86400
_AGAIN_S = 0.5
"""After this time slurmdbd knows the end of most jobs, whose epilog began as they ended."""
_COMPLETE_S = 300
"""After this time a row stays as incomplete as it is."""


_NOT_PASSED_ON = ("SACCT_", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN")


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for Slurm's commands: times in UTC and as epoch seconds, no habits of a user.

    Source: sacct(1), "ENVIRONMENT VARIABLES".
    """
    kept = {name: value for name, value in given.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "TZ": "UTC", "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C.UTF-8"}


class SacctCheckpoint(msgspec.Struct, kw_only=True, tag_field="mode", tag="sacct"):
    """How far slurmdbd has been read."""

    until: int
    """Runs that ended before this epoch second have been read."""
    rescanned: int
    """When a deeper re-scan was last finished, in epoch seconds."""
    running: dict[str, str] = {}
    """Runs that were yielded without a stop time: cluster and DBIndex → job id."""


class Slurmdbd:
    """Reads runs through `sacct`."""

    def __init__(self, section: SlurmSection, context: Context) -> None:
        self._section = section
        self._context = context
        self._identity = section.identity()
        self._known = Known()
        self._pace = Pace(
            length_s=min(section.window_s, 3600),
            longest_s=section.window_s,
            shortest_s=min(section.window_s, _SHORTEST_WINDOW_S),
            call_s=section.timeout_s / 10,
        )

    def poll(self, checkpoint: SacctCheckpoint | None) -> Iterator[Batch]:
        """Reads what ended since the checkpoint; see `Source.poll`."""
        section, now = self._section, int(self._context.now().timestamp())
        limit = now - int(section.settle_s)
        at = checkpoint or self._begin(now)
        at.until = min(at.until, limit)  # later only if the clock was ahead
        begin = at.until - int(section.overlap_s) if checkpoint else at.until
        deep = not 0 <= limit - at.rescanned < section.rescan_interval_s
        if deep:
            begin = min(begin, limit - int(section.rescan_s))
        if section.since:
            begin = max(begin, int(section.since.timestamp()))
        self._known.forget(limit - max(section.overlap_s, section.rescan_s))
        columns = self._columns()
        for window in windows(begin, limit, self._pace):
            for batch, last in self._read(window, columns, self._known, at.until):
                if last:
                    at.until = max(at.until, window.end)
                    if deep and window.end >= limit:
                        at.rescanned = limit
                    batch.progress = (window.end - begin) / (limit - begin)
                batch.checkpoint = msgspec.to_builtins(at)
                yield batch
            if self._context.stop.wait(section.pause_s if window.end < limit else 0):
                return
        if section.track_running or at.running:
            for batch in self._track(at, columns, now):
                batch.checkpoint = msgspec.to_builtins(at)
                yield batch

    def lag(self, checkpoint: SacctCheckpoint | None) -> Lag:
        """By the end of the last window, beyond what the next poll is due to ask for; see
        `Source.lag`. When slurmdbd purges its jobs is not known here.
        """
        section, now = self._section, self._context.now().timestamp()
        at = checkpoint or self._begin(now)
        return Lag(max(0.0, now - at.until - section.settle_s - section.interval_s))

    def backfill(self, since: datetime, until: datetime) -> Iterator[Batch]:
        """Reads the runs that ended in a period; see `Source.backfill`."""
        now = self._context.now().timestamp()
        begin, end = _ceil(since.timestamp()), _ceil(min(until.timestamp(), now))
        columns = self._columns()
        for window in windows(begin, end, self._pace):
            for batch, last in self._read(window, columns, Known(0)):
                if last:
                    batch.progress = (window.end - begin) / (end - begin)
                yield batch
            if self._context.stop.wait(self._section.pause_s if window.end < end else 0):
                return

    def one(self, job_id: str) -> Batch:
        """Reads the runs of one job, given by the id that Slurm's scripts have: the raw one.

        Mostly with one call, as slurmctld waits for it: of one job, rows with all steps are few.
        """
        columns = self._columns("JobIDRaw", sacct.USAGE)
        named = [f"--jobs={JobId.parse(job_id)}"]
        for wait_s in (_AGAIN_S, 0):
            found = list(self._runs(named, columns))  # of an array, if it has the id of this task
            runs = [
                run
                for run in found
                if run.values.get("JobIDRaw") == job_id and not sacct.usage_to_come(run)
            ]
            if any(sacct.left_out(run) not in sacct.LATER for run in runs):
                break
            self._context.stop.wait(wait_s)
        if runs and self._section.leaves_out:
            window = Window(0, int(self._context.now().timestamp()) + 2)
            arguments = [*named, *self._window_arguments(window)]
            wanted = {run.handle for run in self._runs(arguments, columns.without_steps())}
            runs = [run for run in runs if run.handle in wanted]
        runs = [sacct.without_usage(run) if sacct.is_running(run) else run for run in runs]
        return self._batch(runs, columns, open_too=self._section.track_running, found=found)

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of `Job.raw`."""
        try:
            run, first = sacct.run_from(raw)
        except ValueError as error:
            return Unreadable(raw, where, str(error))
        return sacct.job_of(run, self._identity, where, first=first)

    def check(self) -> Iterator[Finding]:
        """Looks whether `sacct` is there, slurmdbd answers, and shows the jobs of others."""
        try:
            yield Finding(ok=True, text=f"{self._printed('--version')} is installed")
            columns = self._columns("User").without_steps()
            now = int(self._context.now().timestamp())
            window = Window(now - _CHECKED_S, now)
            runs = self._runs(self._window_arguments(window), columns)
            users = Counter(run.values.get("User", "") for run in runs)
            text = f"slurmdbd answers: {users.total()} runs ended within the last day"
            yield Finding(ok=True, text=text + self._hidden(users))
        except SourceError as error:
            yield Finding(ok=False, text=str(error))

    def _begin(self, now: float) -> SacctCheckpoint:
        """Where the very first poll begins."""
        section, limit = self._section, int(now) - int(self._section.settle_s)
        since = section.since.timestamp() if section.since else now - section.rescan_s
        return SacctCheckpoint(until=min(int(since), limit), rescanned=limit)

    def _hidden(self, users: Counter[str]) -> str:
        """What it may mean that no run is another user's: slurmdbd does not say what it hides."""
        me = pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0 or set(users) - {me} or self._section.users:
            return ""
        return (
            f", none of another user than {me}: if there should be some, slurmdbd has "
            f"PrivateData=jobs, and {me} needs AdminLevel=Operator (sacctmgr modify user {me} "
            "set adminlevel=operator)"
        )

    def _columns(self, *more: str) -> Columns:
        offered = frozenset(self._printed("--helpformat").split())
        missing = [name for name in sacct.KEY_COLUMNS if name not in offered]
        if missing:
            raise SourceError(
                f"{self._section.sacct} --helpformat does not offer {', '.join(missing)}; "
                "is it Slurm's sacct, of 20.11 or later?"
            )
        fields = self._context.fields
        return Columns.choose(
            fields if fields is None else fields.union(more),
            offered,
            lambda: secrets.token_urlsafe(_TOKEN_BYTES),
        )

    def _printed(self, option: str) -> str:
        output = self._output([self._section.sacct, option])
        return b"".join(output).decode(errors="replace").strip()

    def _read(
        self, window: Window, columns: Columns, known: Known, new_from: int = 0
    ) -> Iterator[tuple[Batch, bool]]:
        """Reads the runs that ended in a window, but for those that are known.

        Yields:
            Batches, and whether it is the last one: then `sacct` has ended well.
        """
        before = time.monotonic()
        runs = (
            run  # a window of one second would show two
            for run in self._runs(self._window_arguments(window), columns.without_steps())
            if window.begin <= sacct.ended(run) < window.end and run not in known
        )
        some, following = list(islice(runs, _BATCH_RUNS)), list(islice(runs, _BATCH_RUNS))
        while following:
            yield self._batch(some, columns, new_from), False
            known.add(some)
            some, following = following, list(islice(runs, _BATCH_RUNS))
        self._pace.took(time.monotonic() - before)
        yield self._batch(some, columns, new_from), True
        known.add(some)

    def _track(self, at: SacctCheckpoint, columns: Columns, now: int) -> Iterator[Batch]:
        """Reads the runs that began, and the ends of those that no window will show.

        A run whose end slurmdbd learns late, or sets to the past (a job that slurmctld lost), may
        end outside of all windows: so the runs that no longer run are asked for one by one.
        """
        running = {}
        without_steps = columns.without_steps()
        if self._section.track_running:
            arguments = self._window_arguments(Window(now - 1, now + 1), sacct.RUNNING_STATES)
            running = {
                run.handle: run
                for run in self._runs(arguments, without_steps)
                if sacct.is_running(run)
            }
        new = iter([run for handle, run in running.items() if handle not in at.running])
        while some := list(islice(new, _BATCH_RUNS)):
            at.running.update({run.handle: run.values["JobID"] for run in some})
            yield self._batch(some, without_steps, open_too=True)
        gone = iter([one for one in at.running.items() if one[0] not in running])
        while chunk := dict(islice(gone, _BATCH_RUNS)):
            ids = ",".join(sorted(set(chunk.values())))
            found = {run.handle: run for run in self._runs([f"--jobs={ids}"], without_steps)}
            ended = []
            for handle, job_id in chunk.items():
                run = found.get(handle)
                if run is None:
                    self._context.log.warning("running job vanished from slurmdbd", job=job_id)
                elif sacct.left_out(run, now - _COMPLETE_S) in sacct.LATER:
                    continue
                else:
                    ended.append(run)
                del at.running[handle]
            yield self._batch(ended, columns)

    def _batch(
        self,
        runs: list[Run],
        columns: Columns,
        new_from: int = 0,
        *,
        open_too: bool = False,
        found: Iterable[Run] | None = None,
    ) -> Batch:
        """Makes jobs of runs.

        Args:
            runs: the runs, read without their steps.
            columns: what is wanted of them.
            new_from: those left out for good count only when they ended since then, in epoch
                seconds; those left out for now will be read again.
            open_too: whether runs that have not ended are jobs too.
            found: all runs of these jobs, with their steps; None: they are asked for.
        """
        batch = Batch()
        over: list[Run] = []
        running: list[Run] = []
        complete_after = self._context.now().timestamp() - _COMPLETE_S
        for run in runs:
            reason = sacct.left_out(run, complete_after)
            if reason is None:
                over.append(run)
            elif open_too and sacct.is_running(run):
                running.append(run)
            elif reason not in sacct.LATER and sacct.ended(run) >= new_from:
                batch.filtered[reason] = batch.filtered.get(reason, 0) + 1
        by_handle, firsts = self._whole([*over, *running], columns, found)
        if by_handle:
            over = [by_handle.get(run.handle, run) for run in over]
        for run in chain(over, running):
            start = sacct.began(run)
            job = sacct.job_of(
                run,
                self._identity,
                f"sacct -D -j {run.values['JobID']}, DBIndex {run.values['DBIndex']}",
                first=start is None or start <= firsts.get(run.key, start),
            )
            if isinstance(job, Job):
                batch.jobs.append(job)
            else:
                batch.unreadable.append(job)
        return batch

    def _whole(
        self, runs: list[Run], columns: Columns, found: Iterable[Run] | None
    ) -> tuple[dict[str, Run], dict[tuple[str, str], int]]:
        """Asks for jobs by their ids, which shows all of their runs with all of their steps.

        Returns:
            Their runs, if steps are wanted; and when the first run of each job began, whenever
            that was.
        """
        if not runs:
            return {}, {}
        if not columns.steps:
            columns = Columns(sacct.KEY_COLUMNS, steps=False, delimiter="\x1f")
        by_handle: dict[str, Run] = {}
        firsts: dict[tuple[str, str], int] = {}
        ids = sorted({run.values["JobID"] for run in runs})
        for run in self._runs([f"--jobs={','.join(ids)}"], columns) if found is None else found:
            if columns.steps:
                by_handle[run.handle] = run
            start = sacct.began(run)
            if start is not None and sacct.has_nodes(run):
                key = run.key
                firsts[key] = min(start, firsts.get(key, start))
        return by_handle, firsts

    def _runs(self, arguments: list[str], columns: Columns) -> Iterator[Run]:
        """Calls `sacct` and gives the runs that it prints."""
        section = self._section
        command = [
            section.sacct,
            "--duplicates",
            "--parsable",
            "--noheader",
            "--noconvert",
            f"--delimiter={columns.delimiter}",
            f"--format={','.join(columns.names)}",
            *([] if columns.steps else ["--allocations"]),
            *([f"--clusters={','.join(section.clusters)}"] if section.clusters else []),
            *arguments,
        ]
        output = self._output(command)
        try:
            yield from sacct.runs_of(sacct.rows_of(output, columns), columns)
        except sacct.OutputError as error:
            raise SourceError(f"{' '.join(command)!r}: {error}") from error

    def _output(self, command: list[str]) -> Iterator[bytes]:
        return output_of(command, self._section.timeout_s, self._context.stop, environment())

    def _window_arguments(self, window: Window, states: Iterable[str] = ()) -> list[str]:
        """Asks for the runs that ended in a window; without `-E`, `-s` would show none."""
        section = self._section
        filters = {
            "partition": section.partitions,
            "user": section.users,
            "group": section.groups,
            "accounts": section.accounts,
            "qos": section.qos,
        }
        return [
            f"--starttime={_utc(window.begin)}",
            f"--endtime={_utc(window.end - 1)}",
            f"--state={','.join(states or section.states)}",
            *(f"--{name}={','.join(values)}" for name, values in filters.items() if values),
            *([] if section.users else ["--allusers"]),
        ]


def _utc(second: int) -> str:
    """An instant as `sacct -S` reads it, in UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _ceil(instant: float) -> int:
    return -int(-instant // 1)
