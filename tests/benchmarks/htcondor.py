"""How fast HTCondor's history becomes records in the outbox, and how much memory that takes.

    python tests/benchmarks/htcondor.py [--ads 200000]

The file is made of captured ads of full size (3.7 kB on average), each with an id of its own and a
banner as a schedd writes it. Each figure is that of a process of its own, on one core; memory is
its high-water mark, after a tenth of the ads and after all of them.
"""

import argparse
import itertools
import os
import re
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from collector.config import OutboxSection, mapping_of, parse
from collector.logs import Log
from collector.outbox import Outbox
from collector.pipeline.collect import Collected, store
from collector.pipeline.sources import MappedSource
from collector.source import Context, find_plugin

CASES = Path(__file__).parents[1] / "testcases" / "htcondor"
FULL_SIZE = ("endings", "texts", "crashes")
RECORD = re.compile(rb"(?ms)(.*?^)\*\*\* [^\n]*\n")


def main() -> None:
    """Makes the file, runs every step, prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--ads", type=int, default=200_000)
    ads = arguments.parse_args().ads
    with tempfile.TemporaryDirectory() as folder:
        history, tenth = Path(folder) / "history", Path(folder) / "tenth"
        size_bytes = write(history, ads)
        write(tenth, ads // 10)
        print(f"{ads} ads, {size_bytes} bytes ({size_bytes / ads:.0f} a piece)")
        print(f"{'':38}{'seconds':>9}{'ads/s':>10}{'MB/s':>8}{'MiB at a tenth':>16}{'at all':>8}")
        for name, step in STEPS.items():
            *_, before = measured(step, tenth, ads // 10)
            seconds, share, resident = measured(step, history, ads)
            rate = ads * share / seconds
            print(f"{name:38}{seconds:9.2f}{rate:10.0f}{rate * size_bytes / ads / 1e6:8.0f}"
                  f"{before:16.1f}{resident:8.1f}")  # fmt: skip


def write(path: Path, ads: int) -> int:
    """Writes a history of captured ads, with new ids; gives its size."""
    last = position = 0
    with path.open("wb") as file:
        for number, ad in zip(range(1, ads + 1), itertools.cycle(captured()), strict=False):
            text = renumbered(ad, number, last)
            last = position + text.rindex(b"*** ")
            position += file.write(text)
    return position


def captured() -> list[bytes]:
    """Captured ads of full size, without their banners."""
    return [
        re.sub(rb"(?m)^ProcId = \d+$", b"ProcId = 0", ad)
        for case in FULL_SIZE
        for ad in RECORD.findall((CASES / case / "input" / "history").read_bytes())
        if ad.count(b"\nGlobalJobId = ") == 1 and len(ad) < 8000
    ]


def renumbered(ad: bytes, number: int, last: int) -> bytes:
    """An ad with another cluster number, and the banner that names the offset of the one before."""
    lines = re.sub(rb"(?m)^ClusterId = \d+$", b"ClusterId = %d" % number, ad)
    lines = re.sub(rb'(?m)^(GlobalJobId = "[^#]*)#[^#]*', rb"\1#%d.0" % number, lines)
    banner = b'*** Offset = %d ClusterId = %d ProcId = 0 Owner = "labalice"' % (last, number)
    return lines + banner + b" CompletionDate = 1795459565 CurrentTime = 1795459565\n"


def measured(
    step: Callable[[Path, int], int | None], history: Path, ads: int
) -> tuple[float, float, float]:
    """Runs a step in a process of its own: its CPU seconds, the share of ads, its peak memory."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        os.write(send, str(step(history, ads) or ads).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        done = int(answer.read())
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime, done / ads, usage.ru_maxrss / 1024


def cat(history: Path, ads: int) -> None:
    """The plain read."""
    with history.open("rb", buffering=0) as file:
        while file.read(2**20):
            pass


def with_classad2(history: Path, ads: int) -> int:
    """HTCondor's own parser on each ad, on the first 5,000."""
    import classad2

    done = 0
    with history.open("rb") as file:
        text = file.read(5000 * 4096)
    for ad in itertools.islice(RECORD.finditer(text), 5000):
        classad2.parseOne(ad[1].decode(errors="replace"), classad2.ParserType.Old)
        done += 1
    return done


def source(history: Path) -> MappedSource:
    """The source with the default mapping, as the daemon makes it."""
    text = f"sources: [{{name: x, plugin: htcondor, record_prefix: x, history: '{history}'}}]"
    section = parse(text, find_plugin).sources[0]
    plugin = find_plugin("htcondor")
    mapping = mapping_of(section, plugin)
    log: Log = structlog.get_logger()
    fields = frozenset(mapping.fields)
    context = Context("x", log, lambda: datetime.now(UTC), threading.Event(), fields)
    return MappedSource(plugin(section, context), mapping)


def read_jobs(history: Path, ads: int) -> int:
    """Ads to jobs."""
    return sum(batch.read for batch in source(history).source.poll(None))


def map_records(history: Path, ads: int) -> int:
    """Ads to encoded records."""
    mapped, done = source(history), 0
    for batch in mapped.source.poll(None):
        for job in batch.jobs:
            mapped.mapping.record(job).encode()
        done += batch.read
    return done


def fill_outbox(history: Path, ads: int) -> int:
    """Ads to complete records in the outbox, with their checkpoint."""
    mapped, total = source(history), Collected()
    limits = OutboxSection(min_free_bytes=0)
    path = history.with_name(f"{history.name}.db")
    with Outbox.open(path, now=lambda: datetime.now(UTC), limits=limits) as outbox:
        for batch in mapped.source.poll(None):
            store(batch, mapped, outbox, total, origin="poll")
    assert not total.rejected
    return total.read


STEPS: dict[str, Callable[[Path, int], int | None]] = {
    "cat": cat,
    "classad2, all attributes (5,000 ads)": with_classad2,
    "jobs": read_jobs,
    "records": map_records,
    "complete records in the outbox": fill_outbox,
}

if __name__ == "__main__":
    main()
