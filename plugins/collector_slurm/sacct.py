"""Turns what `sacct` prints into runs, and runs into jobs: pure text work, no commands, no files.

`sacct` escapes nothing: a user's `|` or newline in a job name, comment or WCKey stands in its
output as it was typed. Rows are therefore framed by a delimiter that no user can write: the
unit separator while all columns are the scheduler's own, and a random token as soon as one of
them holds free text (`delimiter`). A row that does not fit the frame ends the reading with an
error; it is never taken for another row.

Facts that this module knows, all seen on Slurm 22.05 (see `docs/slurm.md`):

- a run ended when its End is known, and ran when nodes were allocated; a Start proves nothing;
- the end of a short job can reach slurmdbd before its start: for a moment its row has an End but no
  Partition, and a task of an array shows its raw id. Every complete row has a Partition;
- the second row of a resized job repeats the first one's Start; it really ran from its Submit on;
- End - Start holds suspended time too; Slurm does not charge it and neither do we: the stop time
  is the time that remains after it is taken off;
- memory high-water marks stand on steps only, and empty is unknown, not 0;
- CPU time is 0 on the job's row unless steps are read with it: then it is left out here.
"""

import codecs
import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from collector.quantities import duration_s, memory_bytes
from collector.source import Job, Unreadable, Value
from collector_slurm.jobid import check_job

ENDED_STATES = ("BF", "CA", "CD", "DL", "F", "NF", "OOM", "PR", "RQ", "RS", "RV", "TO")
"""Every state of a run that is over; RQ, RS: requeued and resized, another run follows."""

RUNNING_STATES = ("R", "S")
"""States of a run that has begun and is not over."""

END_UNKNOWN = "end not known yet"
"""Why a run is left out that has not ended, as far as slurmdbd knows."""

INCOMPLETE = "slurmdbd does not know all of it yet"
"""Why a run is left out whose start slurmdbd learns after its end."""

LATER = frozenset({END_UNKNOWN, INCOMPLETE})
"""Why a run is left out for now."""

KEY_COLUMNS = (
    "DBIndex",
    "Cluster",
    "JobID",
    "State",
    "Submit",
    "Start",
    "End",
    "Suspended",
    "NodeList",
    "Partition",
)
"""Columns that every reading asks for, in this order, first."""


def _words(text: str) -> list[str]:
    return text.split()


_OWN_COLUMNS = frozenset(
    _words("""
        Account AllocCPUS AllocNodes AllocTRES AssocID AveCPU AveCPUFreq AveDiskRead
        AveDiskWrite AvePages AveRSS AveVMSize BlockID CPUTime CPUTimeRAW Cluster
        ConsumedEnergy ConsumedEnergyRaw DBIndex DerivedExitCode Elapsed ElapsedRaw Eligible
        End ExitCode FailedNode Flags GID Group JobID JobIDRaw Layout MaxDiskRead
        MaxDiskReadNode MaxDiskReadTask MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask
        MaxPages MaxPagesNode MaxPagesTask MaxRSS MaxRSSNode MaxRSSTask MaxVMSize
        MaxVMSizeNode MaxVMSizeTask McsLabel MinCPU MinCPUNode MinCPUTask NCPUS NNodes
        NTasks NodeList Partition Planned PlannedCPU PlannedCPURAW Priority QOS QOSRAW
        QOSREQ Reason ReqCPUFreq ReqCPUFreqGov ReqCPUFreqMax ReqCPUFreqMin ReqCPUS ReqMem
        ReqNodes ReqTRES Reservation ReservationId Reserved Restarts ResvCPU ResvCPURAW
        SLUID SegmentSize Start State Submit Suspended SystemCPU TRESUsageInAve
        TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask TRESUsageInMin
        TRESUsageInMinNode TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve TRESUsageOutMax
        TRESUsageOutMaxNode TRESUsageOutMaxTask TRESUsageOutMin TRESUsageOutMinNode
        TRESUsageOutMinTask TRESUsageOutTot Timelimit TimelimitRaw TotalCPU UID User UserCPU
        WCKeyID
    """)
)
"""Columns whose text is the scheduler's or the administrator's; every other one may be a user's."""

