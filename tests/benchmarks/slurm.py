"""How fast sacct's output becomes records in the outbox: one command, one table.

    python tests/benchmarks/slurm.py [--jobs 200000]

The rows are the captured ones, repeated under other job ids, each job with a CPU time and a peak
memory of its own; `sacct` is a program that prints files that were made before, so what is measured
is ours: calling it for windows and for ids, reading, parsing, mapping, storing, on one core. Speed
is in CPU seconds of this process, without those of `sacct`, in several rounds, as the machine may
not be ours alone. Memory is the process's high-water mark, after a tenth of the jobs and after all.
"""

import argparse
import gc
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.config import SourceSection, mapping_of
from collector.outbox import (
    Outbox,
    Outcome,
)
from collector.pipeline.collect import Collected, store
from collector.pipeline.sources import MappedSource
from collector.source import Job
from collector_slurm.columns import STEP_COLUMNS, USAGE, Columns
from collector_slurm.jobid import Identity
from collector_slurm.rows import runs_of
from collector_slurm.sacct import BATCH_RUNS
from collector_slurm.section import SlurmSection
from collector_slurm.source import SlurmSource
from tests.slurm.standin import CAPTURED_AT, captured, program, quiet, run_of

OFFERED = frozenset(column for row in captured() for column in row) | {USAGE}
USED = "energy=0,fs/disk=2012"
"""What stands in USAGE of a step; the captured rows do not have this column."""
VARIED = ("MaxRSS", "TotalCPU")
"""Columns that hardly two jobs have in common."""
ROUNDS = 5
PERIOD = timedelta(hours=1)
"""Before CAPTURED_AT; all captured runs ended within it, and it is one window."""


def varied(text: str, number: int) -> str:
    """Another size in bytes, or duration, for each job; what is empty stays so."""
    if ":" in text:
        return f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
    return text and str(int(text) + 4096 * number)


def write_rows(folder: Path, columns: Columns, jobs: int, in_file: int) -> None:
    """Writes what sacct prints for so many jobs, with their steps if the columns want them.

    Each file has so many jobs and the name of the first.
    """
    folder.mkdir()
    runs: list[list[dict[str, str]]] = []
    for row in captured():
        if "." not in row["JobID"]:
            runs.append([])
        runs[-1].append(row)
    runs = [run for run in runs if run_of(run[0]).left_out() is None]
    runs = [run for run in runs if run[0]["JobID"] == run[0]["JobIDRaw"]]
    for first in range(0, jobs, in_file):
        with (folder / str(first + 1)).open("w") as file:
            for number in range(first, min(first + in_file, jobs)):
                for row in runs[number % len(runs)][: None if columns.steps else 1]:
                    texts = row_of(row, number, columns)
                    file.write("".join(f"{text}{columns.delimiter}" for text in texts) + "\n")


def row_of(captured_row: dict[str, str], number: int, columns: Columns) -> list[str]:
    """A captured row as that of another job."""
    job_id = str(number + 1)
    step = captured_row["JobID"].partition(".")[1:]
    row = {**captured_row, "DBIndex": job_id, "JobID": job_id + "".join(step)}
    row[USAGE] = USED if step[0] else ""
    for column in VARIED:
        row[column] = varied(row.get(column, ""), number)
    return [row.get(name, "") for name in columns.names]


def standin(folder: Path) -> str:
    """A `sacct` that prints what `window` has, or the file of `by_id` whose first job is named."""
    return program(
        folder,
        f'case "$*" in --helpformat) echo {" ".join(OFFERED)};;'
        f' *--jobs=*) ids="${{*#*--jobs=}}"; exec cat "{folder}/by_id/${{ids%%,*}}";;'
        f" *) exec cat {folder}/window/1;; esac",
    )


def source_over(folder: Path, *, steps: bool) -> MappedSource:
    """The plugin over the stand-in, with its default mapping, or without what stands on steps."""
    section: SourceSection = SlurmSection(
        name="slurm", plugin="slurm", record_prefix="slurm", sacct=standin(folder), pause_s=0
    )
    mapping = mapping_of(section, SlurmSource)
    fields = frozenset(mapping.fields) - (frozenset() if steps else STEP_COLUMNS)
    return MappedSource(SlurmSource(section, quiet(CAPTURED_AT + PERIOD, fields)), mapping)


def chunks(folder: Path) -> Iterator[bytes]:
    """The rows of a folder, piece by piece."""
    for path in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        with path.open("rb") as file:
            while chunk := file.read(1 << 18):
                yield chunk


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """Runs something; gives what it counted, and the CPU seconds of this process that it took."""
    before = time.process_time()
    count = work()
    return count, time.process_time() - before


def measure(jobs: int, *, steps: bool) -> None:
    """Prints the lines of one kind of output."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mapped = source_over(folder, steps=steps)
        columns = Columns.choose(mapped.source.context.fields, OFFERED, str)
        window, by_id = folder / "window", folder / "by_id"
        columns_by_id = columns.by_id(complete=True)
        write_rows(window, columns.of_window(), jobs, jobs)
        write_rows(by_id, columns_by_id, jobs, BATCH_RUNS)
        output, columns = (by_id, columns_by_id) if steps else (window, columns)
        rows = sum(chunk.count(b"\n") for chunk in chunks(output))
        size = sum(map(len, chunks(output)))
        kind = f"{jobs} jobs, {rows} rows, {size / 1e6:.0f} MB"

        def parse() -> int:
            return sum(1 for _ in runs_of(chunks(output), columns))

        def record() -> int:
            runs = runs_of(chunks(output), columns)
            made = (run.job(Identity(), "here", first=True) for run in runs)
            jobs = (job for job in made if isinstance(job, Job))
            return sum(1 for job in jobs if mapped.mapping.record(job).encode())

        def put() -> int:
            total = Collected()
            for left in folder.glob("outbox.db*"):
                left.unlink()
            with Outbox.open(folder / "outbox.db", now=lambda: CAPTURED_AT) as outbox:
                for batch in mapped.source.backfill(CAPTURED_AT - PERIOD, CAPTURED_AT):
                    store(batch, mapped, outbox, total, origin="benchmark")
            return total.outcomes[Outcome.QUEUED]

        for what, work in (("parsed", parse), ("records", record), ("in the outbox", put)):
            rounds = []
            for _ in range(ROUNDS):
                count, seconds = timed(work)
                assert count == jobs, f"{what}: {count} of {jobs} jobs"
                rounds.append(jobs / seconds)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            speed = f"{min(rounds):7.0f} {statistics.median(rounds):7.0f} {max(rounds):7.0f}"
            print(f"{kind:44} {what:14} {speed} {peak:7.0f} MiB")


def main() -> None:
    """Measures, each kind in a process of its own, so that each has its own high-water mark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    jobs = parser.parse_args().jobs
    print(f"{'input':44} {'jobs/s:':14} {'slowest':>7} {'median':>7} {'fastest':>7} {'memory':>11}")
    sys.stdout.flush()
    gc.freeze()  # as the command does
    for steps in (False, True):
        for count in (jobs // 10, jobs):
            child = os.fork()
            if child == 0:
                measure(count, steps=steps)
                sys.stdout.flush()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                sys.exit("a measurement failed")


if __name__ == "__main__":
    main()
