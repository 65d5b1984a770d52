"""The sender beside a bare loop that posts the same prepared bodies, and one record a request.

    python tests/benchmarks/sender.py [--records 50000]

All three talk to an embedded Auditor, a process of its own, over loopback, in one run and in turns.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.config import SenderSection
from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
    Outcome,
)
from collector.sender import Sender
from tests.benchmarks.outbox import BATCH, LIMITS, entries
from tests.helpers.auditor_server import RunningAuditor, running_auditor

ROUNDS = 5


def by_sender(auditor: RunningAuditor, folder: Path, some: list[NewRecord]) -> float:
    """Seconds for what waits in an outbox, with everything that keeps it from being lost."""
    with (
        auditor.client() as client,
        Outbox.open(folder / "o.db", now=lambda: datetime.now(UTC), limits=LIMITS) as outbox,
    ):
        outbox.put(Intake("s", some))
        sender = Sender(
            outbox,
            client,
            SenderSection(),
            log=structlog.get_logger(),
            now=lambda: datetime.now(UTC),
            random=random.random,
            stop=threading.Event(),
        )
        started = time.perf_counter()
        sent = sender.run_pass().outcomes[Outcome.SENT]
        seconds = time.perf_counter() - started
    if sent != len(some):
        raise SystemExit(f"{sent} of {len(some)} were sent")
    return seconds


def by_bare_loop(auditor: RunningAuditor, some: list[NewRecord], size: int) -> float:
    """Seconds for posting prepared bodies of so many records, keeping nothing."""
    bodies = [
        b"[" + b",".join(entry.body for entry in some[at : at + size]) + b"]"
        for at in range(0, len(some), size)
    ]
    kind = {"content-type": "application/json"}
    with httpx.Client(base_url=auditor.url, headers=kind, timeout=60) as http:
        started = time.perf_counter()
        for body in bodies:
            http.post("/records", content=body).raise_for_status()
        return time.perf_counter() - started


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    number = parser.parse_args().records // ROUNDS
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    rates: dict[str, list[float]] = {"sender": [], "bare loop": [], "one a request": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with running_auditor(folder / "auditor.db") as auditor:
            first = 0
            for _ in range(ROUNDS):
                parts = []
                for size in (number, number, number // 20):
                    parts.append(entries(first, size))
                    first += size
                rates["sender"].append(number / by_sender(auditor, folder, parts[0]))
                rates["bare loop"].append(number / by_bare_loop(auditor, parts[1], BATCH))
                rates["one a request"].append(number // 20 / by_bare_loop(auditor, parts[2], 1))
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"{name:<16}{median:>10,.0f} records/s   {min(values):,.0f} to {max(values):,.0f}")
    ratio = statistics.median(rates["sender"]) / statistics.median(rates["bare loop"])
    print(f"{'sender/bare':<16}{ratio:>10.2f}")


if __name__ == "__main__":
    main()