_CPU_TIMES = frozenset({"SystemCPU", "TotalCPU", "UserCPU"})
_PEAKS = frozenset({"MaxDiskRead", "MaxDiskWrite", "MaxPages", "MaxRSS", "MaxVMSize"})
STEP_COLUMNS = _CPU_TIMES | _PEAKS
"""Columns that are known only when the steps are read: `sacct` without `-X`."""

USAGE = "TRESUsageOutTot"
"""Short, and empty on a step until slurmdbd has its usage, but for `jobacct_gather/none`."""

_NO_NODES = frozenset({"None assigned", "(null)", "None", ""})
_UNKNOWN = frozenset({"Unknown", "None"})


def _peak(text: str) -> int:
    return int(text) if text.isdecimal() else round(memory_bytes(text))


def _duration(text: str) -> int | float:
    return 0 if text == "00:00:00" else duration_s(text)


_CONVERT: dict[str, Callable[[str], Value]] = {
    **dict.fromkeys(
        _words("""
            AllocCPUS AllocNodes AssocID CPUTimeRAW ConsumedEnergyRaw DBIndex ElapsedRaw End
            Eligible GID NCPUS NNodes NTasks PlannedCPURAW ReqCPUS ReqNodes ReservationId
            Restarts ResvCPURAW Start Submit TimelimitRaw UID
        """),
        int,
    ),
    **dict.fromkeys(["Suspended", *_CPU_TIMES], _duration),
    **dict.fromkeys(_PEAKS, _peak),
}


class OutputError(ValueError):
    """Raised for output that is not what `sacct` prints for the columns it was asked for."""


class Columns(msgspec.Struct, frozen=True):
    """What is asked of `sacct`."""

    names: tuple[str, ...]
    """The columns, in order; KEY_COLUMNS first."""
    steps: bool
    """Whether the rows of steps are wanted too."""
    delimiter: str
    """What stands after each field."""

    @classmethod
    def choose(
        cls, fields: frozenset[str] | None, offered: frozenset[str], token: Callable[[], str]
    ) -> "Columns":
        """Chooses the columns for a mapping.

        Args:
            fields: the names that mapping and filters use; None: everything on offer.
            offered: what this `sacct` has, by `sacct --helpformat`.
            token: gives a text that nobody can guess.
        """
        wanted = offered if fields is None else fields & offered
        names = (*KEY_COLUMNS, *sorted(wanted.difference(KEY_COLUMNS)))
        free_text = not _OWN_COLUMNS.issuperset(names)
        return cls(
            names,
            steps=not STEP_COLUMNS.isdisjoint(names),
            delimiter=f"\x1f{token()}\x1f" if free_text else "\x1f",
        )

    def without_steps(self) -> "Columns":
        """The same, but for what needs the rows of steps."""
        names = tuple(name for name in self.names if name not in STEP_COLUMNS)
        return Columns(names, steps=False, delimiter=self.delimiter)


class Run(msgspec.Struct):
    """One row of a run with what its steps add, all as text; empty fields are left out."""

    values: dict[str, str]
    peaks: dict[str, int]
    steps_told: int = 0
    """Steps whose usage slurmdbd has; none, unless `USAGE` was asked for."""
    steps_silent: int = 0
    """Steps whose usage it does not have."""

    @property
    def key(self) -> tuple[str, str]:
        """Cluster and JobID: what a requeued, resized or repeated job has in common."""
        return self.values["Cluster"], self.values["JobID"]

    @property
    def handle(self) -> str:
        """What slurmdbd itself knows the run by."""
        return f"{self.values['Cluster']}/{self.values['DBIndex']}"


