"""`reconcile` over ever more jobs: its memory must not grow with them.

    python tests/benchmarks/reconcile.py [--jobs 1000 10000 100000]

For each number, that many jobs are written for the example plugin, backfilled into an embedded
Auditor (a process of its own), and reconciled by the real command. One in a thousand is then
deleted in the Auditor, and it is reconciled again, to see that it looks.
"""

import argparse
import os
import re
import sqlite3
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.auditor_server import running_auditor
from tests.helpers.example_plugin import FIRST_START
from tests.helpers.site import Site

RUN_S = 60
AT_ONCE = 10_000


def measured(site: Site, *args: str) -> tuple[str, float, float]:
    """Runs a command: what it printed, seconds, MiB resident at most."""
    started = time.perf_counter()
    process = site.start(*args)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return out, time.perf_counter() - started, used.ru_maxrss / 1024


def number_of(what: str, out: str) -> int:
    """A number of the summary that a command printed."""
    found = re.search(rf"(\d+)  {what}", out)
    return int(found[1]) if found else 0


def play(folder: Path, jobs: int) -> None:
    """Prints the row of the table for a number of jobs."""
    with running_auditor(folder / "auditor.db") as auditor:
        site = Site(folder, auditor.url)
        for first in range(0, jobs, AT_ONCE):
            site.log(*range(first, min(jobs, first + AT_ONCE)))
        until = FIRST_START + timedelta(seconds=jobs + RUN_S)
        period = ("--since", FIRST_START.isoformat(), "--until", until.isoformat())
        out, _, _ = measured(site, "backfill", *period)
        assert number_of("stored", out) == jobs, out
        out, seconds, mib = measured(site, "reconcile", *period)
        assert number_of("equal", out) == jobs, out
        with sqlite3.connect(folder / "auditor.db") as sql:
            deleted = sql.execute("DELETE FROM record WHERE id % 1000 = 0").rowcount
        sql.close()
        out, seconds_missing, mib_missing = measured(site, "reconcile", *period)
        assert number_of("missing", out) == deleted, out[-500:]
    print(
        f"| {jobs:,} | {seconds:.1f} | {mib:.0f} | {deleted:,} |"
        f" {seconds_missing:.1f} | {mib_missing:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    print("| Jobs, all equal | s | MiB resident | of them missing | s | MiB resident |")
    print("|---|---|---|---|---|---|")
    for number in parser.parse_args().jobs:
        with tempfile.TemporaryDirectory() as temporary:
            play(Path(temporary), number)
