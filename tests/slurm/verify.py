"""`make verify-slurm`: a real cluster, a real daemon, and whether the sums agree.

Usage: python -m tests.slurm.verify [--release SUITE], with the Slurm of another release of Debian
(trixie, testing, …), which debootstrap fetches.

Brings up a Slurm cluster and an Auditor, runs jobs of every kind while the daemon collects them in
three ways (sacct, sacct with `track_running`, jobcomp), and compares what the Auditor then holds
with what `sacct` and `sreport` say themselves: runs, core-seconds and elapsed seconds by user and
account. Prints the table; exits 1 when anything differs, 2 where there can be no cluster.

Slurm's own sums count the time before the resize of a resized job twice, since the second of its
rows repeats the first one's Start. The comparison takes it off theirs, and says how much it was.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from collector.record import Record
from tests.helpers.auditor_server import RunningAuditor, running_auditor
from tests.slurm.cluster import Cluster, UnavailableError, eventually, running_cluster
from tests.slurm.workload import Workload

ROOT = Path(__file__).parents[2]
ENDED = "BF,CA,CD,DL,F,NF,OOM,PR,RQ,RS,RV,TO"
HOUR_S = 3600
CONFIG = """\
sources:
  - {{name: sacct, plugin: slurm, record_prefix: sacct, sacct: {sacct}, interval_s: 2,
     settle_s: 1, complete_s: 15,
     mapping: {{meta: {{name: {{field: JobName, optional: true}},
                      comment: {{field: Comment, optional: true}}}}}}}}
  - {{name: tracked, plugin: slurm, record_prefix: tracked, sacct: {sacct}, interval_s: 1,
     settle_s: 1, complete_s: 15, track_running: true}}
  - {{name: jobcomp, plugin: slurm, record_prefix: jobcomp, sacct: {sacct}, interval_s: 1,
     mode: jobcomp, jobcomp_path: {folder}/jobcomp.log, time_zone: UTC}}
