"""What the outbox knows of one record id: for `explain`."""

import sqlite3
from datetime import datetime

import msgspec

from collector.outbox.rows import instant


class Whereabouts(msgspec.Struct):
    """Where a record is, by the outbox."""

    source: str = ""
    waits: str = ""
    """`record` or `stop time`, while that waits to be sent."""
    tries: int = 0
    """How often it was tried."""
    due_at: datetime | None = None
    """When it is tried again."""
    sent_at: datetime | None = None
    """When it was last sent."""
    is_open: bool = False
    """Sent without a stop time, which is to follow."""
    rejected: list[str] = []
    """Kind and reason of each rejected row."""

    @property
    def known(self) -> bool:
        """Whether the outbox has heard of the record."""
        return bool(self.source or self.rejected)


def look_up(sql: sqlite3.Connection, record_id: str) -> Whereabouts:
    """Looks for a record id in the ledger, among what waits, and in what was rejected."""
    found = Whereabouts()
    row = sql.execute(
        "SELECT ledger.source, ledger.sent_us, waiting.is_stop, waiting.tries, waiting.due_us,"
        " open_records.id FROM ledger LEFT JOIN waiting ON waiting.id = ledger.id"
        " LEFT JOIN open_records ON open_records.id = ledger.id WHERE ledger.record_id = ?",
        (record_id,),
    ).fetchone()
    if row is not None:
        found.source, sent_us, is_stop, found.tries, due_us, open_id = row
        found.tries = found.tries or 0
        found.sent_at = None if sent_us is None else instant(sent_us)
        found.due_at = instant(due_us) if due_us else None
        found.waits = "" if is_stop is None else "stop time" if is_stop else "record"
        found.is_open = open_id is not None
    found.rejected = [
        f"{kind}: {reason}"
        for kind, reason in sql.execute(
            "SELECT kind, reason FROM rejected WHERE record_id = ? ORDER BY id", (record_id,)
        )
    ]
    return found
