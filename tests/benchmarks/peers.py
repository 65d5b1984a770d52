"""The same HTCondor history, into the same Auditor, by the public collector and by this one.

    python tests/benchmarks/peers.py [--ads 20000]

`auditor-htcondor-collector` has to be on the PATH (`pip install auditor-htcondor-collector` in an
environment of its own). Its `condor_history` is a stand-in that prints the jobs of the same file,
in the order and the format that it asks for, so the time that the real one takes is in neither
figure. Their mappings are alike, not equal: ours is the default one, theirs has two components.
Seconds are those of a clock, from the start of the process to the last answer of an embedded
Auditor, which runs on the same machine.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.config import SenderSection
from collector.outbox import (
    Outbox,
    Outcome,
)
from collector.pipeline.collect import Collected, store
from collector.sender import Sender
from tests.benchmarks.htcondor import RECORD, source, write
from tests.benchmarks.outbox import LIMITS
from tests.helpers.auditor_server import RunningAuditor, running_auditor

PEER = "auditor-htcondor-collector"
STANDIN = """#!{python}
import json, sys
arguments = iter(sys.argv)
any(argument == "-af:," for argument in arguments)
names = []
for argument in arguments:
    if argument.startswith("-"):
        break
    names.append(argument)
with open({jobs!r}) as jobs:
    for line in jobs:
        job = json.loads(line)
        print(", ".join(job.get(name, "undefined") for name in names))
"""
CONFIG = """
addr: 127.0.0.1
port: {port}
timeout: 60
state_db: {folder}/state.db
earliest_datetime: "2020-01-01"
record_prefix: peer
interval: 900
pool: pool
schedd_names: [schedd]
job_status: [3, 4]
query_type: exec
tls_config: {{use_tls: false}}
meta:
  user: {{key: Owner}}
  site: [{{name: site, key: MachineAttrGLIDEIN_Site0}}]
components:
- {{name: Cores, key: CpusProvisioned}}
- {{name: Memory, key: RequestMemory}}
"""


def main() -> None:
    """Makes the file, lets both collect it, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ads", type=int, default=20_000)
    ads = parser.parse_args().ads
    if shutil.which(PEER) is None:
        print(f"skipped: {PEER} is not on the PATH; install it in an environment of its own")
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "history", ads)
        write_standin(folder)
        print(
            f"{ads} ads{'records':>22}{'seconds':>9}{'records/s':>11}{'CPU s':>8}{'MiB':>6}",
            flush=True,
        )
        with running_auditor(folder / "auditor.db") as auditor:
            theirs = printed(PEER, lambda: by_peer(auditor, folder))
            ours = printed("auditor-collector", lambda: by_us(auditor, folder))
    print(f"ratio {ours / theirs:.0f}")


def printed(name: str, collect: Callable[[], int]) -> float:
    """Lets one collect, in a process of its own; prints its line, returns its records a second."""
    receive, send = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        done = collect()
        peak = max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        os.write(send, json.dumps([done, peak]).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        done, peak = json.loads(answer.read())
    _, _, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"{name:27}{done:8}{seconds:9.2f}{done / seconds:11.0f}{cpu:8.2f}{peak / 1024:6.0f}",
        flush=True,
    )
    return float(done / seconds)


def write_standin(folder: Path) -> None:
    """Writes what `condor_history` is to print, newest first, and the program that prints it."""
    jobs = folder / "jobs"
    with jobs.open("w") as file:
        for ad in reversed(RECORD.findall((folder / "history").read_bytes())):
            pairs = re.findall(r"(?m)^(\w+) = (.*)$", ad.decode(errors="replace"))
            file.write(json.dumps({name: value.strip('"') for name, value in pairs}) + "\n")
    (folder / "bin").mkdir()
    program = folder / "bin" / "condor_history"
    program.write_text(STANDIN.format(python=sys.executable, jobs=str(jobs)))
    program.chmod(0o755)


def by_peer(auditor: RunningAuditor, folder: Path) -> int:
    """Collects once with the public collector; gives the number of records that it added."""
    config = folder / "peer.yml"
    config.write_text(CONFIG.format(port=auditor.port, folder=folder))
    done = subprocess.run(
        [PEER, "-c", str(config), "-1"],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
    )
    added = re.search(r"Added (\d+) records", done.stdout)
    if added is None:
        raise SystemExit(f"{PEER} did not end well: {done.stdout[-2000:]}")
    return int(added[1])


def by_us(auditor: RunningAuditor, folder: Path) -> int:
    """Reads the file into an outbox and sends it; gives the number of records that were sent."""
    mapped = source(folder / "history")
    with (
        auditor.client() as client,
        Outbox.open(folder / "o.db", now=lambda: datetime.now(UTC), limits=LIMITS) as outbox,
    ):
        total = Collected()
        for batch in mapped.source.poll(None):
            store(batch, mapped, outbox, total, origin="poll")
        sender = Sender(
            outbox,
            client,
            SenderSection(),
            log=structlog.get_logger(),
            now=lambda: datetime.now(UTC),
            random=random.random,
            stop=threading.Event(),
        )
        sent = sender.run_pass().outcomes[Outcome.SENT]
    if sent != total.outcomes[Outcome.QUEUED]:
        raise SystemExit(f"{sent} of {total.outcomes[Outcome.QUEUED]} records were sent")
    return sent


if __name__ == "__main__":
    main()