outbox: {{path: {outbox}, min_free_bytes: 0}}
sender: {{interval_s: 1}}
auditor: {{url: "{url}"}}
log: {{format: json}}
"""

Who = tuple[str, str]
"""User and account; no account is an empty text."""


@dataclass
class Sums:
    """What users and accounts have used."""

    runs: Counter[Who] = field(default_factory=Counter)
    elapsed_s: Counter[Who] = field(default_factory=Counter)
    core_s: Counter[Who] = field(default_factory=Counter)

    def add(self, who: Who, elapsed_s: int, core_s: int) -> None:
        """Counts one run."""
        self.runs[who] += 1
        self.elapsed_s[who] += elapsed_s
        self.core_s[who] += core_s


@dataclass
class Collecting:
    """A daemon that collects a cluster's jobs."""

    cluster: Cluster
    auditor: RunningAuditor
    folder: Path

    def __post_init__(self) -> None:
        self.config = self.folder / "config.yaml"
        self.config.write_text(
            CONFIG.format(
                folder=self.cluster.folder,
                sacct=self.cluster.sacct,
                outbox=self.folder / "outbox.db",
                url=self.auditor.url,
            )
        )
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "daemon.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "collector", "run", "--config", str(self.config)],
                env={**self.cluster.environment, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )

    def kill_and_restart(self) -> None:
        """What a power cut does to it."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()

    def stop(self) -> None:
        """Ends it in order."""
        assert self.process.poll() is None, "the daemon ended before it was asked to"
        self.process.terminate()
        assert self.process.wait(60) == 0, (self.folder / "daemon.log").read_text()

    def rejected(self) -> str:
        """What it could not account, as it lists it."""
        command = [sys.executable, "-m", "collector", "rejected", "list", "--config"]
        return subprocess.run(
            [*command, str(self.config)],
            env={**self.cluster.environment, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def records(self, prefix: str) -> dict[str, Record]:
        """What the Auditor holds of one source, by the id of the run."""
        with self.auditor.client() as client:
            return {
                record.record_id.removeprefix(f"{prefix}-"): record
                for record in client.stream_query()
                if record.record_id.startswith(f"{prefix}-")
            }


def sums_of(records: Iterable[Record]) -> Sums:
    """Adds records up; those without a stop time count nothing."""
    sums = Sums()
    for record in records:
        if record.runtime is not None:
            meta = record.meta or {}
            cores = next(one.amount for one in record.components if one.name == "Cores")
            who = (meta["user_id"][0], meta.get("account", [""])[0])
            sums.add(who, record.runtime, record.runtime * cores)
    return sums


def times(record: Record | None) -> str:
    """Start and stop of a record, for a message."""
    return "no record" if record is None else f"{record.start_time} to {record.stop_time}"


def sums_of_sacct(cluster: Cluster) -> tuple[Sums, Counter[Who]]:
    """Adds up what sacct says, by its own columns; and the core-seconds that it counts twice."""
    columns = "User,Account,ElapsedRaw,CPUTimeRAW,AllocCPUS,NodeList,Submit,Start,DBIndex"
    rows = cluster.run(
        *("sacct", "-a", "-D", "-X", "-n", "-P", "-S", "now-1day", "-E", "now", "-s", ENDED),
        *("-o", columns),
        SLURM_TIME_FORMAT="%s",
    )
    sums, twice = Sums(), Counter[Who]()
    for row in rows.splitlines():
        user, account, elapsed, core_s, cores, nodes, submit, start, _ = row.split("|")
        if nodes == "None assigned":
            continue
        overlap = max(0, int(submit) - int(start))
        sums.add((user, account), int(elapsed) - overlap, int(core_s) - overlap * int(cores))
        twice[user, account] += overlap * int(cores)
    return sums, twice


def core_seconds_of_sreport(cluster: Cluster) -> Counter[Who]:
    """Asks sreport, after moving all times in the database to the hour before the last.

    sreport knows full hours only, so a test would otherwise have to wait for one. The sums are
    slurmdbd's own roll-up all the same. Users without an account are not in it.
    """
    now = int(time.time())
    hour = now - now % HOUR_S
    statements = [
        f"UPDATE lab_{table} SET {column} = {column} - {2 * HOUR_S} WHERE {column} > 0"
        for table, columns in (
            ("job_table", ("time_submit", "time_eligible", "time_start", "time_end")),
            ("step_table", ("time_start", "time_end")),
            ("suspend_table", ("time_start", "time_end")),
            ("event_table", ("time_start", "time_end")),
        )
        for column in columns
    ]
    statements += [
        f"UPDATE lab_last_ran_table SET hourly_rollup = {hour - 4 * HOUR_S}",
        "DELETE FROM lab_assoc_usage_hour_table",
        "DELETE FROM lab_usage_hour_table",
    ]
    cluster.sql("USE slurm_acct_db; " + "; ".join(statements))
    cluster.stop("slurmdbd")
    cluster.start("slurmdbd")
    eventually(lambda: _rolled_up(cluster) >= hour, 60, "the roll-up")
    begin, end = (
        time.strftime("%Y-%m-%dT%H:%M", time.gmtime(hour + hours * HOUR_S)) for hours in (-4, 0)
    )
    rows = cluster.run(
        *("sreport", "-n", "-P", "-t", "seconds", "cluster", "AccountUtilizationByUser"),
        *(f"start={begin}", f"end={end}", "format=Login,Account,Used"),
    )
    used = Counter[Who]()
    for row in rows.splitlines():
        user, account, seconds = row.split("|")
        if user:
            used[user, account] += int(seconds)
    return used


def _rolled_up(cluster: Cluster) -> int:
    return int(cluster.sql("SELECT hourly_rollup FROM slurm_acct_db.lab_last_ran_table"))


def compare(collecting: Collecting) -> list[str]:
    """Compares the Auditor with sacct and sreport; gives the differences, and prints the table."""
    theirs, twice = sums_of_sacct(collecting.cluster)
    records, tracked = collecting.records("sacct"), collecting.records("tracked")
    ours = sums_of(records.values())
    reported = core_seconds_of_sreport(collecting.cluster)
    differences = [
        f"{run}: {times(tracked.get(run))} with track_running, {times(records.get(run))} without"
        for run in sorted(set(records) | set(tracked))
        if times(tracked.get(run)) != times(records.get(run))
    ]
    print(f"{'user':8} {'account':8} {'runs':>10} {'elapsed s':>14} {'core-s':>16} {'sreport':>8}")
    for who in sorted(set(theirs.runs) | set(ours.runs)):
        row = [(ours.runs[who], theirs.runs[who])]
        row += [
            (ours.elapsed_s[who], theirs.elapsed_s[who]),
            (ours.core_s[who], theirs.core_s[who]),
        ]
        if who[1]:
            row.append((ours.core_s[who], reported[who] - twice[who]))
        print(f"{who[0]:8} {who[1]:8}", *(f"{a:>6} = {b:<6}" for a, b in row))
        differences += [f"{who}: {a} in the Auditor, {b} by Slurm" for a, b in row if a != b]
    print(f"counted twice by Slurm, for resized jobs: {sum(twice.values())} core-s")
    return differences


def main() -> int:
    """Runs the comparison; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.verify")
    parser.add_argument("--release", metavar="SUITE", help="Debian's release to take Slurm from")
    suite = parser.parse_args().release
    try:
        with tempfile.TemporaryDirectory() as name, running_cluster(suite) as cluster:
            print(cluster.run("sacct", "--version"), flush=True)
            folder = Path(name)
            with running_auditor(folder / "auditor.db") as auditor:
                collecting = Collecting(cluster, auditor, folder)
                try:
                    Workload(cluster).run()
                    time.sleep(10)
                finally:
                    collecting.stop()
                differences = compare(collecting)
    except UnavailableError as error:
        print(f"no cluster: {error}", file=sys.stderr)
        return 2
    print("\n".join(differences) or "all equal")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
