"""How fast sacct's output becomes records in the outbox: one command, one table.

    python tests/benchmarks/slurm.py [--jobs 200000]

The rows are the captured ones, repeated under other job ids; `sacct` is a program that prints them
from a file, so what is measured is ours: reading, parsing, mapping, storing, on one core. Memory is
the process's high-water mark, after a tenth of the jobs and after all of them.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.collect import Collected, MappedSource, store
from collector.config import SourceSection, mapping_of
from collector.outbox import Outbox
from collector.source import Job
from collector_slurm import sacct
from collector_slurm.section import SlurmSection
from collector_slurm.source import SlurmSource
from tests.slurm.standin import CAPTURED_AT, captured, program, quiet


def write_output(path: Path, columns: sacct.Columns, jobs: int) -> None:
    """Writes what sacct prints for so many jobs, with their steps if the columns want them."""
    runs: list[list[dict[str, str]]] = []
    for row in captured():
        if "." not in row["JobID"]:
            runs.append([])
        runs[-1].append(row)
    runs = [run for run in runs if sacct.left_out(sacct.Run(run[0], {})) is None]
    runs = [run for run in runs if run[0]["JobID"] == run[0]["JobIDRaw"]]
    with path.open("w") as file:
        for number in range(jobs):
            for row in runs[number % len(runs)][: None if columns.steps else 1]:
                job_id = str(number + 1)
                step = row["JobID"].partition(".")[1:]
                shown = {**row, "DBIndex": job_id, "JobID": job_id + "".join(step)}
                file.write(
                    "".join(shown.get(name, "") + columns.delimiter for name in columns.names)
                    + "\n"
                )


def source_over(folder: Path, output: Path) -> MappedSource:
    """The plugin with its default mapping, over a `sacct` that prints a file."""
    names = " ".join(name for row in captured()[:50] for name in row)
    script = (
        f'case "$1" in --helpformat) echo {names};; *)'
        f' case "$*" in *--jobs=*) ;; *) exec cat {output};; esac;; esac'
    )
    section: SourceSection = SlurmSection(
        name="slurm",
        plugin="slurm",
        record_prefix="slurm",
        sacct=program(folder, script),
        since=datetime(2026, 11, 24, tzinfo=UTC),
        pause_s=0,
        window_s=1e6,
    )
    mapping = mapping_of(section, SlurmSource)
    context = quiet(CAPTURED_AT, frozenset(mapping.fields))
    source = SlurmSource(section, context)
    return MappedSource(source, mapping)


def chunks(path: Path) -> Iterator[bytes]:
    """A file, piece by piece."""
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
        output = folder / "output"
        mapped = source_over(folder, output)
        if not steps:
            mapped.source.context.fields = frozenset(mapped.mapping.fields - sacct.STEP_COLUMNS)
        offered = frozenset(column for row in captured() for column in row)
        fields = mapped.source.context.fields
        columns = sacct.Columns.choose(fields, offered, str)
        write_output(output, columns, jobs)
        rows = sum(1 for _ in output.open())
        kind = f"{jobs} jobs, {rows} rows, {output.stat().st_size / 1e6:.0f} MB"

        def parse() -> int:
            runs = sacct.runs_of(sacct.rows_of(chunks(output), columns), columns)
            return sum(1 for _ in runs)

        def record() -> int:
            runs = sacct.runs_of(sacct.rows_of(chunks(output), columns), columns)
            made = (sacct.job_of(run, sacct.Identity(), "here", first=True) for run in runs)
            jobs = (job for job in made if isinstance(job, Job))
            return sum(1 for job in jobs if mapped.mapping.record(job).encode())

        def put() -> int:
            total = Collected()
            with Outbox.open(folder / "outbox.db", now=lambda: CAPTURED_AT) as outbox:
                begin, end = datetime(2026, 11, 24, tzinfo=UTC), CAPTURED_AT
                for batch in mapped.source.backfill(begin, end):
                    store(batch, mapped, outbox, total, origin="benchmark")
            return total.new

        for what, work in (("parsed", parse), ("records", record), ("in the outbox", put)):
            count, seconds = timed(work)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{kind:44} {what:14} {count:7} {count / seconds:9.0f} /s {peak:7.0f} MiB")


def main() -> None:
    """Measures, each kind in a process of its own, so that each has its own high-water mark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    jobs = parser.parse_args().jobs
    print(f"{'input':44} {'':14} {'jobs':>7} {'speed':>12} {'memory':>11}")
    sys.stdout.flush()
    for steps in (False, True):
        for count in (jobs // 10, jobs):
            child = os.fork()
            if child == 0:
                measure(count, steps=steps)
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
