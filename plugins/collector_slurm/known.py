"""Remembers which runs were read, and how they were: polls overlap, and steps are dear to read.

A poll asks again for what it has read, since runs reach slurmdbd late or change there. A run whose
row is as it was when its batch was stored brings nothing new, so its job is not asked for again.
This saves work only: without it, as after a start, the same is read, and known by the outbox.
"""

import heapq
from collections.abc import Iterable

from collector_slurm.run import Run

LIMIT_RUNS = 50_000
"""About 6 MB, and a quarter more; beyond that the oldest are read again."""
_SLACK = 1.25
"""So that the oldest are looked for now and then only."""


class Known:
    """Runs that were read, by all that their rows say."""

    def __init__(self, limit_runs: int = LIMIT_RUNS) -> None:
        self._limit_runs = limit_runs
        self._ends: dict[int, float] = {}

    def __contains__(self, run: Run) -> bool:
        return _digest(run) in self._ends

    def add(self, runs: Iterable[Run]) -> None:
        """Remembers runs that are stored, or left out for good."""
        for run in runs:
            self._ends[_digest(run)] = run.ended
        if len(self._ends) > _SLACK * self._limit_runs:
            # A re-scan begins with the oldest: it must not push out what it comes to next.
            surplus = len(self._ends) - self._limit_runs
            for digest in heapq.nsmallest(surplus, self._ends, key=self._ends.__getitem__):
                del self._ends[digest]

    def forget(self, before: float) -> None:
        """Forgets what ended before an epoch second, and will not be asked for again."""
        self._ends = {digest: end for digest, end in self._ends.items() if end >= before}


def _digest(run: Run) -> int:
    """64 bits that tell a row from any other."""
    return hash((*run.fields, *run.fields.values()))
