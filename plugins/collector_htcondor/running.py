"""Records runs when they begin, from `condor_q`, and sees that each gets its stop time.

The run's id is made so that the accounting which has its end makes the same: the job's id for its
first run, with its start appended for a further one. So the end of a run comes, in this order, from

- the history or the epoch history: the exact end, with the usage;
- the queue, for a job that is not running any more but still there: what the table of `run_end.py`
  makes of its ad. With `mode: epochs` this waits for the epoch history, for `EPOCH_WAIT_S`;
- the last poll that saw the run: when the history proves that its job is over and says nothing of
  this run, when a further run began between two polls, or when nothing is heard of it for a day.

No end is earlier than the last poll that saw the run on its machine (by the schedd's own clock,
`ServerTime`): not even a history that its
job's owner has edited can hide what was seen. A checkpoint holds the open runs, so a crash forgets
none. A `condor_q` that fails changes nothing.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from collector.source import (
    Batch,
    Context,
    Job,
    SourceError,
    Unreadable,
    guarded,
)
from collector.source.command import StoppedError
from collector_htcondor import classad, command
from collector_htcondor.identity import id_of_run
from collector_htcondor.jobs import JobReader
from collector_htcondor.open_runs import OpenRuns, Tracked, job_of
from collector_htcondor.proof import on_a_slot
from collector_htcondor.run_end import last_run
from collector_htcondor.section import HTCondorSection
from collector_htcondor.texts import Texts, instant
from collector_htcondor.universes import filter_reason
from collector_htcondor.usage import NO_DOUBTS, Doubts, named, provided
from collector_htcondor.witnesses import CLOCK_STEP_S, WITHOUT_SLOT, start_of_run

WHERE = "condor_q"
EPOCH_WAIT_S = 600
"""How long an epoch ad is waited for, after the queue has shown that its run is over."""
_BATCH_RUNS = 1000
_WAIT_S = 86400
_RUNNING, _OVER = (b"2", b"6", b"7"), (b"3", b"4")
_SAME_S = 2
_GROWS = re.compile(
    r"(?i)Run(UserCpu|SysCpu|WallClockTime)|(Cumulative)?Remote(UserCpu|SysCpu|WallClockTime)|"
    r"ResidentSetSize.*|ProportionalSetSize.*|MemoryUsage|ImageSize.*|DiskUsage.*|CpusUsage"
)
"""Fields that change while a job runs; a record's are final, so it is made without them."""


class RunReader(JobReader):
    """Makes jobs of the ads of a history, each named after its last run."""

    def _takes_usual(self, texts: Texts) -> bool:
        return texts[b"JobRunCount"] == b"1" and super()._takes_usual(texts)

    def _id_of(self, job_id: str, texts: Texts, start: int) -> str:
        return id_of_run(job_id, texts, start)


class Seen(msgspec.Struct, frozen=True):
    """What the ad of a job in the queue says of its current or last run."""

    job_id: str
    run_id: str
    start: int
    at: int
    """When the queue was asked, by the schedd's clock if it says so; epoch seconds."""
    earliest: int
    runs: bool
    texts: Texts


