"""The runs that were recorded when they began, and whose end is not known yet."""

from datetime import UTC, datetime

import msgspec

from collector.source import Checkpoint, Job, Stop

_OF_A_JOB = 2
"""How many `#` a GlobalJobId has; the id of a further run has its start appended."""


class OpenRuns(msgspec.Struct, forbid_unknown_fields=True):
    """The runs of one schedd whose end is not known."""

    seen: int = 0
    """When its queue was asked last, in epoch seconds."""
    runs: dict[str, int] = {}
    """Job.id of a run → its start, in epoch seconds."""
    gone: dict[str, int] = {}
    """Those that are not in the queue any more → when they were seen last."""
    seen_at: dict[str, int] = {}
    """When a run was seen last on its machine, by the schedd's clock."""

    def by_job(self) -> dict[str, list[str]]:
        """The runs of each job, by the job's id."""
        found: dict[str, list[str]] = {}
        for run_id in self.runs:
            found.setdefault(job_of(run_id), []).append(run_id)
        return found

    def same_run(self, job_id: str, run_id: str, start: int) -> str:
        """The id under which a run is open; its own if it is not.

        The id depends on JobStartDate, which the job's owner can edit meanwhile.
        """
        if run_id in self.runs:
            return run_id
        for known in (job_id, f"{job_id}#{start}"):
            if known in self.runs and self.runs[known] == start:
                return known
        return run_id

    def last_seen(self, run_id: str) -> int:
        """When a run was seen last, in epoch seconds."""
        seen = self.seen_at.get(run_id)
        return self.gone.get(run_id, self.seen) if seen is None else seen

    def not_before_seen(self, job: Job) -> None:
        """Lets the end of a run be no earlier than it was seen on its machine."""
        seen = self.seen_at.get(job.id, 0)
        if job.stop_at is None or job.stop_at.timestamp() >= seen:
            return
        job.stop_at = datetime.fromtimestamp(seen, UTC)
        if "RunWallClockTime" in job.fields:
            job.fields["RunWallClockTime"] = seen - int(job.start_at.timestamp())

    def stop(self, run_id: str, at: int) -> Stop:
        """Ends a run, at `at` or when it was seen last; epoch seconds."""
        at = max(at, self.last_seen(run_id) if not at else self.seen_at.get(run_id, 0))
        at = max(at, self.runs[run_id])
        self.forget(run_id)
        return Stop(run_id, datetime.fromtimestamp(at, UTC))

    def forget(self, run_id: str) -> None:
        """Forgets a run, since its end is known."""
        for known in (self.runs, self.gone, self.seen_at):
            known.pop(run_id, None)


class Tracked(msgspec.Struct, forbid_unknown_fields=True):
    """The checkpoint of a source that tracks running jobs."""

    place: Checkpoint
    """Of what the ends are read from."""
    running: dict[str, OpenRuns] = {}
    """By name of the schedd."""


def job_of(run_id: str) -> str:
    """The job's id of a run's."""
    return run_id.rpartition("#")[0] if run_id.count("#") > _OF_A_JOB else run_id
