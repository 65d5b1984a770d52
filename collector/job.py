"""Job: one run of a job as its scheduler reports it, between reading and mapping."""

from datetime import datetime
from typing import SupportsBytes

import msgspec

Value = str | int | float | bool
"""A field of a job, in the type that the scheduler gave it."""


class Job(msgspec.Struct, gc=False):
    """One run of a job, as the scheduler reports it, before mapping."""

    id: str
    """Unique among all runs that this source ever reads; the record is `<record_prefix>-<id>`."""
    start_at: datetime
    """Start of the run, aware."""
    stop_at: datetime | None
    """End of the run, aware, not before `start_at`; None while it lasts."""
    fields: dict[str, Value]
    """The scheduler's attributes by name; absent means unknown, never 0 or empty."""
    raw: SupportsBytes
    """The text that the job was read from, or what makes it: kept with a job that is rejected, as
    few are."""
    where: str
    """Where that text is, for messages: `file:offset`, or the command."""
    suspicious: bool = False
    """Whether it has values that cannot be, as its user may set them; accounted, and counted."""
