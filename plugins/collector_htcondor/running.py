"""Records runs when they begin, from `condor_q`, and sees that each gets its stop time.

The run's id is made so that the accounting which tells its end makes the same: the job's id for its
first run, with its start behind for a further one. So the end of a run comes, in this order, from

- the history or the epoch history: the exact end, with the usage;
- the queue, for a job that is not running any more but still there. It completed (its ad is
  already what the history will have), or was evicted or held: `LastRemoteWallClockTime` after the
  start of that run. With `mode: epochs` this is left to the epoch history;
- nothing at all, when a further run began before the next poll, or the history never tells (it was
  rotated away; a shadow was killed, with `mode: epochs`): then the last poll that saw the run is
  its end, after a day of waiting in the second case, and this is told.

A checkpoint holds the open runs, so a crash forgets none. A `condor_q` that fails changes nothing.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from collector.source import Batch, Checkpoint, Context, Job, SourceError, Stop, Unreadable
from collector.source.command import StoppedError
from collector_htcondor import classad, command
from collector_htcondor.jobs import IDENTITY, WITHOUT_SLOT, JobReader, instant
from collector_htcondor.section import HTCondorSection

WHERE = "condor_q"
_BATCH_RUNS = 1000
_WAIT_S = 86400
_RUNNING, _OVER = (b"2", b"6", b"7"), (b"3", b"4")
_GROWS = re.compile(
    r"(?i)Run(UserCpu|SysCpu|WallClockTime)|(Cumulative)?Remote(UserCpu|SysCpu|WallClockTime)|"
    r"ResidentSetSize.*|ProportionalSetSize.*|MemoryUsage|ImageSize.*|DiskUsage.*|CpusUsage"
)
"""Fields that change while a job runs; a record's are final, so it is made without them."""


class RunReader(JobReader):
    """Makes jobs of the ads of a history, each named after its last run."""

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad; see `JobReader.job`."""
        found = super().job(raw, where)
        if isinstance(found, Job):
            found.id = _id_of(raw, found.id, int(found.start_at.timestamp()))
        return found


class QueueReader(JobReader):
    """Makes jobs without a stop time of the ads of jobs that run."""

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad; see `JobReader.job`."""
        texts = self._reader.texts(raw)
        identity = IDENTITY.match(texts.get(b"GlobalJobId", b""))
        start = instant(texts.get(b"JobCurrentStartDate"))
        if identity is None or not start or texts.get(b"JobStatus") not in _RUNNING:
            reason = "expected the ad of a running job, with GlobalJobId and JobCurrentStartDate"
            return Unreadable(raw, where, reason)
        universe = texts.get(b"JobUniverse")
        if b"RoutedToJobId" in texts and universe == b"5" and b"LastMatchTime" not in texts:
            return "runs as a routed job"
        spoofed = universe in WITHOUT_SLOT and b"CpusProvisioned" in texts
        fields = self._fields(texts, raw, 0, "CpusProvisioned" if spoofed else "")
        return Job(
            id=_id_of(raw, identity[1].decode(errors="replace"), start),
            start_at=datetime.fromtimestamp(start, UTC),
            stop_at=None,
            fields={name: value for name, value in fields.items() if not _GROWS.fullmatch(name)},
            raw=raw,
            where=where,  # not suspicious yet: it is counted once, with its end
        )


class OpenRuns(msgspec.Struct, forbid_unknown_fields=True):
    """The runs of one schedd whose end is not known."""

    seen: int = 0
    """When they were seen to run, in epoch seconds."""
    runs: dict[str, int] = {}
    """Job.id of a run → its start, in epoch seconds."""
    gone: dict[str, int] = {}
    """Those that are not in the queue any more → when they were seen last."""


class Tracked(msgspec.Struct, forbid_unknown_fields=True):
    """The checkpoint of a source that tracks running jobs."""

    place: Checkpoint
    """Of what the ends are read from."""
    running: dict[str, OpenRuns] = {}
    """By name of the schedd."""

    def ended(self, run_id: str) -> None:
        """Forgets a run, since its end is known."""
        for of in self.running.values():
            of.runs.pop(run_id, None)
            of.gone.pop(run_id, None)


