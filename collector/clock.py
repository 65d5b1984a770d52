"""The time: as an argument for everything that needs it, and as text for people."""

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]
"""Gives the time, aware."""


def utc_now() -> datetime:
    """The time of this machine's clock, in UTC."""
    return datetime.now(UTC)


def span(seconds: float) -> str:
    """`90 s`, `12 min`, `3 h`, `4 d`."""
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    unit, size = next((one for one in units if seconds >= 2 * one[1]), units[-1])
    return f"{int(seconds) // size} {unit}"


def stamp(instant: datetime) -> str:
    """`2026-01-31T12:00:00Z`, as people read it everywhere in this program."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
