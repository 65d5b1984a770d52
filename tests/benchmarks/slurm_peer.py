"""The same output of `sacct`, into the same Auditor, by the public collector and by this one.

    python tests/benchmarks/slurm_peer.py [--jobs 20000]

`auditor-slurm-collector` (`SQLX_OFFLINE=true cargo install auditor-slurm-collector`) and a Slurm
have to be installed (`tests/slurm/old_collector.py`). Both ask a stand-in that
makes up the rows which it is asked for, so what slurmdbd costs is in neither figure. Seconds are
those of a clock, from the start of the collector's process until the Auditor has all records; CPU
seconds are the collector's with those of the stand-in.
"""

import argparse
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.auditor_server import RunningAuditor, running_auditor
from tests.slurm import old_collector
from tests.slurm.standin import program, row

PEER = old_collector.NAME
AGO_S = 7200
LIMIT_S = 900
STANDIN = """#!{python} -IS
import os, sys
names = next((a.partition("=")[2] for a in sys.argv if a.startswith("--format=")), "")
if "--format" in sys.argv:
    names = sys.argv[sys.argv.index("--format") + 1]
delimiter = next((a.partition("=")[2] for a in sys.argv if a.startswith("--delimiter=")), None)
first = {begin}
columns = {columns!r}
if "--helpformat" in sys.argv:
    print(*columns)
    sys.exit()
if "--version" in sys.argv:
    print("slurm 22.05.8")
    sys.exit()
from time import strftime, gmtime, strptime
from calendar import timegm
options = dict(a.partition("=")[::2] for a in sys.argv)
short = dict(zip(sys.argv, sys.argv[1:]))
def second(text, otherwise):
    return timegm(strptime(text, "%Y-%m-%dT%H:%M:%S")) if text else otherwise
begin = second(options.get("--starttime") or short.get("-S"), 0)
end = second(options.get("--endtime") or short.get("-E"), 1 << 40)
ids = options.get("--jobs")
if ids:
    wanted = [int(one) for one in ids.split(",")]
else:
    wanted = range(max(1, (begin - first) * 10), min({jobs}, (end - first) * 10 + 9) + 1)
out = []
for number in wanted:
    ended = first + number // 10
    shown = dict(columns, DBIndex=str(number), JobID=str(number), JobIDRaw=str(number))
    for name, at in (("Submit", ended - 70), ("Start", ended - 60), ("End", ended)):
        shown[name] = str(at)
        if os.environ.get("SLURM_TIME_FORMAT") != "%s":
            shown[name] = strftime("%Y-%m-%dT%H:%M:%S", gmtime(at))
    fields = [shown.get(name, "") for name in names.split(",")]
    out.append("".join(f + delimiter for f in fields) if delimiter else "|".join(fields))
if out:
    print("\\n".join(out))
"""
THEIRS = """
addr: 127.0.0.1
port: {port}
record_prefix: slurm
earliest_datetime: "{since}"
sacct_frequency: 1
sender_frequency: 1
database_path: sqlite://{folder}/peer.db
job_filter: {{status: [completed]}}
sites: [{{name: lab}}]
meta: [{{name: account, key: Account, key_type: String}}]
components:
  - {{name: Cores, key: AllocCPUS, key_type: Integer}}
  - {{name: NNodes, key: NNodes, key_type: Integer}}
tls_config: {{use_tls: false}}
log_level: error
"""
OURS = """
sources:
  - {{name: slurm, plugin: slurm, record_prefix: slurm, interval_s: 1, settle_s: 1, pause_s: 0,
     since: "{since}", sacct: {sacct}, states: [CD],
     mapping: {{components: {{Memory: null, TotalCPU: null, MaxRSS: null}},
               meta: {{partition: null, state: null}}}}}}
outbox: {{path: {folder}/outbox.db, min_free_bytes: 0}}
sender: {{interval_s: 1}}
auditor: {{url: "http://127.0.0.1:{port}"}}
"""


def stand_in(folder: Path, jobs: int, begin: int) -> str:
    """Writes a `sacct` that has so many jobs, ten of which end each second."""
    columns = row("1", User="alice", Group="users", Account="atlas", NNodes="1")
    text = STANDIN.format(python=sys.executable, begin=begin, jobs=jobs, columns=columns)
    (folder / "rows.py").write_text(text)
    return program(folder, f'exec {sys.executable} -IS {folder}/rows.py "$@"')


def seconds_of(command: Sequence[str], auditor: RunningAuditor, jobs: int) -> tuple[float, float]:
    """Runs a collector until the Auditor has all jobs.

    Returns:
        Seconds of the clock, and of the collector's and its children's CPU.
    """
    before, cpu_before = time.monotonic(), os.times()
    with subprocess.Popen(command, env={**os.environ, "TZ": "UTC"}) as process:
        try:
            while count(auditor) < jobs:
                if process.poll() is not None or time.monotonic() - before > LIMIT_S:
                    raise RuntimeError(f"{command[-1]}: {count(auditor)} of {jobs} records")
                time.sleep(0.2)
            took_s = time.monotonic() - before
        finally:
            process.terminate()
    cpu = os.times()
    used_s = cpu.children_user + cpu.children_system
    return took_s, used_s - cpu_before.children_user - cpu_before.children_system


def count(auditor: RunningAuditor) -> int:
    """How many records the Auditor holds."""
    uri = f"file:{auditor.db}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        found: int = connection.execute("SELECT COUNT(*) FROM record").fetchone()[0]
    return found


def main() -> None:
    """Measures both, and prints the ratio; says why where it cannot run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    jobs = parser.parse_args().jobs
    if reason := old_collector.unavailable():
        print(f"skipped: {reason}")
        return
    begin = int(time.time()) - AGO_S
    since = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(begin - 60))
    took = {}
    for name in (PEER, "auditor-collector"):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            sacct = stand_in(folder, jobs, begin)
            with running_auditor(folder / "auditor.db") as auditor:
                template = THEIRS if name == PEER else OURS
                config = folder / "config.yaml"
                config.write_text(
                    template.format(port=auditor.port, folder=folder, since=since, sacct=sacct)
                )
                ours = [sys.executable, "-m", "collector", "run", "--config", str(config)]
                command = old_collector.command(config, sacct) if name == PEER else ours
                took[name] = seconds_of(command, auditor, jobs)
        clock_s, cpu_s = took[name]
        print(
            f"{name:24} {jobs:7} jobs {clock_s:8.1f} s {jobs / clock_s:8.0f} /s {cpu_s:8.1f} CPU s"
        )
    print(f"ratio of the clock's seconds: {took[PEER][0] / took['auditor-collector'][0]:.1f}")


if __name__ == "__main__":
    main()
