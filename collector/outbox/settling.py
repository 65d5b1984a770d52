"""Carrying verdicts out: where a record goes when the sender is done with it."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

from collector.outbox.entries import Verdict, Waiting
from collector.outbox.rows import count, json, reject, us, weigh

_EXPIRED_PER_SETTLE = 5_000


def settle(
    sql: sqlite3.Connection, verdicts: Sequence[Verdict], now_us: int, ledger_days: float
) -> None:
    """Carries verdicts out in an open transaction, and forgets a bounded number of old ids."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    accepted: list[Waiting] = []
    revisions: dict[int, int] = dict(
        sql.execute(
            "SELECT id, revision FROM waiting WHERE id IN (SELECT value FROM json_each(?))",
            (json([verdict.entry.id for verdict in verdicts]),),
        ).fetchall()
    )
    for verdict in verdicts:
        entry = verdict.entry
        if entry.id not in revisions:
            continue
        changed = revisions[entry.id] != entry.revision
        if verdict.outcome == "kept":
            if verdict.due_at is not None and not changed:
                sql.execute(
                    "UPDATE waiting SET tries = tries + ?, due_us = ? WHERE id = ?",
                    (verdict.counts, us(verdict.due_at), entry.id),
                )
        elif verdict.outcome == "rejected":
            if not changed:
                _refuse(sql, verdict, now_us)
                counts[entry.source, entry.origin, "refused", ""] += 1
        else:
            outcome = "completed" if verdict.outcome == "updated" else verdict.outcome
            counts[entry.source, entry.origin, outcome, ""] += 1
            if changed:
                sql.execute(
                    "UPDATE waiting SET is_update = 1, tries = 0, due_us = 0 WHERE id = ?",
                    (entry.id,),
                )
            else:
                accepted.append(entry)
    _remember(sql, accepted, now_us)
    oldest_us = now_us - int(ledger_days * 86_400_000_000)
    sql.execute(
        "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger"
        " WHERE sent_us < ? AND stop_us IS NOT NULL LIMIT ?)",
        (oldest_us, _EXPIRED_PER_SETTLE + 2 * len(accepted)),
    )
    count(sql, counts)


def _remember(sql: sqlite3.Connection, accepted: Sequence[Waiting], now_us: int) -> None:
    """Moves accepted records from `waiting` to the ledger."""
    if not accepted:
        return
    sql.executemany(
        "INSERT OR REPLACE INTO open_records VALUES (?, ?, ?)",
        [(entry.id, entry.corrects, entry.body) for entry in accepted if entry.stop_time is None],
    )
    ids = json([entry.id for entry in accepted])
    sql.execute(
        "UPDATE ledger SET sent_us = ? WHERE id IN (SELECT value FROM json_each(?))", (now_us, ids)
    )
    sql.execute("DELETE FROM waiting WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    weigh(sql, -len(accepted), -sum(len(entry.body) for entry in accepted))


def _refuse(sql: sqlite3.Connection, verdict: Verdict, now_us: int) -> None:
    """Moves a record from `waiting` to `rejected`; its id is known no more."""
    entry = verdict.entry
    kind = "refused" if verdict.stored is None else "collision"
    row = (kind, entry.record_id, verdict.reason, entry.body, verdict.stored, "Auditor")
    reject(sql, entry.source, entry.origin, now_us, [row])
    sql.execute("DELETE FROM waiting WHERE id = ?", (entry.id,))
    sql.execute("DELETE FROM ledger WHERE id = ?", (entry.id,))
    weigh(sql, -1, -len(entry.body))
