"""Captures what a real Slurm says of jobs of every kind: data for `test_captured.py`.

Usage: python -m tests.slurm.capture FOLDER [--release SUITE]

Writes into the folder `rows.jsonl`, what `sacct --duplicates --parsable` prints of
ended runs, a row a line, without empty columns and those of LEFT_OUT; and `json.jsonl`, what
`sacct --json` says of the same runs, a job a line, with KEPT, its resources and its steps' peaks.
"""

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collector_slurm.columns import KEY_COLUMNS
from collector_slurm.command import environment
from tests.slurm.both_saccts import ENDED, FOREVER, FRAME, named
from tests.slurm.cluster import Cluster, running_cluster
from tests.slurm.workload import Workload

LEFT_OUT = re.compile(r"TRESUsage|Ave|Min|ConsumedEnergy|ReqCPUFreq|Max.*(Node|Task)$")
KEPT = (
    *("account", "array", "cluster", "exit_code", "group", "het", "job_id", "nodes", "partition"),
    *("restart_cnt", "sluid", "state", "time", "user"),
)


def rows(cluster: Cluster) -> Iterator[dict[str, str]]:
    """The rows of all ended runs and their steps."""
    offered = cluster.run("sacct", "--helpformat").split()
    wanted = [name for name in offered if not LEFT_OUT.match(name)]
    names = tuple(dict.fromkeys([*KEY_COLUMNS, *wanted]))
    options = (f"--format={','.join(names)}", f"--state={ENDED}", *FOREVER)
    output = subprocess.run(
        [cluster.sacct, "--allusers", "--duplicates", *FRAME, *options],
        env=environment(),
        check=True,
        capture_output=True,
    ).stdout
    for row in named(output, names):
        yield {name: text for name, text in row.items() if text}


def jobs(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """The same runs, as JSON."""
    options = ("--allusers", "--duplicates", "--json", f"--state={ENDED}", *FOREVER)
    said = cluster.run("sacct", *options)
    for job in json.loads(said)["jobs"]:
        kept = {name: job[name] for name in KEPT if name in job}
        kept["tres"] = {"allocated": job["tres"]["allocated"]}
        kept["peaks"] = [
            one["count"]
            for step in job["steps"]
            for one in step["tres"]["requested"]["max"]
            if one["type"] == "mem"
        ]
        yield kept


def main() -> None:
    """Brings a cluster up, runs the jobs, and writes the files."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.capture")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--release", metavar="SUITE", help="Debian's release to take Slurm from")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with running_cluster(given.release) as cluster:
        Workload(cluster).run()
        for name, lines in (("rows", rows(cluster)), ("json", jobs(cluster))):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (given.folder / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
