"""`make verify-htcondor`: a real pool, a real daemon, and whether the sums agree.

Usage: python -m tests.htcondor.verify [--release SUITE], with the HTCondor of that release of
Debian (trixie, sid, …), which debootstrap fetches.

Brings up a pool of two schedds and an Auditor, runs jobs of every kind while a daemon collects them
in every mode and is killed in the middle, and compares what the Auditor then holds with what the
jobs wrote down themselves: runs, wall-clock, core-seconds and CPU seconds by user and group. Prints
the table of each mode; exits 1 when anything differs, 2 where there can be no pool.

Times in HTCondor are whole seconds. A run is equal when its length, and its end, are those of the
witness within one second after the witness, too, was cut to whole seconds.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from collector.record import Record
from tests.helpers.auditor_server import running_auditor
from tests.htcondor.pool import Pool, UnavailableError, running_pool
from tests.htcondor.pool_collecting import EVERY_RUN, LAST, POLL_S, TOTAL, Collecting
from tests.htcondor.pool_disturbances import (
    ROUTER,
    machine_lost,
    ordinary_jobs,
    preempted,
    schedd_killed,
    schedd_restarted,
    shadow_killed,
)
from tests.htcondor.pool_truth import TrueRun, truth
from tests.htcondor.pool_workload import Workload

TOLERANCE_S = 1
CPU_TOLERANCE_S = 2
"""Without cgroups HTCondor counts the CPU time of each process in whole seconds."""
UNSEEN_S = 15
"""A run whose program never began is over within this time."""
Who = tuple[str, str]
"""User and group; no group is an empty text."""
MODES = (*LAST, *TOTAL, *EVERY_RUN)


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
        workload: the jobs.
        prefix: what the record prefixes begin with.
    """
    differences = []
    for mode in MODES:
        if prefix and (mode.startswith("tracked") or mode == "per_job"):
            continue  # a backfill tracks nothing, and the daemon has removed the files
        records = collecting.records(prefix + mode)
        expected = truth(workload, mode)
        ours, theirs = Sums(), Sums()
        for job in sorted(set(records) | set(expected), key=_in_order):
            found, runs = records.get(job, []), expected.get(job, [])
            for record in found:
                _add_record(ours, record)
            for run in runs:
                theirs.add(run.who, run.length_s, run.cores, run.cpu_s)
            name = workload.name_of(*job)
            differences += [
                f"{prefix}{mode} {job[0]} {job[1]} {name}: {text}"
                for text in _compare_job(found, runs)
            ]
        _print(prefix + mode, ours, theirs)
    return differences


def _in_order(job: tuple[str, str]) -> tuple[str, list[int]]:
    return job[0], [int(number) for number in job[1].split(".")]


def _compare_job(found: list[Record], runs: list[TrueRun]) -> Iterator[str]:
    if len(found) != len(runs):
        times = "; ".join(f"{one.start_time} to {one.stop_time}" for one in found) or "none"
        known = "; ".join(map(str, runs)) or "none"
        yield f"{len(found)} records ({times}), {len(runs)} runs ({known})"
        return
    for record, run in zip(found, runs, strict=True):
        if run.open:
            if record.stop_time is not None:
                yield f"ended {record.stop_time}, which this mode cannot know"
            continue
        if record.stop_time is None or record.runtime is None:
            yield f"no stop time, since {record.start_time}; it ended: {run}"
            continue
        if abs(record.runtime - run.length_s) > (TOLERANCE_S if run.end_at else UNSEEN_S):
            yield f"{record.runtime} s ({record.start_time} to {record.stop_time}), not {run}"
        elif run.end_at and abs(record.stop_time.timestamp() - int(run.end_at)) > TOLERANCE_S:
            yield f"ended {record.stop_time}, not {run}"
        who = _who(record)
        if who != run.who:
            yield f"accounted to {who}, not {run.who}"
        amounts = {one.name: one.amount for one in record.components}
        if amounts["Cores"] != run.cores:
            yield f"{amounts['Cores']} cores, not {run.cores}"
        cpu_s = amounts.get("TotalCPU")
        if cpu_s is not None and abs(cpu_s - run.cpu_s) > CPU_TOLERANCE_S:
            yield f"{cpu_s} s of CPU, not {run.cpu_s:.1f}"


def _who(record: Record) -> Who:
    meta = record.meta or {}
    return meta["user"][0], meta.get("group", [""])[0]


def _add_record(sums: Sums, record: Record) -> None:
    amounts = {one.name: one.amount for one in record.components}
    sums.add(_who(record), record.runtime or 0, amounts["Cores"], amounts.get("TotalCPU", 0))


def _print(mode: str, ours: Sums, theirs: Sums) -> None:
    print(f"{mode}: in the Auditor | by the jobs themselves")
    print(f"  {'user':6} {'group':17} {'runs':>11} {'wall s':>13} {'core-s':>13} {'CPU s':>11}")
    for who in sorted(set(ours.runs) | set(theirs.runs)):
        row = (
            f"{getattr(ours, name)[who]:>{width}} | {getattr(theirs, name)[who]:<{width}}"
            for name, width in (("runs", 4), ("wall_s", 5), ("core_s", 5), ("cpu_s", 4))
        )
        print(f"  {who[0]:6} {who[1] or '-':17}", *row, flush=True)


def run_workload(pool: Pool, collecting: Collecting) -> Workload:
    """Runs jobs of every kind while the daemon collects them, and is killed now and then."""
    workload = Workload(pool)
    collecting.start()

    def killed() -> Iterator[None]:
        for look in range(10**6):
            if look % 25 == 20:
                collecting.kill_and_restart()
            yield

    kills = killed()
    for disturb in (
        ordinary_jobs,
        schedd_restarted,
        schedd_killed,
        machine_lost,
        shadow_killed,
        preempted,
    ):
        disturb(workload)
        workload.run(300, kills)
    time.sleep(3 * POLL_S)
    return workload


def main() -> int:
    """Runs the comparison; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.htcondor.verify")
    parser.add_argument("--release", metavar="SUITE", default="trixie", help="Debian's release")
    suite = parser.parse_args().release
    try:
        with tempfile.TemporaryDirectory() as name, running_pool(suite, ROUTER, schedds=2) as pool:
            print(pool.run("condor_version"), flush=True)
            folder = Path(name)
            with running_auditor(folder / "auditor.db") as auditor:
                collecting = Collecting(pool, auditor, folder)
                try:
                    workload = run_workload(pool, collecting)
                finally:
                    collecting.stop()
                if os.environ.get("KEEP"):
                    import shutil

                    keep = Path(os.environ["KEEP"])
                    shutil.rmtree(keep, ignore_errors=True)
                    for d in ("spool", "lab", "log"):
                        shutil.copytree(pool.folder / d, keep / d, ignore_dangling_symlinks=True)
                    (keep / "workload.log").write_text("\n".join(workload.log))
                    shutil.copytree(folder, keep / "collector")
                differences = compare(collecting, workload)
                rejected = collecting.rejected() + collecting.backfill()
                differences += compare(collecting, workload, "b-")
                differences += [f"rejected: {line}" for line in rejected]
    except UnavailableError as error:
        print(f"no pool: {error}", file=sys.stderr)
        return 2
    print("\n".join(differences) or "all equal")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
