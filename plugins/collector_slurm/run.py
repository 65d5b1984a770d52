"""Run: what slurmdbd says of one run of a job, when it ran, and the job that is made of it.

Facts that this module knows, all seen on Slurm 22.05; `docs/slurm.md` has what newer releases do:

- a run ended when its End is known, and ran when nodes were allocated; a Start proves nothing;
- the end of a short job can reach slurmdbd before its start: for a moment its row has an End but no
  Partition, and a task of an array shows its raw id. Every complete row has a Partition;
- the second row of a resized job repeats the first one's Start; it really ran from its Submit on;
- End - Start holds suspended time too; Slurm does not charge it and neither do we: the stop time
  is the time that remains after it is taken off;
- a job ends for Slurm when it is cancelled, runs into its limit, or its script ends; processes that
  go on then have `KillWait` seconds more. Until they are gone, their steps have the state and the
  end of the job, and no CPU time. Where Slurm gathers no usage at all, no step ever has any;
- memory high-water marks are on steps only, and empty is unknown, not 0;
- CPU time is 0 on the job's row unless steps are read with it: then it is not asked for.
"""

from datetime import UTC, datetime
from typing import Self

import msgspec

from collector.source import Job, Unreadable, Value
from collector_slurm.columns import STEP_COLUMNS
from collector_slurm.jobid import Identity, check_job
from collector_slurm.names import with_names
from collector_slurm.reqmem import with_whole_memory

ENDED_STATES = ("BF", "CA", "CD", "DL", "F", "NF", "OOM", "PR", "RQ", "RS", "RV", "TO")
"""Every state of a run that is over; RQ, RS: requeued and resized, another run follows."""

RUNNING_STATES = ("R", "S")
"""States of a run that has started and is not over."""

END_UNKNOWN = "end not known yet"
"""Why a run is left out that has not ended, as far as slurmdbd knows."""

INCOMPLETE = "slurmdbd does not know all of it yet"
"""Why a run is left out whose start slurmdbd learns after its end."""

USAGE_TO_COME = "slurmdbd does not know yet what its steps used"
"""Why a run is left out that has ended before its processes have."""

LATER = frozenset({END_UNKNOWN, INCOMPLETE, USAGE_TO_COME})
"""Why a run is left out for now."""

Pair = tuple[Value, Value]

_NO_NODES = frozenset({"None assigned", "(null)", "None", ""})


