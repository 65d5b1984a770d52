"""Resolves local times without a zone, as the jobcomp log has them, to instants.

In the night when clocks go back, an hour comes twice and its local times mean two instants. Lines
of the log are in the order of their ends, so an end is read as the first of its two instants that
is not before the end in the line above; the other times of a line as the latest instant that is not
after what must follow them (submit ≤ eligible ≤ start ≤ end).

What cannot be known: an end in the second of the two hours when nothing at all ended in the first
hour after that minute is read as the first one; a start in the repeated hour of a run that ended
after it is read as the later one. Both are off by the hour at most. slurmctld with `TZ=UTC`, or
`mode: sacct`, have neither problem.
"""

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

REORDERED_S = 120
"""Lines of runs that end together may be in any order."""
_FIRST_YEAR, _LAST_YEAR = 1990, 9000
"""No job ran before; and beyond, a time zone leads out of what a datetime can hold."""
_MACHINE_ZONE = Path("/etc/localtime")


def instants(text: str, zone: tzinfo) -> list[int]:
    """The instants that a local time may mean.

    Args:
        text: as `2026-10-25T02:30:00`.
        zone: of the clock that it was read from.

    Returns:
        Epoch seconds, ascending: one, or two in a repeated hour.

    Raises:
        ValueError: for a text that is no such time, and for a time that the clocks skipped.
    """
    try:
        local = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - resolved right here
    except ValueError as error:
        raise ValueError("expected a time as 2026-10-25T02:30:00") from error
    if not _FIRST_YEAR <= local.year <= _LAST_YEAR:
        raise ValueError(f"expected a time in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    found = set()
    for fold in (0, 1):
        instant = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == local:
            found.add(int(instant.timestamp()))
    if not found:
        raise ValueError(f"the clocks in {zone} skipped this time; check time_zone")
    return sorted(found)


def end_of(candidates: list[int], after: int) -> int:
    """Which instant an end means, when the line above ended at `after`."""
    return next((one for one in candidates if one >= after - REORDERED_S), candidates[-1])


def latest(candidates: list[int], limit: int) -> int:
    """Which instant a time means that cannot lie after `limit`."""
    return max((one for one in candidates if one <= limit), default=candidates[0])


def zone_of(name: str | None) -> tzinfo:
    """A time zone with its rules of all years; without a name the machine's."""
    if name is not None:
        return ZoneInfo(name)
    if not _MACHINE_ZONE.exists():
        return UTC
    with _MACHINE_ZONE.open("rb") as file:
        return ZoneInfo.from_file(file, key="the machine's zone")
