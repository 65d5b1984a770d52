"""Which kinds of jobs are accounted: by default those that hold a slot.

A job of the scheduler universe (DAGMan, mostly) or of the local universe is a process on the access
point. It waits for a week and uses 15 CPU seconds, and no machine of the pool is held for it. A job
of the grid universe holds a slot of another batch system.
"""

from collections.abc import Iterable
from typing import Literal

Universe = Literal[
    "standard", "pvm", "vanilla", "scheduler", "mpi", "grid", "java", "parallel", "local", "vm"
]
Universes = Iterable[Universe]

NAMES: dict[bytes, Universe] = {
    b"1": "standard",
    b"4": "pvm",
    b"5": "vanilla",
    b"7": "scheduler",
    b"8": "mpi",
    b"9": "grid",
    b"10": "java",
    b"11": "parallel",
    b"12": "local",
    b"13": "vm",
}
"""JobUniverse of HTCondor 8 to 25 → its name; docker and container jobs are of vanilla."""

WITH_SLOT: tuple[Universe, ...] = (
    *("standard", "pvm", "vanilla", "mpi", "grid", "java", "parallel", "vm"),
)

TRANSFER_SHADOW = "transfer shadow"
"""HTCondor 25: fetches the common input files of several jobs, under a ProcId of -1000 or less."""


def filter_reason(universe: bytes | None, accounted: frozenset[Universe]) -> str:
    """Why a job of this JobUniverse is not accounted; empty if it is, or if its ad has none."""
    name = NAMES.get(universe or b"5")
    return "" if name is None or name in accounted else f"{name} universe"
