"""The outbox: what is to be sent, what was sent, what was refused; in one SQLite file.

Promises, and what is on disk after a crash (SIGKILL, power cut) at any instruction:

- `put` is one transaction: the records of a batch, its stop times, its rejected jobs, the counts
  and the source's checkpoint are there together or not at all. After a crash before its commit the
  source reads the batch again; after it, the next poll starts after it.
- `take` writes nothing. What is in flight is still waiting on disk; a crash between `take` and
  `settle` sends it again, and the Auditor's record ids make that harmless.
- `settle` is one transaction: an accepted record leaves `waiting` and is in the ledger (an
  open one also, whole, in `open_records`); a rejected one is in `rejected`; a retrying one knows
  when it is due. After a crash before its commit all of them are still waiting.
- A record leaves `waiting` only by a verdict, and never without a row that says where to.

Known ids: a record id that waits, is open, or was sent within `ledger_days` is in the ledger, and
is not taken in again unless it brings news: a stop time for an open run, or (from a source that may
correct it) another stop time. The same id with another start is another run: a collision, rejected
with both versions. What was refused as it is, is not taken in again either, until a person says
`rejected retry`.

    outcomes.py  Outcome, Origin: the words for what becomes of a job, and how it came here
    values.py    what goes in and what comes out
    store.py     Outbox: put, take, settle, status
    putting.py   an intake, by what is known of each id
    settling.py  verdicts
    whereabouts.py  what is known of one record id
    rows.py      what both write
    tried.py     the newest jobs, and how many were rejected
    file.py      opening, locks, what errors mean
    rescue.py    a damaged, emptied or replaced file
    layout.py    tables and migrations
"""

from collector.outbox.file import OutboxError, OutboxFullError, OutboxInUseError, SetAside
from collector.outbox.outcomes import ACCEPTED, REJECTED, TO_BE_SENT, Origin, Outcome
from collector.outbox.putting import FOUND_BY_PUT
from collector.outbox.rows import instant
from collector.outbox.store import Outbox
from collector.outbox.tried import Tried
from collector.outbox.values import (
    Intake,
    Kind,
    NewRecord,
    PutResult,
    RejectedRow,
    SenderState,
    SenderStatus,
    SourceStatus,
    Status,
    StopTime,
    Unmappable,
    Verdict,
    Waiting,
)
from collector.outbox.whereabouts import Whereabouts

__all__ = [
    "ACCEPTED",
    "FOUND_BY_PUT",
    "REJECTED",
    "TO_BE_SENT",
    "Intake",
    "Kind",
    "NewRecord",
    "Origin",
    "Outbox",
    "OutboxError",
    "OutboxFullError",
    "OutboxInUseError",
    "Outcome",
    "PutResult",
    "RejectedRow",
    "SenderState",
    "SenderStatus",
    "SetAside",
    "SourceStatus",
    "Status",
    "StopTime",
    "Tried",
    "Unmappable",
    "Verdict",
    "Waiting",
    "Whereabouts",
    "instant",
]
