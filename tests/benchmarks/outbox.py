"""How long a put, a take and a settling take, and how much memory, at few and at many waiting.

    python tests/benchmarks/outbox.py [--millions 5]

The file is on the disk that holds the temporary folder; each put and settling ends with an fsync.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.config import OutboxSection
from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
    Outcome,
    Verdict,
)
from collector.record import Component, Meta, Record, Score

START = datetime(2020, 1, 1, tzinfo=UTC)
BATCH, ROUNDS = 1000, 20
LIMITS = OutboxSection(min_free_bytes=0, max_records=10**9, max_bytes=10**15)


def entries(first: int, number: int = BATCH) -> list[NewRecord]:
    """Records as HTCondor's, 330 bytes each."""
    made = []
    for at in range(first, first + number):
        start = START + timedelta(seconds=at)
        record = Record(
            f"cluster-schedd.example.org#{at // 10}.{at % 10}#{1577836800 + at}",
            start,
            start + timedelta(hours=1),
            Meta().insert("site", ["here"]).insert("user", ["alice"]).insert("group", ["atlas"]),
            [Component("Cores", 8, [Score("HEPscore23", 11.5)]), Component("Memory", 16_000)],
        )
        made.append(NewRecord.of(record))
    return made


def timed(do: Callable[[], object]) -> float:
    """Microseconds for each record of a batch."""
    started = time.perf_counter()
    do()
    return (time.perf_counter() - started) * 1e6 / BATCH


def resident_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def measure(outbox: Outbox, waiting: int, next_number: int) -> int:
    """Prints a line of the table; leaves as many waiting as there were."""
    times: dict[str, list[float]] = {"put": [], "known": [], "take": [], "settle": []}
    now = datetime.now(UTC)
    for _ in range(ROUNDS):
        batch = entries(next_number)
        next_number += BATCH
        times["put"].append(timed(partial(outbox.put, Intake("s", batch, checkpoint=1))))
        times["known"].append(timed(partial(outbox.put, Intake("s", batch, checkpoint=1))))
        taken = outbox.take(BATCH, 10**9, now)
        times["take"].append(timed(partial(outbox.take, BATCH, 10**9, now)))
        verdicts = [Verdict(entry, Outcome.SENT) for entry in taken]
        times["settle"].append(timed(partial(outbox.settle, verdicts)))
    medians = "".join(f"{statistics.median(values):>10.1f}" for values in times.values())
    size = outbox.path.stat().st_size / 2**20
    print(f"{waiting:>12,}{medians}{resident_mib():>10.1f}{size:>10.0f}", flush=True)
    return next_number


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=1)
    most = int(parser.parse_args().millions * 10**6)
    print(f"us a record, median of {ROUNDS} batches of {BATCH}")
    columns = ("put", "put known", "take", "settle", "MiB rss", "MiB file")
    print(f"{'waiting':>12}" + "".join(f"{column:>10}" for column in columns))
    with (
        tempfile.TemporaryDirectory() as folder,
        Outbox.open(Path(folder) / "o.db", now=lambda: datetime.now(UTC), limits=LIMITS) as outbox,
    ):
        number = waiting = 0
        for goal in (10_000, 100_000, 10**6, 5 * 10**6, most):
            if waiting < goal <= most:
                while waiting < goal:
                    outbox.put(Intake("s", entries(number, 10_000)))
                    number += 10_000
                    waiting += 10_000
                number = measure(outbox, waiting, number)


if __name__ == "__main__":
    main()
