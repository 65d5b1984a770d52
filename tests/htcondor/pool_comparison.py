"""Compares what the Auditor holds of a pool's jobs, mode by mode, with what the jobs wrote down."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from collector.record import Record
from tests.htcondor.pool_collecting import EVERY_RUN, LAST, TOTAL, Collecting
from tests.htcondor.pool_truth import TrueRun, truth
from tests.htcondor.pool_workload import Workload

TOLERANCE_S = 1
"""HTCondor's times are whole seconds, so the witness is cut to whole seconds before."""
UNSEEN_S = 15
"""A run whose program never began is over within this time."""
CPU_TOLERANCE_S = 2
"""Without cgroups HTCondor counts the CPU time of each process in whole seconds."""
MODES = (*LAST, *TOTAL, *EVERY_RUN)
Who = tuple[str, str]
"""User and group; no group is an empty text."""


@dataclass
class Sums:
    """What users and groups have used."""

    runs: Counter[Who] = field(default_factory=Counter)
    wall_s: Counter[Who] = field(default_factory=Counter)
    core_s: Counter[Who] = field(default_factory=Counter)
    cpu_s: Counter[Who] = field(default_factory=Counter)

    def add(self, who: Who, wall_s: float, cores: int, cpu_s: float) -> None:
        """Counts one run."""
        self.runs[who] += 1
        self.wall_s[who] += round(wall_s)
        self.core_s[who] += round(wall_s * cores)
        self.cpu_s[who] += round(cpu_s)


def compare(collecting: Collecting, workload: Workload, prefix: str = "") -> list[str]:
    """Compares every mode with what the jobs wrote; gives the differences, and prints the tables.

    Args:
        collecting: the daemon that collected the jobs.
        workload: the jobs; those of hostile owners are left out.
        prefix: what the record prefixes begin with.
    """
    differences = []
    for mode in MODES:
        if prefix and (mode.startswith("tracked") or mode == "per_job"):
            continue  # a backfill tracks nothing, and the daemon has removed the files
        records, expected = collecting.records(prefix + mode), truth(workload, mode)
        ours, theirs = Sums(), Sums()
        for job in sorted(set(records) | set(expected), key=_in_order):
            kind = workload.kind_of(*job)
            if kind is not None and kind.hostile:
                continue
            found, runs = records.get(job, []), expected.get(job, [])
            if kind is not None and kind.attempts:
                found = [one for one in found if one.runtime is None or one.runtime > 1]
            for record in found:
                amounts = amounts_of(record)
                cores, cpu_s = amounts["Cores"], amounts.get("TotalCPU", 0)
                ours.add(_who(record), record.runtime or 0, cores, cpu_s)
            for run in runs:
                theirs.add(run.who, run.length_s, run.cores, run.cpu_s)
            of = f"{prefix}{mode} {' '.join(job)} {'?' if kind is None else kind.name}"
            differences += [f"{of}: {text}" for text in _differences(found, runs)]
        _print(prefix + mode, ours, theirs)
    return differences


def amounts_of(record: Record) -> dict[str, int]:
    """The components of a record, by name."""
    return {one.name: one.amount for one in record.components}


def _in_order(job: tuple[str, str]) -> tuple[str, list[int]]:
    return job[0], [int(number) for number in job[1].split(".")]


def _differences(found: list[Record], runs: list[TrueRun]) -> Iterator[str]:
    """What differs between the records of a job and its runs."""
    if len(found) != len(runs):
        times = "; ".join(f"{one.start_time} to {one.stop_time}" for one in found) or "none"
        known = "; ".join(map(str, runs)) or "none"
        yield f"{len(found)} records ({times}), {len(runs)} runs ({known})"
        return
    for record, run in zip(found, runs, strict=True):
        if run.open and record.stop_time is None:
            continue
        if record.stop_time is None or record.runtime is None:
            yield f"no stop time, since {record.start_time}; it ended: {run}"
            continue
        tolerance_s = TOLERANCE_S if run.end_at else UNSEEN_S
        if run.exact and abs(record.runtime - run.length_s) > tolerance_s:
            yield f"{record.runtime} s ({record.start_time} to {record.stop_time}), not {run}"
        elif run.end_at and abs(record.stop_time.timestamp() - int(run.end_at)) > TOLERANCE_S:
            yield f"ended {record.stop_time}, not {run}"
        if (who := _who(record)) != run.who:
            yield f"accounted to {who}, not {run.who}"
        amounts = amounts_of(record)
        if amounts["Cores"] != run.cores:
            yield f"{amounts['Cores']} cores, not {run.cores}"
        cpu_s = amounts.get("TotalCPU")
        if cpu_s is not None and abs(cpu_s - run.cpu_s) > CPU_TOLERANCE_S:
            yield f"{cpu_s} s of CPU, not {run.cpu_s:.1f}"
        if "suspicious" in (record.meta or {}):
            yield f"called suspicious: {record.meta}"


def _who(record: Record) -> Who:
    meta = record.meta or {}
    return meta["user"][0], meta.get("group", [""])[0]


def _print(mode: str, ours: Sums, theirs: Sums) -> None:
    print(f"{mode}: in the Auditor | by the jobs themselves")
    print(f"  {'user':6} {'group':17} {'runs':>11} {'wall s':>13} {'core-s':>13} {'CPU s':>11}")
    for who in sorted(set(ours.runs) | set(theirs.runs)):
        row = (
            f"{getattr(ours, name)[who]:>{width}} | {getattr(theirs, name)[who]:<{width}}"
            for name, width in (("runs", 4), ("wall_s", 5), ("core_s", 5), ("cpu_s", 4))
        )
        print(f"  {who[0]:6} {who[1] or '-':17}", *row, flush=True)
