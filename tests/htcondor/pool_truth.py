"""Which runs each mode has to account, by what the jobs of a workload wrote down themselves."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.htcondor.pool_collecting import ELSEWHERE, EVERY_RUN, TOTAL
from tests.htcondor.pool_witness import Run, witnessed
from tests.htcondor.pool_workload import GROUPS, Kind, Workload, label_of

ACCOUNTED_UNIVERSES = {"vanilla", "parallel"}
"""Those that hold a slot, which is the default of `universes`."""


@dataclass
class TrueRun:
    """A run, or all runs of a job as one, as it has to be accounted."""

    who: tuple[str, str]
    cores: int
    end_at: float
    """Epoch seconds; 0 where nobody but HTCondor knows."""
    length_s: float
    cpu_s: float
    open: bool = False
    """Whether the mode may not know its end, and then records it without a stop time for a day."""
    exact: bool = True
    """False: HTCondor's own sum for the job, which is what the mode accounts, is not exact."""

    def __str__(self) -> str:
        return f"{self.length_s:g} s until {self.end_at:.1f}"


def truth(workload: Workload, mode: str) -> dict[tuple[str, str], list[TrueRun]]:
    """The runs that a mode has to account, by schedd and job."""
    found: dict[tuple[str, str], list[TrueRun]] = defaultdict(list)
    of_jobs = witnessed(workload.pool.lab / "witness")
    schedds = workload.pool.schedds if mode in ELSEWHERE else workload.pool.schedds[:1]
    names = {label_of(schedd): schedd.name for schedd in schedds}
    for (label, job), runs in of_jobs.items():
        kind = workload.kind_of(label, job) or Kind("of another", runs[0].user)
        if label in names and _counts(kind) and (chosen := _chosen(kind, runs, mode)):
            found[names[label], job] = chosen
    for submitted in workload.jobs:  # jobs whose slot was taken, but whose program never began
        if submitted.schedd in schedds and not submitted.kind.executes:
            run = TrueRun(_who(submitted.kind), submitted.kind.cores, 0, 0, 0)
            found[submitted.schedd.name, f"{submitted.cluster}.0"] = [run]
    return found


def _counts(kind: Kind) -> bool:
    return kind.universe in ACCOUNTED_UNIVERSES


def _who(kind: Kind) -> tuple[str, str]:
    return kind.user, GROUPS.get(kind.group, "")


def _chosen(kind: Kind, runs: Sequence[Run], mode: str) -> list[TrueRun]:
    each = [
        TrueRun(
            _who(kind),
            kind.cores * kind.nodes if kind.universe != "vanilla" else run.cores,
            run.end_at if kind.exact_ends else 0,
            int(run.end_at) - int(run.taken_at),
            run.cpu_s,
        )
        for run in runs
    ]
    lost = [each[number] for number in kind.lost_runs]
    if mode == "epochs":
        return [run for run in each if run not in lost]
    if mode == "pair":
        return [run for run in each if run not in lost or run is each[-1]]
    if mode.startswith("tracked"):
        for run in lost:  # the program lives on for some seconds, of which nobody hears any more
            run.exact, run.end_at, run.open = False, 0, mode == "tracked_epochs"
    if mode in EVERY_RUN:
        return each
    last = each[-1]
    if mode in TOTAL:
        last.length_s = sum(run.length_s for run in each)
        last.cpu_s = sum(run.cpu_s for run in each)
        last.exact = kind.exact_total
    return [last]
