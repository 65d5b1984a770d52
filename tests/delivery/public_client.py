"""The same faults against the public programs: what does each of them lose?

    python tests/delivery/public_client.py

Three of them play the scenarios of `matrix.py` that only insert: a program that calls `bulk_insert`
of `pyauditor`, takes a return for success and tries again after an exception; the
`QueuedAuditorClient` of `pyauditor`, which keeps records in a file and sends them by itself; and
`auditor-htcondor-collector`, before a stand-in for `condor_history`, started again whenever it ends
(left out where it is not on the PATH).
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyauditor
import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.embedded.server import running
from collector.record import Record
from tests.delivery.matrix import SCENARIOS
from tests.delivery.world import World, new_world

TRIES = 30
QUEUE_LIMIT_S = 60
RUNS_OF_COLLECTOR = 12
AT_ONCE = 8
WITH_STOPS = {
    "update_unknown",
    "bad_update",
    "lone_bad_update",
    "refuses_all_updates",
    "cut_updates",
    "stop_in_flight",
}
OURS = {"dies_before_settling"}
COLLECTOR = "auditor-htcondor-collector"
HISTORY = """\
#!{python} -IS
import sys
since = sys.argv[sys.argv.index("-since") + 1]
names = sys.argv[sys.argv.index("-af:,") + 1:sys.argv.index("-pool")]
last = int(since.partition(".")[0]) if since[0].isdigit() else -1
for line in reversed(open("{jobs}").readlines()):
    number, start, stop = map(int, line.split())
    if number <= last:
        break
    job = dict(GlobalJobId=number, ClusterId=number, ProcId=0, LastMatchTime=start,
               CompletionDate=stop, CpusProvisioned=8, MemoryProvisioned=16000, Owner="alice")
    print(", ".join(str(job.get(name, "undefined")) for name in names))
"""
COUNT = """\
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM inserts").fetchone()[0])
"""
CONFIG = """\
addr: 127.0.0.1
port: {port}
timeout: 1
state_db: {state}
record_prefix: {prefix}
interval: 900
pool: pool
schedd_names: [schedd]
job_status: [4]
query_type: exec
meta: {{user: {{key: Owner}}, site: [{{name: here}}]}}
components:
  - {{name: Cores, key: CpusProvisioned, scores: []}}
  - {{name: Memory, key: MemoryProvisioned, scores: []}}
