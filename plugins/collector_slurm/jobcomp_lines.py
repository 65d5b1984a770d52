"""Makes jobs of the entries of the jobcomp log: filters, times, fields and ids."""

from datetime import UTC, datetime

import msgspec

from collector.source import Job, Value
from collector_slurm import local_times
from collector_slurm.jobcomp_checkpoint import First, JobcompCheckpoint
from collector_slurm.names import with_names
from collector_slurm.section import SlurmSection

_NUMBERS = ("UID", "GID", "NNodes", "AllocCPUS")
_KEYS = {
    "State": "JobState",
    "Start": "StartTime",
    "End": "EndTime",
    "Submit": "SubmitTime",
    "Eligible": "EligibleTime",
}
"""Our name of a value → the log's, for messages."""
_DAY_S = 86400
_AGAIN = frozenset({"REQUEUED", "NODE_FAIL", "PREEMPTED", "RESIZING", "BOOT_FAIL"})
"""States after which the same job may run again."""
_CODES = {
    "BOOT_FAIL": "BF",
    "CANCELLED": "CA",
    "COMPLETED": "CD",
    "DEADLINE": "DL",
    "FAILED": "F",
    "NODE_FAIL": "NF",
    "OUT_OF_MEMORY": "OOM",
    "PREEMPTED": "PR",
    "REQUEUED": "RQ",
    "RESIZING": "RS",
    "REVOKED": "RV",
    "TIMEOUT": "TO",
}


class Line(msgspec.Struct):
    """An entry with what the entries before it say about it; kept as `Job.raw`."""

    text: str
    after: int
    """End of the run in the entry before, in epoch seconds."""
    first: bool | None = None
    """Whether it is its job's first run."""

    def __bytes__(self) -> bytes:
        return msgspec.json.encode(self)


class Lines:
    """What a section makes of entries."""

    def __init__(self, section: SlurmSection) -> None:
        self._section = section
        self._identity = section.identity()
        self.zone = local_times.zone_of(section.time_zone)
        self._states = {_CODES.get(one, one) for one in map(str.upper, section.states)}

    def left_out(self, values: dict[str, str]) -> str | None:
        """Why a run is not to be accounted; None for one that is.

        Raises:
            ValueError: for an entry that names no state.
        """
        if "NodeList" not in values:
            return "never started"
        section, state = self._section, values["State"]
        if not state.isupper():
            raise ValueError(
                f"JobState={state}: expected the state of a run that ended, as COMPLETED; ask "
                f"`sacct -j {values['JobIDRaw']}` whether this job ran"
            )
        named = with_names({**values, **{one: int(values[one]) for one in ("UID", "GID")}})
        for name, allowed, given in (
            ("states", self._states, [_CODES.get(state, state)]),
            ("clusters", section.clusters, [values.get("Cluster", "")]),
            ("partitions", section.partitions, values.get("Partition", "").split(",")),
            ("users", section.users, [named["User"], values["UID"]]),
            ("groups", section.groups, [named.get("Group"), values["GID"]]),
            ("accounts", section.accounts, [values.get("Account", "")]),
            ("qos", section.qos, [values.get("QOS", "")]),
        ):
            if allowed and not set(allowed).intersection(given):
                return f"not in {name}"
        return None

    def times(self, values: dict[str, str], after: int, now: float) -> tuple[int, int]:
        """Start and end of a run, in epoch seconds.

        Args:
            values: of its entry.
            after: end of the run in the entry before.
            now: in epoch seconds.

        Raises:
            ValueError: when they are no times, or no job's.
        """
        starts, ends = self._instants(values, "Start"), self._instants(values, "End")
        end = local_times.end_of(ends, after)
        start = local_times.latest(starts, end)
        if end < start:
            raise ValueError(f"EndTime={values['End']} is before StartTime={values['Start']}")
        if end > now + _DAY_S:
            raise ValueError(
                f"EndTime={values['End']} is in the future; check time_zone, and the clocks of "
                "slurmctld and of this machine"
            )
        return start, end

    def job(self, line: Line, values: dict[str, str], times: tuple[int, int], where: str) -> Job:
        """Makes the job of an entry.

        Raises:
            ValueError: when the values are no run's.
        """
        start, end = times
        fields: dict[str, Value] = {**values, "Start": start, "End": end}
        submit = start
        for name in ("Eligible", "Submit"):
            if name in values:
                submit = local_times.latest(self._instants(values, name), submit)
                fields[name] = submit
        for name in _NUMBERS:
            fields[name] = int(values[name])
        run_id = self._identity.of(
            values["JobID"], values.get("Cluster", ""), submit, start, first=line.first is not False
        )
        return Job(
            run_id,
            datetime.fromtimestamp(start, UTC),
            datetime.fromtimestamp(end, UTC),
            with_names(fields),
            line,
            where,
        )

    def _instants(self, values: dict[str, str], name: str) -> list[int]:
        try:
            return local_times.instants(values[name], self.zone)
        except ValueError as error:
            raise ValueError(
                f"{_KEYS[name]}={values[name]}: {error}; ask `sacct -j {values['JobIDRaw']}` when "
                "this job ran"
            ) from error


def is_first(values: dict[str, str], start: int, at: JobcompCheckpoint) -> bool:
    """Whether a run is its job's first."""
    known = at.firsts.get(values["JobID"])
    return known is None or (known.start == start and not known.resized)


def remember(values: dict[str, str], times: tuple[int, int], at: JobcompCheckpoint) -> None:
    """Notes a run, so that the next one of its job is known as another."""
    start, end = times
    again, job_id = values["State"] in _AGAIN, values["JobID"]
    at.numbers.add(int(values["JobIDRaw"]))
    known = at.firsts.get(job_id)
    if known is not None:
        known.end, known.again = max(known.end, end), again
    elif again or values["State"] == "FAILED":  # RequeueExit runs some of these again
        at.firsts[job_id] = First(start, end, values["State"] == "RESIZING", again)
