"""What all writers of the outbox share: instants, totals, counts, rejected rows."""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def weigh(sql: sqlite3.Connection, records: int, length: int) -> None:
    sql.execute("UPDATE totals SET records = records + ?, bytes = bytes + ?", (records, length))


def count(sql: sqlite3.Connection, counts: Mapping[tuple[str, str, str, str], int]) -> None:
    sql.executemany(
        "INSERT INTO counts VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (source, origin, outcome, detail)"
        " DO UPDATE SET number = number + excluded.number",
        [(*key, number) for key, number in counts.items() if number],
    )


def json(values: object) -> str:
    return msgspec.json.encode(values).decode()


def us(instant: datetime) -> int:
    """Microseconds since 1970; refuses naive datetimes by subtracting an aware one."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


class Rejection(NamedTuple):
    """A row to be: what is kept of something that was rejected."""

    kind: str
    record_id: str | None
    reason: str
    raw: bytes
    other_version: bytes | None
    where: str


def reject(
    sql: sqlite3.Connection,
    source: str,
    origin: str,
    now_us: int,
    rows: Iterable[Rejection],
) -> None:
    sql.executemany(
        "INSERT INTO rejected (digest, rejected_us, source, origin, kind, record_id, reason, raw,"
        " other_version, location) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET"
        " rejected_us = excluded.rejected_us, reason = excluded.reason,"
        " other_version = excluded.other_version, location = excluded.location",
        (
            (
                _digest(source, row.record_id, row.raw),
                now_us,
                source,
                origin,
                *row,
            )
            for row in rows
        ),
    )


def _digest(source: str, record_id: str | None, raw: bytes) -> bytes:
    head = msgspec.json.encode([source, record_id])
    return hashlib.blake2b(head + b"\n" + raw, digest_size=16).digest()