def rows_of(chunks: Iterable[bytes], columns: Columns) -> Iterator[tuple[str, ...]]:
    """Cuts the output of `sacct --parsable --noheader` into rows.

    Args:
        chunks: the output, cut anywhere.
        columns: what was asked for.

    Yields:
        The texts of a row, in the order of its columns.

    Raises:
        OutputError: when the output does not hold whole rows of these columns.
    """
    width, delimiter = len(columns.names), columns.delimiter
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest, newline = "", ""
    for chunk in itertools.chain(chunks, [b""]):
        *fields, rest = (rest + decode(chunk, final=not chunk)).split(delimiter)
        left = len(fields) % width
        if left:
            rest = delimiter.join((*fields[-left:], rest))
            del fields[-left:]
        for texts in zip(*[iter(fields)] * width, strict=True):
            index = texts[0][len(newline) :]
            if not (texts[0].startswith(newline) and index.isascii() and index.isdecimal()):
                raise OutputError(
                    f"expected a DBIndex at the start of a row, found {texts[0][:80]!r}"
                )
            yield (index, *texts[1:]) if newline else texts
            newline = "\n"
    if rest != newline:
        raise OutputError(f"the output ends within a row: {rest[:80]!r}")


def named(texts: tuple[str, ...], columns: Columns) -> dict[str, str]:
    """Column → text of a row, without the empty ones."""
    return {name: text for name, text in zip(columns.names, texts, strict=True) if text}


def runs_of(rows: Iterable[tuple[str, ...]], columns: Columns) -> Iterator[Run]:
    """Puts the rows of steps to the runs that they belong to (by cluster and DBIndex).

    Raises:
        OutputError: for a row that has no job id, and for a step that follows no run of its own.
    """
    run: Run | None = None
    of_run = ("", "")
    peaks = [(at, name) for at, name in enumerate(columns.names) if name in _PEAKS]
    cpu_times = _CPU_TIMES.intersection(columns.names)
    usage = columns.names.index(USAGE) if USAGE in columns.names else None
    for texts in rows:
        index, cluster, job_id = texts[:3]
        if "." not in job_id:
            if run is not None:
                yield run
            values = named(texts, columns)
            if not cluster or not job_id:
                raise OutputError(f"a row has no JobID or no Cluster: {_shown(values)}")
            if not columns.steps:
                for name in cpu_times:
                    values.pop(name, None)
            run, of_run = Run(values, {}), (index, job_id)
            continue
        if run is None or (index, job_id.partition(".")[0]) != of_run:
            raise OutputError(f"step {job_id} follows no row of its job")
        for at, name in peaks:
            if text := texts[at]:
                run.peaks[name] = max(run.peaks.get(name, 0), _peak(text))
        if usage is not None:
            run.steps_told += bool(texts[usage])
            run.steps_silent += not texts[usage]
    if run is not None:
        yield run


def has_nodes(run: Run) -> bool:
    """Whether nodes were allocated: the run started."""
    return run.values.get("NodeList", "") not in _NO_NODES


def left_out(run: Run, complete_after: float = 0) -> str | None:
    """Why a run is not to be accounted (now); None for one that is.

    Args:
        run: the run.
        complete_after: epoch seconds; a run that ended before is taken as it is, complete or not.
    """
    if run.values.get("End", "Unknown") in _UNKNOWN:
        return END_UNKNOWN
    if not has_nodes(run):
        return "never started"
    if "Partition" not in run.values and ended(run) >= complete_after:
        return INCOMPLETE
    return None


def usage_to_come(run: Run) -> bool:
    """Whether slurmdbd may learn more of what the steps have used.

    A job ends for Slurm when it is cancelled, or its script ends; processes that go on then have
    `KillWait` seconds more. Until they are gone, sacct shows their steps with the state and the end
    of the job, and with no CPU time. Where Slurm gathers no usage at all, no step ever has any.
    """
    gathers = run.steps_told or run.values.get("State") not in ("COMPLETED", "FAILED")
    return run.steps_silent > 0 and bool(gathers)


def is_running(run: Run) -> bool:
    """Whether a run has begun and not ended, as far as slurmdbd knows."""
    if left_out(run) != END_UNKNOWN:
        return False
    return has_nodes(run) and "Partition" in run.values and began(run) is not None


def without_usage(run: Run) -> Run:
    """The run as it is read without its steps."""
    values = {name: text for name, text in run.values.items() if name not in STEP_COLUMNS}
    return Run(values, {})


