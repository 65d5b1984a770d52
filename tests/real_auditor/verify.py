"""`make verify-auditor`: what this program relies on, on the public Auditor and its PostgreSQL.

Needs the command `auditor` on the PATH, in ~/.cargo/bin or where AUDITOR_BIN says (built by
`cargo install auditor`), and PostgreSQL's programs. Prints a table; exit status 0 only if all
holds, 77 if something that it needs is not there.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.delivery.access_faults import RUNS, SCENARIOS
from tests.delivery.faults import play
from tests.delivery.world import new_world
from tests.real_auditor.served import Real, lacking, real

RIGHTS = {
    "no roles": None,
    "write and read": frozenset({"write", "read"}),
    "write only": frozenset({"write"}),
}
BAD = ("lost", "doubled", "stuck", "wrongly rejected")
MISSING = 77


def conversation(auditor: Real) -> str:
    """Its answers are those that are recorded, and the client's scenarios hold."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/real_auditor"]
    done = subprocess.run(
        command,
        env={**os.environ, "AUDITOR_URL": auditor.url},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout[-2000:]


def faults(auditor: Real, rights: frozenset[str] | None, folder: Path) -> str:
    """Every fault of the matrix, played before it, loses, doubles and rejects nothing."""
    total: Counter[str] = Counter()
    for name in SCENARIOS:
        counts = play(name, folder, auditor.url, rights)
        if any(counts[column] for column in BAD):
            print(f"    {name}: {dict(counts)}")
        total += counts
    bad = {column: total[column] for column in BAD if total[column]}
    return ", ".join(f"{column} {number}" for column, number in bad.items())


def kills(auditor: Real, folder: Path) -> str:
    """Killed four times while 2,500 records are sent: each of them is there once."""
    numbers = range(10 * len(RUNS))
    with new_world(folder, auditor.url, timeout_s=5) as world:
        world.put(numbers)
        ended = threading.Event()

        def kill() -> None:
            for _ in range(4):
                if ended.wait(0.3):
                    return
                auditor.kill()
                auditor.come_back()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            until = time.monotonic() + 120
            while world.outbox.status().waiting and time.monotonic() < until:
                world.drain(1)
        finally:
            ended.set()
            killer.join()
        held = [record.record_id for record in world.stored()]
        if len(held) != len(numbers) or len(set(held)) != len(numbers):
            return f"{len(held)} records, {len(set(held))} of them different, of {len(numbers)}"
    return ""


def main() -> int:
    """Runs all; returns the exit status."""
    os.environ["PATH"] = os.pathsep.join(
        [os.environ.get("AUDITOR_BIN", ""), os.environ["PATH"], str(Path.home() / ".cargo/bin")]
    )
    if (what := lacking()) is not None:
        print(f"verify-auditor: {what}")
        return MISSING
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary, real() as auditor:
        folder = Path(temporary)
        steps: dict[str, Callable[[], str]] = {
            "conversation and scenarios": partial(conversation, auditor),
            **{
                f"{len(SCENARIOS)} faults, {name}": partial(faults, auditor, rights, folder)
                for name, rights in RIGHTS.items()
            },
            "killed while it is sent to": partial(kills, auditor, folder),
        }
        for name, step in steps.items():
            began = time.monotonic()
            problem = step()
            wrong += bool(problem)
            took_s = time.monotonic() - began
            print(f"{name:<40}{problem or 'holds':<30}{took_s:>8.1f} s", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
