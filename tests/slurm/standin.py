"""Sources over captured data, and the stand-in for `sacct` as a program that can be called."""

import json
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collector.source import Batch, Context, Job
from collector.source.testing import context
from collector_slurm.columns import KEY_COLUMNS, Columns
from collector_slurm.run import Run
from collector_slurm.section import SlurmSection
from collector_slurm.source import SlurmSource

CASES = Path(__file__).parents[1] / "testcases" / "slurm"
ROWS = CASES / "sacct" / "rows.jsonl"
LOG = CASES / "jobcomp" / "jobcomp.log"
CAPTURED_AT = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)
"""After the last run of the captured rows has ended."""


def program(folder: Path, script: str) -> str:
    """Writes a shell script that can be called as `sacct`."""
    path = folder / "sacct"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def standin(folder: Path, rows: Path = ROWS) -> str:
    """A `sacct` that answers from captured rows."""
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("standin_sacct.py"))]
    return program(folder, f'exec {shlex.join([*command, str(rows)])} "$@"')


def written(folder: Path, rows: Iterable[dict[str, str]]) -> Path:
    """Rows as the file that the stand-in reads."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def captured() -> list[dict[str, str]]:
    """The captured rows."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()]


def row(job_id: str, **columns: str) -> dict[str, str]:
    """A row of a run of a minute, as sacct has it; columns can be changed."""
    return {
        "DBIndex": "1",
        "Cluster": "lab",
        "JobID": job_id,
        "JobIDRaw": job_id,
        "State": "COMPLETED",
        "Submit": "1795478000",
        "Eligible": "1795478000",
        "Start": "1795478100",
        "End": "1795478160",
        "Suspended": "00:00:00",
        "ElapsedRaw": "60",
        "NodeList": "node1",
        "Partition": "batch",
        "AllocCPUS": "2",
        "CPUTimeRAW": "120",
        "AllocTRES": "billing=2,cpu=2,mem=128M,node=1",
    } | columns


def run_of(row: dict[str, str]) -> Run:
    """The run that a row tells."""
    columns = Columns((*KEY_COLUMNS, *sorted(set(row).difference(KEY_COLUMNS))))
    return Run(columns.reader()([row.get(name, "") for name in columns.names]))


def quiet(now: datetime = CAPTURED_AT, fields: frozenset[str] | None = None) -> Context:
    """The context of a source in a test."""
    given = context("slurm")
    given.now = lambda: now
    given.fields = fields
    return given


def source(given: Context | None = None, **keys: Any) -> SlurmSource:
    """A source of this plugin."""
    section = SlurmSection(
        **{"name": "slurm", "plugin": "slurm", "record_prefix": "slurm", "pause_s": 0, **keys}
    )
    return SlurmSource(section, given or quiet())


def jobs(batches: Iterable[Batch]) -> dict[str, Job]:
    """The jobs of batches, by id; a run that is read again replaces its earlier reading."""
    return {job.id: job for batch in batches for job in batch.jobs}


def filtered(batches: Iterable[Batch]) -> dict[str, int]:
    """How many runs were left out, by reason."""
    sums: dict[str, int] = {}
    for batch in batches:
        for reason, count in batch.filtered.items():
            sums[reason] = sums.get(reason, 0) + count
    return sums