def began(run: Run) -> int | None:
    """When the run really began, in epoch seconds; None when Slurm does not say.

    A resized job's second row starts at its Submit, whatever its Start says.
    """
    values = run.values
    start, submit = values.get("Start", ""), values.get("Submit", "")
    if not start.isdecimal():
        return None
    if not submit.isdecimal() or int(submit) <= int(start):
        return int(start)
    end = values.get("End", "")
    return int(start) if end.isdecimal() and int(submit) > int(end) else int(submit)


def ended(run: Run) -> float:
    """When the run ended, in epoch seconds; infinite when that is not known."""
    end = run.values.get("End", "")
    return int(end) if end.isdecimal() else float("inf")


class Identity(msgspec.Struct, frozen=True):
    """How the runs of a source are told apart."""

    cluster: bool = False
    """Whether the cluster's name stands in the id."""
    all_from: float = float("inf")
    """Epoch seconds; runs of jobs submitted since then carry their beginning in the id, always."""

    def of(self, run_id: str, cluster: str, submit: int, start: int, *, first: bool) -> str:
        """The id of a run: the job id as the existing collectors have it, for its first run."""
        if self.cluster:
            run_id = f"{cluster}-{run_id}"
        return run_id if first and submit < self.all_from else f"{run_id}-{start}"


def job_of(run: Run, identity: Identity, where: str, *, first: bool) -> Job | Unreadable:
    """Makes a job of a run that has nodes.

    Args:
        run: the run; its stop time is None when its End is not known.
        identity: how it is named.
        where: the command that printed it.
        first: whether no run of a job with this id came before.
    """
    values = run.values
    try:
        check_job(values["JobID"])
        fields: dict[str, Value] = {}
        for name, text in values.items():
            convert = _CONVERT.get(name)
            if convert is None:
                fields[name] = text
            elif text not in _UNKNOWN:
                try:
                    fields[name] = convert(text)
                except ValueError:  # a text that is no number: UNLIMITED
                    fields[name] = text
        fields.update(run.peaks)
        start = _known_start(run)
        stop_at = _stop_at(fields, start)
        if start != fields["Start"] and stop_at is not None:
            _take_off_time_before(start, stop_at, fields)
        submit = fields.get("Submit")
        run_id = identity.of(
            values["JobID"],
            values["Cluster"],
            submit if isinstance(submit, int) else start,
            start,
            first=first,
        )
    except (ValueError, OverflowError) as error:
        return Unreadable(raw_of(run, first=first), where, str(error))
    return Job(
        run_id,
        datetime.fromtimestamp(start, UTC),
        stop_at,
        fields,
        raw_of(run, first=first),
        where,
    )


def raw_of(run: Run, *, first: bool) -> bytes:
    """The run as JSON, with all that `run_from` needs to make the same job again."""
    return _encode({**run.values, **run.peaks, "first": first})


def run_from(raw: bytes) -> tuple[Run, bool]:
    """Reads `raw_of` back: the run, and whether it is the first of its job.

    Raises:
        ValueError: for anything else.
    """
    values = msgspec.json.decode(raw, type=dict[str, str | int | bool])
    first = values.pop("first", None)
    missing = [name for name in ("Cluster", "JobID") if name not in values]
    if not isinstance(first, bool) or missing:
        raise ValueError("expected a run of sacct as JSON, with Cluster, JobID and first")
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    peaks = {name: value for name, value in values.items() if type(value) is int}
    return Run(texts, peaks), first


def _known_start(run: Run) -> int:
    start = began(run)
    if start is None:
        raise ValueError(
            f"Start = {run.values.get('Start')!r}: expected the second at which the run began"
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


def _take_off_time_before(start: int, stop_at: datetime, fields: dict[str, Value]) -> None:
    """Corrects the sums of a resized job's row, which count the rows before it once more."""
    elapsed_s, cores = int(stop_at.timestamp()) - start, fields.get("AllocCPUS")
    if "ElapsedRaw" in fields:
        fields["ElapsedRaw"] = elapsed_s
    if "CPUTimeRAW" in fields and isinstance(cores, int):
        fields["CPUTimeRAW"] = elapsed_s * cores


def _shown(row: dict[str, str]) -> str:
    return repr(row)[:200]


_encode = msgspec.json.Encoder().encode
