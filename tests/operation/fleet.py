"""A fleet: many collectors before one Auditor, each with an outbox and a history of its own.

Each is a process that runs `auditor-collector run`. They are forked from one process that has
imported the program, the nursery; so hundreds are up within seconds, where each by itself would
need half a second of a core to import the same.

    python -m tests.operation.fleet CONFIG...    # a nursery; ends when its standard input does
"""

import contextlib
import gc
import importlib
import itertools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from collector.auditor.client import AuditorClientBuilder
from collector.auditor.query import QueryBuilder
from collector.cli import main
from collector.config import load
from collector.source import find_plugin
from tests.benchmarks.htcondor import captured, renumbered
from tests.delivery.faulty_auditor import Request

ROOT = Path(__file__).parents[2]
END_LIMIT_S = 60.0
ADS = [
    ad
    for ad in captured()
    if b"\nJobStartDate = " in ad and not re.search(rb"\nJobUniverse = (?:7|12)\n", ad)
]
"""Of jobs that ran, and held a slot: the others become no record."""
RECORD_ID = re.compile(rb'"record_id":"((node-\d+)-[^"]*)"')


class Intervals(msgspec.Struct, frozen=True):
    """What the daemons are configured with; seconds."""

    poll_s: float
    pass_s: float
    backoff_s: float
    cap_s: float


class Node:
    """One collector's folder: its configuration, its outbox, and the history that it follows."""

    def __init__(self, folder: Path, number: int, url: str, intervals: Intervals) -> None:
        self.name = f"node-{number:03}"
        self.folder = folder / self.name
        self.folder.mkdir()
        self.written: list[str] = []
        """Ids of the records that its jobs have to become."""
        self._history = self.folder / "history"
        self._last = 0
        self._ads = itertools.cycle(ADS)
        self.config = self.folder / "config.yaml"
        self.config.write_text(
            f"sources: [{{name: ap, plugin: htcondor, record_prefix: {self.name},"
            f" interval_s: {intervals.poll_s}, history: {self._history}}}]\n"
            f"outbox: {{path: {self.folder / 'outbox.db'}, min_free_bytes: 0}}\n"
            f"sender: {{interval_s: {intervals.pass_s}, backoff_s: {intervals.backoff_s},"
            f" backoff_cap_s: {intervals.cap_s}}}\n"
            f"auditor: {{url: '{url}'}}\nlog: {{format: json}}\n"
        )

    def end_job(self) -> None:
        """A job ends: the schedd appends it to the history."""
        text = renumbered(next(self._ads), len(self.written) + 1, self._last)
        with self._history.open("ab") as file:
            self._last = file.tell() + text.rindex(b"*** ")
            file.write(text)
        found = re.search(rb'(?m)^GlobalJobId = "(.*)"', text)
        assert found is not None
        self.written.append(f"{self.name}-{found[1].decode()}")

    def started_at(self) -> float:
        """When its daemon was up, in seconds since 1970."""
        for line in (self.folder / "log").read_bytes().splitlines():
            event = json.loads(line)
            if event["event"] == "started":
                return datetime.fromisoformat(event["at"]).timestamp()
        raise AssertionError(f"{self.name} did not start")


@dataclass
class End:
    """How the daemons ended."""

    failed: int
    """Exit statuses other than 0."""
    cpu_s: float
    """Of all of them together."""


class Fleet:
    """Nodes, and the collectors that run on them as long as the context of `running` lasts."""

    def __init__(self, folder: Path, size: int, url: str, intervals: Intervals) -> None:
        self.nodes = [Node(folder, number, url, intervals) for number in range(size)]
        self.end: End | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Starts all of them together; ends all of them, whatever happens."""
        nursery = subprocess.Popen(
            [sys.executable, "-m", __name__, *(str(node.config) for node in self.nodes)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, who end it
        )
        try:
            assert nursery.stdout is not None
            assert nursery.stdout.readline() == "started\n"
            yield
            out, _ = nursery.communicate(timeout=2 * END_LIMIT_S)
            self.end = End(**json.loads(out))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(nursery.pid, signal.SIGKILL)
            with nursery:
                nursery.wait()

    def work(self, seconds: float, jobs_a_second: float) -> None:
        """Lets jobs end on the nodes, at random, for so long."""
        until = time.monotonic() + seconds
        while (at := time.monotonic()) < until:
            at += random.expovariate(jobs_a_second)
            time.sleep(max(0.0, min(at, until) - time.monotonic()))
            if at < until:
                random.choice(self.nodes).end_job()

    def written(self) -> list[str]:
        """The ids of all records that have to arrive."""
        return [record_id for node in self.nodes for record_id in node.written]


def first_of_each(requests: Sequence[Request], after: float) -> dict[str, float]:
    """When each node first sent records after an instant."""
    first: dict[str, float] = {}
    for request in requests:
        if request.at >= after and (found := RECORD_ID.search(request.body)):
            first.setdefault(found[2].decode(), request.at)
    return first


def busiest(instants: Sequence[float]) -> int:
    """How many of the instants lie within the second that has the most."""
    ordered, most, oldest = sorted(instants), 0, 0
    for newest, at in enumerate(ordered):
        while at - ordered[oldest] > 1:
            oldest += 1
        most = max(most, newest - oldest + 1)
    return most


def stored(url: str) -> list[str]:
    """The ids of the records that an Auditor holds."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        return [record.record_id for record in client.stream_query(QueryBuilder().build())]


def nursery(configs: Sequence[str]) -> None:
    """Forks a daemon for each configuration; ends them when standard input ends."""
    load(Path(configs[0]), find_plugin)  # imports the plugin, once for all
    importlib.import_module("collector.cli.run")
    gc.freeze()
    ready, go = os.pipe()
    children: list[int] = []
    try:
        for config in configs:
            child = os.fork()
            if child == 0:
                os.close(go)
                os.read(ready, 1)  # until it is closed: all start together
                _run(config)
            children.append(child)
        os.close(go)
        print("started", flush=True)
        sys.stdin.read()
    finally:
        failed = _end(children)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"failed": failed, "cpu_s": usage.ru_utime + usage.ru_stime}))


def _run(config: str) -> None:
    """`auditor-collector run`, in a child, which never returns."""
    status = 1
    try:
        with Path(config).with_name("log").open("ab") as log:
            os.dup2(log.fileno(), 2)
        main(["run", "--config", config])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        os._exit(status)


def _end(children: Sequence[int]) -> int:
    """Asks all to end, kills what does not; gives the number of those that failed."""
    for child in children:
        os.kill(child, signal.SIGTERM)
    failed, until = 0, time.monotonic() + END_LIMIT_S
    for child in children:
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        failed += ended[1] != 0
    return failed


if __name__ == "__main__":
    nursery(sys.argv[1:])
