"""`make faults`: plays every fault of the matrix and prints what became of the records.

Each line is a scenario of `matrix.py`, played with a real outbox file and real sockets before an
embedded Auditor. Exit status 0 only if nothing was lost, doubled, stuck or wrongly rejected.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from collector.embedded.server import running
from tests.delivery.access_faults import SCENARIOS
from tests.delivery.world import new_world

ROLES = {"": None, " (a role that may only write)": frozenset({"write"})}
COLUMNS = ("faults", "requests", "records", "lost", "doubled", "stuck", "wrongly rejected")


def play(
    name: str, folder: Path, behind: str, rights: frozenset[str] | None = None
) -> Counter[str]:
    """Plays one scenario, with the rights of a role, and counts."""
    with new_world(folder, behind, timeout_s=1) as world:
        world.auditor.rights = rights
        outcome = SCENARIOS[name].play(world)
        status = world.outbox.status()
        wanted = [f"{world.prefix}-{number}" for number in outcome.held]
        held = [record.record_id for record in world.stored()]
        return Counter(
            {
                "faults": world.auditor.faults,
                "requests": len(world.auditor.requests),
                "records": len(held),
                "lost": len(set(wanted) - set(held)),
                "doubled": len(held) - len(set(held)) + len(set(held) - set(wanted)),
                "stuck": status.waiting,
                "wrongly rejected": max(0, sum(status.rejected.values()) - outcome.rejected),
            }
        )


def main() -> int:
    """Plays all; returns the exit status."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "auditor.db") as behind:
        print(f"{'fault':<58}" + "".join(f"{column:>10.10}" for column in COLUMNS))
        for role, rights in ROLES.items():
            for name, scenario in SCENARIOS.items():
                counts = play(name, Path(folder), behind, rights)
                total += counts
                fault = f"{scenario.fault}{role}"
                print(f"{fault:<58}" + "".join(f"{counts[column]:>10}" for column in COLUMNS))
    number = len(ROLES) * len(SCENARIOS)
    print(f"{f'{number} faults':<58}" + "".join(f"{total[name]:>10}" for name in COLUMNS))
    return 1 if any(total[column] for column in COLUMNS[3:]) else 0


if __name__ == "__main__":
    sys.exit(main())
