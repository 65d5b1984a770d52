"""What can become of a job on its way into the Auditor, and the ways on which it gets there.

Put, verdict, pass, counts, metrics, `status` and the documentation all use these words.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a job, a record or a stop time, at one station of its way."""

    QUEUED = "queued"
    """A new record waits to be sent."""
    MERGED = "merged"
    """A stop time joined its waiting record."""
    STOP_QUEUED = "stop_queued"
    """A stop time waits to be sent."""
    KNOWN = "known"
    """This run is waiting or sent already."""
    FILTERED = "filtered"
    """Not to be accounted, by rule; with the reason."""
    UNMAPPABLE = "unmappable"
    """No record can be made of the job; kept with its text and the reason."""
    SENT = "sent"
    """The Auditor proved that it stored the record."""
    STOP_SENT = "stop_sent"
    """The Auditor has the stop time."""
    ALREADY_THERE = "already_there"
    """The Auditor had the same record."""
    ALREADY_THERE_UNREAD = "already_there_unread"
    """The Auditor has a record with this id, and our role may not read it."""
    REFUSED = "refused"
    """The Auditor refuses this record for good; kept with its words."""
    COLLISION = "collision"
    """Another run has this id; kept with both versions."""
    RETRYING = "retrying"
    """Not now; due again later."""


ACCEPTED = frozenset(
    {Outcome.SENT, Outcome.STOP_SENT, Outcome.ALREADY_THERE, Outcome.ALREADY_THERE_UNREAD}
)
"""The Auditor has it; it leaves the outbox."""

REJECTED = frozenset({Outcome.UNMAPPABLE, Outcome.REFUSED, Outcome.COLLISION})
"""It is kept in the table of what was rejected, until a person retries or drops it."""

TO_BE_SENT = frozenset({Outcome.QUEUED, Outcome.MERGED, Outcome.STOP_QUEUED})
"""It will be sent."""


class Origin(StrEnum):
    """On which way a record came into the outbox; counted apart."""

    POLL = "poll"
    """The daemon read it."""
    BACKFILL = "backfill"
    """`auditor-collector backfill`; counted under a name of its own, see `of_backfill`."""
    EPILOG = "epilog"
    """`auditor-collector collect-job`."""
    RETRY = "retry"
    """`auditor-collector rejected retry`."""
    RECONCILE = "reconcile"
    """`auditor-collector reconcile --fix`."""
    IMPORT = "import"
    """`auditor-collector outbox import`."""

    @classmethod
    def of_backfill(cls, name: str) -> str:
        """The origin of one backfill, so that its counts are kept apart from those of others."""
        return f"{cls.BACKFILL} {name}"

    @classmethod
    def family(cls, origin: str) -> str:
        """An origin without the name of its backfill; what a newer program wrote stays itself."""
        return origin.partition(" ")[0]
