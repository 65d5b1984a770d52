"""`make verify-htcondor`: a real pool, a real daemon, and whether the sums agree.

Usage: python -m tests.htcondor.verify [--release SUITE] [--capture FOLDER], with the HTCondor of
that release of Debian (trixie, sid, …), which debootstrap fetches.

Brings up a pool of two schedds and an Auditor, runs jobs of every kind while a daemon collects them
in every mode and is killed now and then, disturbs the pool, and compares what the Auditor then
holds with what the jobs wrote down themselves: runs, wall-clock, core-seconds and CPU seconds by
user and group; the same with a backfill. Prints the table of each mode; exits 1 when anything
differs, 2 where there can be no pool.

A run is equal when its length, and its end, are those of the witness within one second.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.helpers.auditor_server import running_auditor
from tests.htcondor.pool import UnavailableError, running_pool
from tests.htcondor.pool_capture import capture
from tests.htcondor.pool_collecting import Collecting
from tests.htcondor.pool_comparison import compare
from tests.htcondor.pool_disturbances import ROUTER, run_all

NEWEST = (25, 14)
"""The newest release that was looked at; with a newer one differences may be HTCondor's news."""


def main() -> int:
    """Runs the comparison; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.htcondor.verify")
    parser.add_argument("--release", metavar="SUITE", default="trixie", help="Debian's release")
    parser.add_argument("--capture", metavar="FOLDER", type=Path, help="keeps the ads there")
    given = parser.parse_args()
    suite = given.release
    try:
        with tempfile.TemporaryDirectory() as name, running_pool(suite, ROUTER, schedds=2) as pool:
            print(pool.run("condor_version"), flush=True)
            if pool.version[:2] > NEWEST:
                print(f"newer than {'.'.join(map(str, NEWEST))}, which this was made with")
            folder = Path(name)
            with running_auditor(folder / "auditor.db") as auditor:
                collecting = Collecting(pool, auditor, folder)
                try:
                    workload = run_all(pool, collecting)
                finally:
                    collecting.stop()
                if given.capture:
                    capture(workload, given.capture)
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