class Running:
    """Asks schedds for the jobs that run."""

    def __init__(self, section: HTCondorSection, context: Context, reader: JobReader) -> None:
        self._section, self._context, self._ended = section, context, reader
        self._reader = QueueReader(context.fields)
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
        over = classad.attribute(raw, "JobStatus") in _OVER
        found = (self._ended if over else self._reader).job(raw, where)
        return Unreadable(raw, where, found) if isinstance(found, str) else found

    def _poll(self, name: str, at: Tracked) -> Iterator[Batch]:
        section, now = self._section, int(self._context.now().timestamp())
        arguments = [
            section.condor_q,
            *(["-pool", section.pool] if section.pool else []),
            *(["-name", name] if name else []),
            "-allusers",
            "-long",
            "-constraint",
            "JobCurrentStartDate > 0"
            + (f" && ({section.constraint})" if section.constraint else ""),
        ]
        of = at.running.setdefault(name, OpenRuns())
        unseen = set(of.runs)
        of_jobs: dict[str, list[str]] = {}
        for run_id in of.runs:
            of_jobs.setdefault(_job_of(run_id), []).append(run_id)
        batch = Batch()
        with command.answer(arguments, section.timeout_s, self._context.stop) as found:
            for raw in found.ads():
                self._look(batch, raw, of, unseen, of_jobs)
                if len(batch.jobs) + len(batch.stops) >= _BATCH_RUNS:
                    yield batch
                    batch = Batch()
        for run_id in unseen:
            if run_id in of.runs:
                of.gone.setdefault(run_id, of.seen)
        for run_id, seen in list(of.gone.items()):
            if seen < now - _WAIT_S:
                self._give_up(batch, of, run_id, seen)
        of.seen = now
        yield batch

    def _look(
        self,
        batch: Batch,
        raw: bytes,
        of: OpenRuns,
        unseen: set[str],
        of_jobs: dict[str, list[str]],
    ) -> None:
        """Takes what the ad of a job that ran or runs says of its runs.

        Args:
            batch: to fill.
            raw: the ad.
            of: the open runs of its schedd.
            unseen: those of them that no ad has shown to run.
            of_jobs: those of them by job.
        """
        status = classad.attribute(raw, "JobStatus")
        identity = IDENTITY.match(classad.attribute(raw, "GlobalJobId") or b"")
        start = instant(classad.attribute(raw, "JobCurrentStartDate"))
        if identity is None or not start:
            return
        job_id = identity[1].decode(errors="replace")
        run_id = _id_of(raw, job_id, start)
        if status in _RUNNING:
            unseen.discard(run_id)
            of.gone.pop(run_id, None)
            if run_id not in of.runs and isinstance(job := self._reader.job(raw, WHERE), Job):
                of.runs[run_id] = start
                batch.jobs.append(job)
        if self._section.mode == "epochs":
            return
        last_s = instant((classad.attribute(raw, "LastRemoteWallClockTime") or b"").split(b".")[0])
        if status not in _RUNNING and run_id in of.runs:
            ended = self._ended.job(raw, WHERE) if status in _OVER else None
            if isinstance(ended, Job):
                batch.jobs.append(ended)
            else:
                batch.stops.append(_stop(run_id, start + last_s))
            del of.runs[run_id]
            of.gone.pop(run_id, None)
        for earlier in of_jobs.get(job_id, []):
            began = of.runs.get(earlier, start)
            if began < start:  # it ended, and the next run began, between two polls
                exact = instant(classad.attribute(raw, "JobLastStartDate")) == began
                if exact and 0 < last_s <= start - began:
                    batch.stops.append(_stop(earlier, began + last_s))
                    del of.runs[earlier]
                    of.gone.pop(earlier, None)
                else:
                    self._give_up(batch, of, earlier, of.gone.get(earlier, of.seen))

    def _give_up(self, batch: Batch, of: OpenRuns, run_id: str, seen: int) -> None:
        """Takes the last time at which a run was seen for its end."""
        start = of.runs.pop(run_id)
        of.gone.pop(run_id, None)
        batch.stops.append(_stop(run_id, max(start, seen)))
        self._context.log.warning(
            "the end of a run is not known; it is recorded as it was seen last",
            run=run_id,
            stop_at=batch.stops[-1].stop_at.isoformat(),
        )


def _job_of(run_id: str) -> str:
    """The job's id: a further run's id has its start behind."""
    return run_id.rpartition("#")[0] if run_id.count("#") > 2 else run_id  # noqa: PLR2004 - in a GlobalJobId


def _stop(run_id: str, epoch_s: int) -> Stop:
    return Stop(run_id, datetime.fromtimestamp(epoch_s, UTC))


def _id_of(raw: bytes, job_id: str, start: int) -> str:
    first = classad.attribute(raw, "JobStartDate")
    return job_id if first == b"%d" % start else f"{job_id}#{start}"
