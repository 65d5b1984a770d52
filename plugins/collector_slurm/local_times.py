"""Resolves local times without a zone, as the jobcomp log has them, to instants.

In the night when clocks go back, an hour comes twice and its local times mean two instants. Lines
of the log stand in the order of their ends, so an end is taken for the first of its two instants
that is not before the end in the line above; the other times of a line for the latest instant that
is not after what must follow them (submit ≤ eligible ≤ start ≤ end).

What cannot be known: an end in the second of the two hours when nothing at all ended in the first
hour after that minute is taken for the first one; a start in the repeated hour of a run that ended
after it is taken for the later one. Both are off by the hour at most. slurmctld with `TZ=UTC`, or
`mode: sacct`, have neither problem.
"""

from datetime import UTC, datetime, tzinfo

_REORDERED_S = 120
"""Lines of runs that end together may stand in any order."""


def instants(text: str, zone: tzinfo) -> list[int]:
    """The instants that a local time may mean.

    Args:
        text: as `2026-10-25T02:30:00`.
        zone: where the clock hangs.

    Returns:
        Epoch seconds, ascending: one, or two in a repeated hour.

    Raises:
        ValueError: for a text that is no such time, and for a time that the clocks skipped.
    """
    local = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - resolved right here
    found = set()
    for fold in (0, 1):
        instant = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == local:
            found.add(int(instant.timestamp()))
    if not found:
        raise ValueError(f"{text} is a time that the clocks in {zone} skipped; check time_zone")
    return sorted(found)


def end_of(candidates: list[int], after: int) -> int:
    """Which instant an end means, when the line above ended at `after`."""
    return next((one for one in candidates if one >= after - _REORDERED_S), candidates[-1])


def latest(candidates: list[int], limit: int) -> int:
    """Which instant a time means that cannot lie after `limit`."""
    return max((one for one in candidates if one <= limit), default=candidates[0])
