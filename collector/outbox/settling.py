"""Carrying verdicts out: where a record goes when the sender is done with it."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

from collector.outbox.outcomes import ACCEPTED, Outcome
from collector.outbox.rows import Rejection, count, json, reject, us, weigh
from collector.outbox.values import Verdict, Waiting

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
            (json([verdict.waiting.id for verdict in verdicts]),),
        ).fetchall()
    )
    for verdict in verdicts:
        waiting, outcome = verdict.waiting, verdict.outcome
        if waiting.id not in revisions:
            continue
        changed = revisions[waiting.id] != waiting.revision
        if outcome in ACCEPTED:
            if changed:
                sql.execute(
                    "UPDATE waiting SET is_stop = 1, tries = 0, due_us = 0 WHERE id = ?",
                    (waiting.id,),
                )
            else:
                accepted.append(waiting)
        elif changed:
            continue
        elif outcome is Outcome.RETRYING:
            if verdict.due_at is not None:
                sql.execute(
                    "UPDATE waiting SET tries = tries + ?, due_us = ? WHERE id = ?",
                    (verdict.own_fault, us(verdict.due_at), waiting.id),
                )
            continue
        else:
            _reject(sql, verdict, now_us)
        counts[waiting.source, waiting.origin, outcome, ""] += 1
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
        "INSERT INTO open_records VALUES (?, ?, ?)",
        [
            (waiting.id, waiting.may_correct_stop_time, waiting.body)
            for waiting in accepted
            if waiting.stop_time is None
        ],
    )
    ids = json([waiting.id for waiting in accepted])
    sql.execute(
        "UPDATE ledger SET sent_us = ? WHERE id IN (SELECT value FROM json_each(?))", (now_us, ids)
    )
    sql.execute("DELETE FROM waiting WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    weigh(sql, -len(accepted), -sum(len(waiting.body) for waiting in accepted))


def _reject(sql: sqlite3.Connection, verdict: Verdict, now_us: int) -> None:
    """Moves a record from `waiting` to `rejected`; its id is known no more."""
    waiting = verdict.waiting
    row = Rejection(
        verdict.outcome,
        waiting.record_id,
        verdict.reason,
        waiting.body,
        verdict.other_version,
        "Auditor",
    )
    reject(sql, waiting.source, waiting.origin, now_us, [row])
    sql.execute("DELETE FROM waiting WHERE id = ?", (waiting.id,))
    sql.execute("DELETE FROM ledger WHERE id = ?", (waiting.id,))
    weigh(sql, -1, -len(waiting.body))
