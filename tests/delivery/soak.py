"""`make soak`: a daemon, an Auditor, and everything that can go wrong, at random, for a while.

Jobs are written while the daemon is killed with SIGKILL, the Auditor is killed, slowed, made to
refuse and to lose answers. In the end `reconcile` has to say that all is equal. The seed is
printed; the same seed makes the same choices (not the same timing).
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.clock import utc_now
from collector.outbox import Outbox
from tests.delivery.faulty_auditor import Answer, Cut, Fault, FaultyAuditor, Request, Slow
from tests.helpers.auditor_server import start_auditor
from tests.helpers.example_plugin import FIRST_START
from tests.helpers.site import Site

LIMIT_S = 600
FAULTS: dict[str, Fault] = {
    "cut before": Cut("before"),
    "cut after": Cut("after"),
    "cut within": Cut("within"),
    "slow": Slow(0.5),
    "503": Answer(503),
    "403": Answer(403),
    "413": Answer(413),
}


class Script:
    """Which faults requests meet: one kind at a time, for some of the requests."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.now: str | None = None
        self.met: Counter[str] = Counter()

    def __call__(self, request: Request) -> Fault:
        if self.now is None or self.dice.random() < 0.3:
            return None
        if self.now == "413" and (request.method != "POST" or len(request.body) < 5_000):
            return None
        self.met[self.now] += 1
        return FAULTS[self.now]


def soak(folder: Path, jobs: int, seed: int) -> int:
    """Runs it; returns the exit status."""
    dice = random.Random(seed)
    db = folder / "auditor.db"
    auditor = start_auditor(db, stderr=folder / "auditor.log")
    listen = f"127.0.0.1:{auditor.port}"
    faulty = FaultyAuditor(auditor.url)
    script = faulty.script = Script(dice)
    site = Site(folder, faulty.url)
    site.log(0)
    daemon = site.start("run")
    kills: Counter[str] = Counter()
    written, started = 1, time.monotonic()
    try:
        while written < jobs or _waiting(site) != 0:
            assert time.monotonic() - started < LIMIT_S, "stuck: it did not drain in time"
            more = min(jobs - written, dice.randrange(jobs // 60, jobs // 30))
            site.log(*range(written, written + more))
            written += more
            script.now = dice.choice([*FAULTS, None, None]) if written < jobs else None
            time.sleep(dice.uniform(0.5, 2.5))
            if written < jobs and dice.random() < 0.6:
                kills["daemon"] += 1
                daemon.kill()
                daemon.communicate()
                daemon = site.start("run")
            if written < jobs and dice.random() < 0.3:
                kills["auditor"] += 1
                auditor.kill()
                time.sleep(dice.uniform(0, 1))
                auditor = start_auditor(db, listen=listen, stderr=folder / "auditor.log")
            print(
                f"{time.monotonic() - started:7.1f} s  {written} jobs written  {script.now or ''}"
            )
    finally:
        daemon.terminate()
        daemon.communicate(timeout=60)
        faulty.script = lambda _request: None
    last = FIRST_START.replace(day=FIRST_START.day + jobs // 86_400 + 1)
    result = site.run("reconcile", "--since", "2026-01-01", "--until", last.isoformat())
    auditor.stop()
    faulty.close()
    print(result.stdout)
    print(f"kills {dict(kills)}, faults met {dict(script.met)}, requests {len(faulty.requests)}")
    seconds = time.monotonic() - started
    equal = re.search(r"(\d+)  equal", result.stdout)
    ok = result.returncode == 0 and equal is not None and int(equal[1]) == jobs
    print(f"seed {seed}: {jobs} jobs in {seconds:.0f} s: {'all equal' if ok else 'NOT EQUAL'}")
    return 0 if ok else 1


def _waiting(site: Site) -> int:
    """How many wait; the source's checkpoint says whether all was read."""
    with Outbox.open(site.folder / "outbox.db", now=utc_now, create=False) as outbox:
        behind = (site.folder / "jobs.jsonl").stat().st_size - (outbox.checkpoint("jobs") or 0)
        return behind + outbox.status().waiting


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(soak(Path(temporary), arguments.jobs, arguments.seed))