class RawRun(msgspec.Struct, gc=False):
    """What a job is made of: `Job.raw`, as bytes JSON."""

    fields: dict[str, Value]
    """See `Run`."""
    first: bool
    """Whether no run of a job with this id came before."""

    def __bytes__(self) -> bytes:
        return msgspec.json.encode({**self.fields, "first": self.first})

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Reads the bytes back.

        Raises:
            ValueError: for anything else.
        """
        fields = msgspec.json.decode(raw, type=dict[str, Value])
        first = fields.pop("first", None)
        if not isinstance(first, bool) or not {"Cluster", "JobID"}.issubset(fields):
            raise ValueError("expected a run of sacct as JSON, with Cluster, JobID and first")
        return cls(fields, first)


class Run(msgspec.Struct, gc=False):
    """One row of a run with what its steps add."""

    fields: dict[str, Value]
    """By column: see `Columns.reader`; Cluster, JobID and DBIndex are always there."""
    steps_told: bool = False
    """Whether slurmdbd has the usage of a step, or was not asked for it (`USAGE`)."""
    steps_silent: bool = False
    """Whether it lacks that of a step."""

    @property
    def has_steps(self) -> bool:
        """Whether a row of a step was read with it."""
        return self.steps_told or self.steps_silent

    @property
    def key(self) -> Pair:
        """Cluster and JobID: what a requeued, resized or repeated job has in common."""
        return self.fields["Cluster"], self.fields["JobID"]

    @property
    def handle(self) -> str:
        """Cluster and DBIndex: what slurmdbd itself knows the run by."""
        return f"{self.fields['Cluster']}/{self.fields['DBIndex']}"

    @property
    def has_nodes(self) -> bool:
        """Whether nodes were allocated: the run started."""
        return self.fields.get("NodeList", "") not in _NO_NODES

    @property
    def began(self) -> int | None:
        """When the run really began, in epoch seconds; None when Slurm does not say.

        A resized job's second row starts at its Submit, whatever its Start says.
        """
        get = self.fields.get
        start, submit, end = get("Start"), get("Submit"), get("End")
        if not isinstance(start, int):
            return None
        if not isinstance(submit, int) or submit <= start:
            return start
        return start if isinstance(end, int) and submit > end else submit

    @property
    def ended(self) -> float:
        """When the run ended, in epoch seconds; infinite when that is not known."""
        end = self.fields.get("End")
        return end if isinstance(end, int) else float("inf")

    @property
    def is_running(self) -> bool:
        """Whether the run has started and not ended, as far as slurmdbd knows."""
        fields = self.fields
        whole = self.has_nodes and "Partition" in fields and self.began is not None
        return whole and "End" not in fields

    def left_out(self, complete_after: float = 0) -> str | None:
        """Why the run is not to be accounted (now); None if it is.

        Args:
            complete_after: epoch seconds; a run that ended before is taken as it is, complete or
                not.
        """
        fields = self.fields
        if "End" not in fields:
            return END_UNKNOWN
        if not self.has_nodes:
            return "never started"
        if ("Partition" in fields and not self.steps_silent) or self.ended < complete_after:
            return None
        if "Partition" not in fields:
            return INCOMPLETE
        gathers = self.steps_told or fields.get("State") not in ("COMPLETED", "FAILED")
        return USAGE_TO_COME if gathers else None

    def without_usage(self) -> "Run":
        """The run as it is read without its steps."""
        fields = self.fields.items()
        return Run({name: value for name, value in fields if name not in STEP_COLUMNS})

    def job(self, identity: Identity, where: str, *, first: bool) -> Job | Unreadable:
        """Makes a job of a run that has nodes; its stop time is None when its End is not known.

        Args:
            identity: how it is named.
            where: the command that printed it.
            first: whether no run of a job with this id came before.
        """
        fields = self.fields
        try:
            job_id = str(fields["JobID"])
            check_job(job_id)
            start = self._known_start()
            stop_at = _stop_at(fields, start)
            if start != fields["Start"] and stop_at is not None:
                fields = _without_time_before(start, stop_at, fields)
            submit = fields.get("Submit")
            run_id = identity.of(
                job_id,
                str(fields["Cluster"]),
                submit if isinstance(submit, int) else start,
                start,
                first=first,
            )
            start_at = datetime.fromtimestamp(start, UTC)
        except (ValueError, OverflowError) as error:
            return Unreadable(bytes(RawRun(self.fields, first)), where, str(error))
        raw = RawRun(self.fields, first)
        return Job(run_id, start_at, stop_at, with_names(with_whole_memory(fields)), raw, where)

    def _known_start(self) -> int:
        start = self.began
        if start is None:
            raise ValueError(
                f"Start = {self.fields.get('Start')!r}: expected the second at which the run began"
            )
        return start


def _stop_at(fields: dict[str, Value], start: int) -> datetime | None:
    """The end without suspended time; None when it is not known."""
    end, suspended = fields.get("End"), fields.get("Suspended", 0)
    if end is None:
        return None
    if not isinstance(end, int) or end < start:
        raise ValueError(
            f"End = {end!r}: expected a second not before {start}, where the run began"
        )
    if not isinstance(suspended, int | float):
        raise ValueError(  # noqa: TRY004 - the text is wrong, not the program
            f"Suspended = {suspended!r}: expected a duration as 01:02:03"
        )
    return datetime.fromtimestamp(max(start, end - suspended), UTC)


def _without_time_before(
    start: int, stop_at: datetime, fields: dict[str, Value]
) -> dict[str, Value]:
    """Corrects the sums of a resized job's row, which count the rows before it once more."""
    elapsed_s, cores = int(stop_at.timestamp()) - start, fields.get("AllocCPUS")
    right: dict[str, Value] = {"ElapsedRaw": elapsed_s}
    if isinstance(cores, int):
        right["CPUTimeRAW"] = elapsed_s * cores
    return {name: right.get(name, value) for name, value in fields.items()}
