"""The layout of the SQLite file, as the list of migrations that lead to it.

Each migration is one transaction, together with the row that says that it was applied: a crash
leaves the layout before it or after it. sqlite-utils applies them and keeps these rows; whether
any is pending is read without it, because it costs 5 MiB, which a daemon on a file of the present
layout does not pay. A new layout is one more function in `migrate` and one more name in `NAMES`.
"""

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

NAMES = ("lay_out", "name_outcomes", "keep_totals")
"""Names of the migrations, in order."""

_DDL_1 = """
-- Every record id that is known: it waits, or was sent within the ledger's days, or is open.
-- `id` grows with each put that makes the record wait, so that it orders what waits by age.
CREATE TABLE ledger (
    id         INTEGER PRIMARY KEY,
    record_id  TEXT NOT NULL UNIQUE,
    source     TEXT NOT NULL,
    start_us   INTEGER NOT NULL,       -- instants are microseconds since 1970-01-01 UTC
    stop_us    INTEGER,                -- NULL: the run lasts
    sent_us    INTEGER                 -- NULL: something of it waits
);
CREATE INDEX ledger_sent ON ledger (sent_us) WHERE sent_us IS NOT NULL AND stop_us IS NOT NULL;

-- What is to be sent. Same `id` as in the ledger.
CREATE TABLE waiting (
    id         INTEGER PRIMARY KEY,
    origin     TEXT NOT NULL,
    is_update  INTEGER NOT NULL,       -- the Auditor holds it; only its stop time is to be sent
    corrects   INTEGER NOT NULL,       -- its source may correct a stop time
    put_us     INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,       -- 0: at once
    tries      INTEGER NOT NULL,
    revision   INTEGER NOT NULL,       -- grows when a put changes it, even while it is in flight
    body       BLOB NOT NULL           -- the whole record as JSON, also of an update
);

-- Records that the Auditor holds without a stop time, whole, to be completed by a stop.
CREATE TABLE open_records (
    id         INTEGER PRIMARY KEY,
    corrects   INTEGER NOT NULL,
    body       BLOB NOT NULL
);

-- What can be no record, or was refused. One row for each thing, however often it is read.
CREATE TABLE rejected (
    id         INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,   -- of source, record id and raw
    at_us      INTEGER NOT NULL,
    source     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    record_id  TEXT,
    reason     TEXT NOT NULL,
    raw        BLOB NOT NULL,          -- the job's text (kind job), or the record's JSON
    stored     BLOB,                   -- the other version of a collision
    place      TEXT NOT NULL
);
CREATE INDEX rejected_record_id ON rejected (record_id);

CREATE TABLE sources (
    name       TEXT PRIMARY KEY,
    checkpoint TEXT,                   -- JSON
    success_us INTEGER,
    error_us   INTEGER,
    error      TEXT
) WITHOUT ROWID;

-- At most one row: how sending goes.
CREATE TABLE sender (
    state      TEXT NOT NULL,
    since_us   INTEGER NOT NULL,
    reason     TEXT NOT NULL
);

CREATE TABLE counts (
    source     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    detail     TEXT NOT NULL,          -- why it was filtered; empty otherwise
    number     INTEGER NOT NULL,
    PRIMARY KEY (source, origin, outcome, detail)
) WITHOUT ROWID;

-- One row: what would be slow to count, and the next `ledger.id`, which is never used twice.
CREATE TABLE totals (
    next_id    INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 0, 0);
"""

_DDL_2 = """
-- The words of `Outcome`. Until here: new, updated (waits), completed (sent), rejected, job, away.
UPDATE counts SET outcome = CASE outcome WHEN 'new' THEN 'queued' WHEN 'updated' THEN 'stop_queued'
    WHEN 'completed' THEN 'stop_sent' WHEN 'rejected' THEN 'unmappable' ELSE outcome END;
UPDATE rejected SET kind = 'unmappable' WHERE kind = 'job';
UPDATE sender SET state = 'unreachable' WHERE state = 'away';
ALTER TABLE waiting RENAME COLUMN is_update TO is_stop;
ALTER TABLE waiting RENAME COLUMN corrects TO may_correct_stop_time;
ALTER TABLE open_records RENAME COLUMN corrects TO may_correct_stop_time;
ALTER TABLE rejected RENAME COLUMN at_us TO rejected_us;
ALTER TABLE rejected RENAME COLUMN stored TO other_version;
ALTER TABLE rejected RENAME COLUMN place TO location;
-- Releases that know only the first layout look here, and refuse a newer one.
PRAGMA user_version = 2
"""

_DDL_3 = """
-- What would be slow to count, kept by triggers.
CREATE TABLE rejected_totals (
    kind       TEXT PRIMARY KEY,
    number     INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO rejected_totals VALUES ('unmappable', 0), ('stop', 0), ('collision', 0), ('refused', 0);
UPDATE rejected_totals SET number =
    (SELECT count(*) FROM rejected WHERE rejected.kind = rejected_totals.kind);
CREATE TRIGGER rejected_added AFTER INSERT ON rejected BEGIN
    UPDATE rejected_totals SET number = number + 1 WHERE kind = new.kind; END;
CREATE TRIGGER rejected_removed AFTER DELETE ON rejected BEGIN
    UPDATE rejected_totals SET number = number - 1 WHERE kind = old.kind; END;
ALTER TABLE totals ADD COLUMN open_records INTEGER NOT NULL DEFAULT 0;
UPDATE totals SET open_records = (SELECT count(*) FROM open_records);
CREATE TRIGGER open_added AFTER INSERT ON open_records BEGIN
    UPDATE totals SET open_records = open_records + 1; END;
CREATE TRIGGER open_removed AFTER DELETE ON open_records BEGIN
    UPDATE totals SET open_records = open_records - 1; END;
-- The newest jobs of a source and of which of them no record could be made, as JSON; see Tried.
ALTER TABLE sources ADD COLUMN tried TEXT;
PRAGMA user_version = 3
"""


def is_behind(connection: sqlite3.Connection) -> bool:
    """Whether a migration is pending."""
    return not set(NAMES) <= set(_applied(connection))


def unknown(connection: sqlite3.Connection) -> list[str]:
    """Migrations that a newer program has applied."""
    return [name for name in _applied(connection) if name not in NAMES]


def migrate(connection: sqlite3.Connection) -> None:
    """Applies what is pending."""
    from sqlite_utils import Database, Migrations  # noqa: PLC0415

    migrations = Migrations("outbox")

    @migrations()
    def lay_out(db: Database) -> None:
        _run(db, _DDL_1)
        db.execute("PRAGMA user_version = 1")

    @migrations()
    def name_outcomes(db: Database) -> None:
        _run(db, _DDL_2)

    @migrations()
    def keep_totals(db: Database) -> None:
        _run(db, _DDL_3)

    migrations.apply(Database(connection, execute_plugins=False))


def _run(db: "Database", statements: str) -> None:
    for statement in statements.split(";\n"):
        db.execute(statement)


def _applied(connection: sqlite3.Connection) -> list[str]:
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    # A file may be damaged beyond its first page: this reads the roots of the tables.
    for table in tables:
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()  # noqa: S608 - our own names
    if "_sqlite_migrations" not in tables:
        return []
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = 'outbox' ORDER BY id"
    return [name for (name,) in connection.execute(query)]