class QueueReader(JobReader):
    """Makes jobs without a stop time of the ads of jobs that run."""

    def seen(self, raw: bytes) -> Seen | None:
        """What an ad says of a run; None for one that has none, or whose job has no identity."""
        texts = self._all_texts(self._reader.texts(raw), raw)
        at = instant(texts.get(b"ServerTime")) or self.now_s
        identity = self._identifier.identify(texts, raw, at)
        if identity is None:
            return None
        earliest = identity.made - CLOCK_STEP_S
        start, _ = start_of_run(texts, earliest, at)
        if not start:
            return None
        run_id = id_of_run(identity.job_id, texts, start)
        runs = texts.get(b"JobStatus") in _RUNNING
        return Seen(identity.job_id, run_id, start, at, earliest, runs, texts)

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad; see `JobReader.job`."""
        seen = self.seen(raw)
        if seen is None or not seen.runs:
            reason = "expected the ad of a running job, with GlobalJobId and JobCurrentStartDate"
            return Unreadable(raw, where, reason)
        texts = seen.texts
        if reason := filter_reason(texts.get(b"JobUniverse"), self._universes):
            return reason
        if not self._is_here(raw, seen):
            return "runs as a routed job, or not at all"
        if b"\nCondorVersion = " in raw and _is_yet_to_be_provided(texts):
            return "has just begun"
        instead = provided(texts)
        wrong = Doubts(named(instead), instead) if instead else NO_DOUBTS
        schedd = seen.job_id.rpartition("#")[0].rpartition("#")[0]
        fields = self._fields(texts, raw, 0, schedd, wrong)
        if wrong.names and self._add_suspicious:
            fields["Suspicious"] = ", ".join(wrong.names)
        return Job(
            id=seen.run_id,
            start_at=datetime.fromtimestamp(seen.start, UTC),
            stop_at=None,
            fields={name: value for name, value in fields.items() if not _GROWS.fullmatch(name)},
            raw=raw,
            where=where,  # not suspicious yet: it is counted once, with its end
        )

    def _is_here(self, raw: bytes, seen: Seen) -> bool:
        """Whether the run is here: not that of a routed job, nor what an owner made of a status."""
        texts = seen.texts
        if texts.get(b"JobUniverse") in WITHOUT_SLOT or on_a_slot(texts, seen.earliest):
            return True
        if abs(instant(texts.get(b"LastMatchTime")) - seen.start) > _SAME_S:
            return b"RoutedToJobId" not in texts
        return classad.attribute(raw, "CondorVersion") is None  # of a release without the traces


def _is_yet_to_be_provided(texts: Texts) -> bool:
    """Whether the shadow of a run has yet to write what its slot has: the next poll sees it."""
    return texts.get(b"JobUniverse") == b"5" and b"CpusProvisioned" not in texts


class Running:
    """Asks schedds for the jobs that run."""

    def __init__(self, section: HTCondorSection, context: Context, reader: JobReader) -> None:
        self._section, self._context, self._ended = section, context, reader
        self._reader = QueueReader(
            context.fields, universes=section.universes, identifiers=reader.identifiers
        )
        self._names = section.schedd_names or [""]

    def poll(self, at: Tracked) -> Iterator[Batch]:
        """Reads which runs began and ended, schedd by schedd; changes the checkpoint.

        Raises:
            SourceError: at the end, for schedds that did not answer.
        """
        failed: list[str] = []
        for name in self._names:
            try:
                for batch in self._poll(name, at):
                    batch.checkpoint = msgspec.to_builtins(at)
                    yield batch
            except StoppedError:
                return
            except SourceError as error:
                failed.append(str(error))
        if failed:
            raise SourceError("; ".join(failed))

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of an ad of the queue."""
        self._reader.now_s = self._now_s()
        over = classad.attribute(raw, "JobStatus") in _OVER
        found = guarded((self._ended if over else self._reader).job, raw, where)
        return Unreadable(raw, where, found) if isinstance(found, str) else found

    def _now_s(self) -> int:
        return int(self._context.now().timestamp())

    def _poll(self, name: str, at: Tracked) -> Iterator[Batch]:
        section, now = self._section, self._now_s()
        self._reader.now_s = self._ended.now_s = now
        self._reader.of_schedd(name)
        self._ended.of_schedd(name)
        arguments = [
            section.condor_q,
            *(["-pool", section.pool] if section.pool else []),
            *(["-name", name] if name else []),
            "-allusers",
            "-long",
            "-constraint",
            "(JobCurrentStartDate > 0 || LastMatchTime > 0)"
            + (f" && ({section.constraint})" if section.constraint else ""),
        ]
        open_runs = at.running.setdefault(name, OpenRuns())
        poll = _Poll(set(open_runs.runs), open_runs.by_job())
        with command.answer(arguments, section.timeout_s, self._context.stop) as found:
            for raw in found.ads():
                failed = guarded(lambda ad, _: self._look(poll, ad, open_runs), raw, WHERE)
                if isinstance(failed, Unreadable):
                    poll.batch.unreadable.append(failed)
                if len(poll.batch.jobs) + len(poll.batch.stops) >= _BATCH_RUNS:
                    yield poll.batch
                    poll.batch = Batch()
        for run_id in poll.unseen:
            if run_id in open_runs.runs:
                open_runs.gone.setdefault(run_id, open_runs.seen)
        for run_id, seen in list(open_runs.gone.items()):
            wait_s = EPOCH_WAIT_S if run_id in poll.over else _WAIT_S
            if seen < now - wait_s:
                self._give_up(poll.batch, open_runs, run_id)
        open_runs.seen = now
        yield poll.batch

    def _look(self, poll: "_Poll", raw: bytes, open_runs: OpenRuns) -> None:
        """Notes what the ad of a job that ran or runs says of its runs."""
        seen = self._reader.seen(raw)
        if seen is None:
            return
        run_id = open_runs.same_run(seen.job_id, seen.run_id, seen.start)
        if seen.runs:
            poll.unseen.discard(run_id)
            open_runs.gone.pop(run_id, None)
            if run_id not in open_runs.runs:
                job = self._reader.job(raw, WHERE)
                if isinstance(job, Job):
                    open_runs.runs[run_id] = seen.start
                    poll.batch.jobs.append(job)
            at = instant(seen.texts.get(b"ServerTime"))
            lost = instant(seen.texts.get(b"JobDisconnectedDate"))
            if run_id in open_runs.runs and at and not lost:
                open_runs.seen_at[run_id] = at
        elif seen.texts.get(b"ShadowBday", b"undefined") != b"undefined":
            # Its shadow is still there: put on hold or removed at once, but the machine has yet to
            # let the job end, for up to MachineMaxVacateTime.
            poll.unseen.discard(run_id)
        elif run_id in open_runs.runs:
            if self._section.mode == "epochs":
                poll.over.add(run_id)
            else:
                self._end(poll.batch, open_runs, run_id, seen, raw)
        for earlier in poll.of_jobs.get(seen.job_id, []):
            began = open_runs.runs.get(earlier, seen.start)
            if began < seen.start:  # it ended, and the next began, between two polls
                if self._section.mode == "epochs":
                    poll.over.add(earlier)
                else:
                    self._end_earlier(poll.batch, open_runs, earlier, seen)

    def _end(self, batch: Batch, open_runs: OpenRuns, run_id: str, seen: Seen, raw: bytes) -> None:
        """Ends a run whose job is in the queue, and does not run any more."""
        if seen.texts.get(b"JobStatus") in _OVER:
            ended = self._ended.job(raw, WHERE)
            if isinstance(ended, Job):
                ended.id = run_id
                open_runs.not_before_seen(ended)
                batch.jobs.append(ended)
                open_runs.forget(run_id)
                return
        run = last_run(seen.texts, seen.earliest, seen.at)
        stop = seen.start if run is None else run.stop
        batch.stops.append(open_runs.stop(run_id, min(stop, seen.at)))

    def _end_earlier(self, batch: Batch, open_runs: OpenRuns, run_id: str, seen: Seen) -> None:
        """Ends a run of a job that has begun another one since."""
        began, get = open_runs.runs[run_id], seen.texts.get
        vacated = instant(get(b"LastVacateTime"))
        last_s = instant((get(b"LastRemoteWallClockTime") or b"").split(b".")[0])
        lost = instant(get(b"JobDisconnectedDate"))
        if began < lost <= vacated:
            vacated = lost
        if began < vacated <= seen.start:
            batch.stops.append(open_runs.stop(run_id, vacated))
        elif instant(get(b"JobLastStartDate")) == began and 0 < last_s <= seen.start - began:
            batch.stops.append(open_runs.stop(run_id, began + last_s))
        else:
            self._give_up(batch, open_runs, run_id)

    def _give_up(self, batch: Batch, open_runs: OpenRuns, run_id: str) -> None:
        """Ends a run when it was seen last."""
        batch.stops.append(open_runs.stop(run_id, 0))
        self._context.log.warning(
            "end of a run unknown; recorded as it was last seen",
            run=run_id,
            stop_at=batch.stops[-1].stop_at.isoformat(),
        )

    def close(self, batch: Batch, at: Tracked, left: dict[str, int]) -> None:
        """Ends the open runs of which the history proves that they are over, and says no more.

        Args:
            batch: that was read from the history; its jobs end their own runs.
            at: the open runs.
            left: job's id → all its runs that began before this epoch second are over.
        """
        for open_runs in at.running.values():
            for job in batch.jobs:
                start = int(job.start_at.timestamp())
                job.id = open_runs.same_run(job_of(job.id), job.id, start)
                if job.id in open_runs.runs:
                    open_runs.not_before_seen(job)
                    open_runs.forget(job.id)
            for job_id, runs in open_runs.by_job().items():
                for run_id in runs:
                    if open_runs.runs[run_id] < left.get(job_id, 0):
                        self._give_up(batch, open_runs, run_id)


class _Poll(msgspec.Struct):
    """What one answer of a queue has shown so far."""

    unseen: set[str]
    """Open runs that no ad has shown to run."""
    of_jobs: dict[str, list[str]]
    """Open runs by job."""
    over: set[str] = set()
    """Open runs that do not run any more."""
    batch: Batch = msgspec.field(default_factory=Batch)
