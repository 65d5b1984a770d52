"""The same faults against the public client, `pyauditor`: what does it lose?

    python tests/delivery/public_client.py

Two users of it, as its documentation has them, play the scenarios of `matrix.py` that only insert:
one calls `bulk_insert`, takes a return for success and tries again after an exception; the other
gives its records to the `QueuedAuditorClient`, which keeps them in a file and sends them by itself.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyauditor
import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.auditor.server import running
from tests.delivery.matrix import SCENARIOS
from tests.delivery.world import World, new_world

TRIES = 30
WITH_STOPS = {"update_unknown", "bad_update", "cut_updates", "stop_in_flight"}
OURS = {"dies_before_settling"}


class Public(World):
    """A world whose records go the way of the public client."""

    def restart_sender(self) -> None:
        self.waiting: list[pyauditor.Record] = []
        self.sender: Any = SimpleNamespace(run_pass=self.try_once)

    def put(self, numbers: Sequence[int], **fields: Any) -> Any:
        for number in numbers:
            ours = self.record(number, **fields)
            theirs = pyauditor.Record(ours.record_id, ours.start_time)
            for component in ours.components:
                theirs.with_component(pyauditor.Component(component.name, component.amount))
            self.waiting.append(theirs.with_stop_time(ours.stop_time))

    def drain(self, passes: int = TRIES) -> Any:
        for _ in range(passes):
            self.try_once()
            if not self.waiting:
                break

    def try_once(self) -> None:
        raise NotImplementedError

    def builder(self) -> Any:
        host, _, port = self.auditor.url.removeprefix("http://").partition(":")
        return pyauditor.AuditorClientBuilder().address(host, int(port)).timeout(1)


class ByBulkInsert(Public):
    """Takes what was sent off its list when `bulk_insert` returns."""

    def try_once(self) -> None:
        with contextlib.suppress(Exception):
            asyncio.run(self._send())

    async def _send(self) -> None:
        client = self.builder().build()
        while self.waiting:
            await client.bulk_insert(self.waiting[:100])
            del self.waiting[:100]


class ByQueue(Public):
    """Gives everything to the queued client, and lets it be for some seconds."""

    def try_once(self) -> None:
        with contextlib.suppress(Exception):
            asyncio.run(self._queue(self.waiting))
        self.waiting = []

    async def _queue(self, records: list[pyauditor.Record]) -> None:
        builder = (
            self.builder().database_path(str(self.folder / f"{self.prefix}.db")).send_interval(1)
        )
        client = await builder.build_queued()
        for record in records:
            await client.add(record)
        settled, deadline = (-1, 0.0), time.monotonic() + 20
        while time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            seen = (len(self.auditor.requests), settled[1])
            settled = (seen[0], settled[1] + 0.5 if seen[0] == settled[0] else 0.0)
            if settled[1] >= 3:
                break
        await client.stop()


def lost(kind: type[Public], name: str, folder: Path, behind: str) -> Counter[str]:
    """Plays a scenario and counts what is not in the Auditor afterwards, and not kept either."""
    with new_world(folder, behind, timeout_s=1, kind=kind) as world:
        assert isinstance(world, Public)
        guilty = 0
        with contextlib.suppress(AssertionError):
            guilty = SCENARIOS[name].play(world).rejected
        wanted = {f"{world.prefix}-{number}" for number in range(250)}
        missing = wanted - world.held().keys()
        kept = {record.record_id for record in world.waiting}
        return Counter(lost=max(0, len(missing - kept) - guilty), stuck=len(missing & kept))


def main() -> None:
    """Prints the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(f"{'250 records through':<58}{'bulk_insert':>16}{'QueuedAuditorClient':>22}")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "auditor.db") as behind:
        for name, scenario in SCENARIOS.items():
            if name in WITH_STOPS | OURS:
                continue
            cells = []
            for kind in (ByBulkInsert, ByQueue):
                counts = lost(kind, name, Path(folder), behind)
                stuck = f", stuck {counts['stuck']}" if counts["stuck"] else ""
                cells.append(f"lost {counts['lost']}{stuck}")
            print(f"{scenario.fault:<58}{cells[0]:>16}{cells[1]:>22}", flush=True)


if __name__ == "__main__":
    main()