tls_config: {{use_tls: false}}
"""


class Public(World):
    """A world whose records go the way of a public program."""

    def restart_sender(self) -> None:
        self.given: dict[str, Record] = {}
        self.sender: Any = SimpleNamespace(run_pass=self.try_once)
        self.set_up()

    def put(self, numbers: Sequence[int], **fields: Any) -> Any:
        ours = [self.record(number, **fields) for number in numbers]
        self.given |= {record.record_id: record for record in ours}
        self.give(ours)

    def drain(self, passes: int = TRIES) -> Any:
        for _ in range(passes):
            self.try_once()
            if not self.kept():
                break

    def set_up(self) -> None:
        """Makes ready."""

    def give(self, records: list[Record]) -> None:
        """Hands records over."""
        raise NotImplementedError

    def try_once(self) -> None:
        """Lets it send."""
        raise NotImplementedError

    def kept(self) -> int:
        """How many records it still means to send."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """Of the Auditor."""
        return int(self.auditor.url.rpartition(":")[2])

    def builder(self) -> Any:
        """Of a client with a time-out of a second, as ours has in these scenarios."""
        return pyauditor.AuditorClientBuilder().address("127.0.0.1", self.port).timeout(1)


def theirs(record: Record) -> pyauditor.Record:
    """The record as the public client has it."""
    made = pyauditor.Record(record.record_id, record.start_time)
    for component in record.components:
        made.with_component(pyauditor.Component(component.name, component.amount))
    return made.with_stop_time(record.stop_time)


class ByBulkInsert(Public):
    """Takes what was sent off its list when `bulk_insert` returns."""

    def set_up(self) -> None:
        self.waiting: list[pyauditor.Record] = []

    def give(self, records: list[Record]) -> None:
        self.waiting += map(theirs, records)

    def kept(self) -> int:
        return len(self.waiting)

    def try_once(self) -> None:
        with contextlib.suppress(Exception):
            asyncio.run(self._send())

    async def _send(self) -> None:
        client = self.builder().build()
        while self.waiting:
            await client.bulk_insert(self.waiting[:100])
            del self.waiting[:100]


class ByQueue(Public):
    """Gives all to the queued client, and lets it be until its file is empty, or a minute."""

    def set_up(self) -> None:
        self.waiting: list[pyauditor.Record] = []

    def give(self, records: list[Record]) -> None:
        self.waiting += map(theirs, records)

    def kept(self) -> int:
        # In a process of its own: a second SQLite in one process takes the locks of the first.
        file = self.folder / f"{self.prefix}.db"
        count = [sys.executable, "-ISc", COUNT, str(file)]
        return int(subprocess.run(count, check=True, capture_output=True).stdout)

    def drain(self, passes: int = TRIES) -> Any:
        asyncio.run(self._queue(QUEUE_LIMIT_S * min(passes, TRIES) / TRIES))

    def try_once(self) -> None:
        asyncio.run(self._queue(QUEUE_LIMIT_S / TRIES))

    async def _queue(self, limit_s: float) -> None:
        file = str(self.folder / f"{self.prefix}.db")
        client = await self.builder().database_path(file).send_interval(1).build_queued()
        while self.waiting:
            await client.add(self.waiting.pop(0))
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and self.kept():  # noqa: ASYNC110 - only its file tells
            await asyncio.sleep(1)
        await client.stop()


class ByCollector(Public):
    """Runs the HTCondor collector until it has got through the history, or twelve times."""

    def set_up(self) -> None:
        self.home = self.folder / self.prefix
        self.home.mkdir()
        history, self.jobs = self.home / "condor_history", self.home / "jobs"
        history.write_text(HISTORY.format(python=sys.executable, jobs=self.jobs))
        history.chmod(0o755)
        state = self.home / "state.db"
        config = CONFIG.format(port=self.port, state=state, prefix=self.prefix)
        (self.home / "config.yml").write_text(config)
        self.numbers: list[int] = []

    def give(self, records: list[Record]) -> None:
        with self.jobs.open("a") as jobs:
            for record in records:
                assert record.stop_time is not None
                self.numbers.append(int(record.record_id.rpartition("-")[2]))
                start, stop = record.start_time.timestamp(), record.stop_time.timestamp()
                jobs.write(f"{self.numbers[-1]} {start:.0f} {stop:.0f}\n")

    def kept(self) -> int:
        """Those behind the last job that it has noted: it asks the history for them again."""
        with contextlib.closing(sqlite3.connect(self.home / "state.db")) as sql:
            last = -1
            with contextlib.suppress(sqlite3.OperationalError):  # before its first run
                last = sql.execute("SELECT coalesce(max(cluster), -1) FROM last_jobs").fetchone()[0]
        return sum(number > last for number in self.numbers)

    def drain(self, passes: int = TRIES) -> Any:
        super().drain(min(passes, RUNS_OF_COLLECTOR))

    def try_once(self) -> None:
        subprocess.run(
            [COLLECTOR, "-c", str(self.home / "config.yml"), "-1"],
            env={**os.environ, "PATH": f"{self.home}:{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )


def run_of(record: Record) -> object:
    """What makes a stored record the run that was given."""
    amounts = {component.name: component.amount for component in record.components}
    return record.start_time, record.stop_time, amounts


def lost(kind: type[Public], name: str, folder: Path, behind: str) -> str:
    """Plays a scenario and counts the runs that the Auditor does not hold afterwards."""
    with new_world(folder, behind, timeout_s=1, kind=kind) as world:
        assert isinstance(world, Public)
        guilty = 0
        # What scenarios say of our outbox is not said of these.
        with contextlib.suppress(AssertionError, ValueError):
            guilty = SCENARIOS[name].play(world).rejected
        held = world.held()
        missing = sum(
            record_id not in held or run_of(held[record_id]) != run_of(record)
            for record_id, record in world.given.items()
        )
        stuck = min(missing, world.kept())
        text = f"lost {max(0, missing - stuck - guilty)}"
        return text + (f", stuck {stuck}" if stuck else "")


def main() -> None:
    """Prints the table, as it stands in docs/delivery.md."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    kinds: dict[str, type[Public]] = {
        "`bulk_insert`": ByBulkInsert,
        "`QueuedAuditorClient`": ByQueue,
    }
    if shutil.which(COLLECTOR):
        kinds[f"`{COLLECTOR}`"] = ByCollector
    print("| Fault | " + " | ".join(kinds) + " |\n|" + "---|" * (1 + len(kinds)))
    names = [name for name in SCENARIOS if name not in WITH_STOPS | OURS]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "auditor.db") as behind,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        rows = [
            [pool.submit(lost, kind, name, Path(folder), behind) for kind in kinds.values()]
            for name in names
        ]
        for name, row in zip(names, rows, strict=True):
            cells = " | ".join(cell.result() for cell in row)
            print(f"| {SCENARIOS[name].fault} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
