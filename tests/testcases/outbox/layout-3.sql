BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'outbox','lay_out','2026-11-24 02:01:49.079933+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'outbox','name_outcomes','2026-11-25 17:18:20.574346+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'outbox','keep_totals','2026-11-25 18:02:11.321766+00:00');
CREATE TABLE counts (
    source     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    detail     TEXT NOT NULL,          -- why it was filtered; empty otherwise
    number     INTEGER NOT NULL,
    PRIMARY KEY (source, origin, outcome, detail)
) WITHOUT ROWID;
INSERT INTO "counts" VALUES('old','poll','queued','',4);
INSERT INTO "counts" VALUES('old','poll','read','',5);
INSERT INTO "counts" VALUES('old','poll','refused','',1);
INSERT INTO "counts" VALUES('old','poll','sent','',2);
INSERT INTO "counts" VALUES('old','poll','unmappable','',1);
CREATE TABLE ledger (
    id         INTEGER PRIMARY KEY,
    record_id  TEXT NOT NULL UNIQUE,
    source     TEXT NOT NULL,
    start_us   INTEGER NOT NULL,       -- instants are microseconds since 1970-01-01 UTC
    stop_us    INTEGER,                -- NULL: the run lasts
    sent_us    INTEGER                 -- NULL: something of it waits
);
INSERT INTO "ledger" VALUES(1,'r-1','old',1767225600000000,1767225660000000,1769860800000000);
INSERT INTO "ledger" VALUES(2,'r-2','old',1767225600000000,NULL,1769860800000000);
INSERT INTO "ledger" VALUES(3,'r-3','old',1767225600000000,1767225660000000,NULL);
CREATE TABLE open_records (
    id         INTEGER PRIMARY KEY,
    may_correct_stop_time   INTEGER NOT NULL,
    body       BLOB NOT NULL
);
INSERT INTO "open_records" VALUES(2,0,X'7B227265636F72645F6964223A22722D32222C2273746172745F74696D65223A22323032362D30312D30315430303A30303A30305A222C2273746F705F74696D65223A6E756C6C2C226D657461223A6E756C6C2C22636F6D706F6E656E7473223A5B7B226E616D65223A22436F726573222C22616D6F756E74223A312C2273636F726573223A5B5D7D5D7D');
CREATE TABLE rejected (
    id         INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,   -- of source, record id and raw
    rejected_us      INTEGER NOT NULL,
    source     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    record_id  TEXT,
    reason     TEXT NOT NULL,
    raw        BLOB NOT NULL,          -- the job's text (kind job), or the record's JSON
    other_version     BLOB,                   -- the other version of a collision
    location      TEXT NOT NULL
);
INSERT INTO "rejected" VALUES(1,X'20277C466114DA9351FDBF6B724C9EC0',1769860800000000,'old','poll','unmappable','r-9','cores = ''many'': expected a number',X'7B226964223A20397D',NULL,'jobs.jsonl');
INSERT INTO "rejected" VALUES(2,X'DA763A68CA8B295CD2E92A853860C481',1769860800000000,'old','poll','refused','r-4','400: no',X'7B227265636F72645F6964223A22722D34222C2273746172745F74696D65223A22323032362D30312D30315430303A30303A30305A222C2273746F705F74696D65223A22323032362D30312D30315430303A30313A30305A222C226D657461223A6E756C6C2C22636F6D706F6E656E7473223A5B7B226E616D65223A22436F726573222C22616D6F756E74223A312C2273636F726573223A5B5D7D5D7D',NULL,'Auditor');
CREATE TABLE rejected_totals (
    kind       TEXT PRIMARY KEY,
    number     INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "rejected_totals" VALUES('collision',0);
INSERT INTO "rejected_totals" VALUES('refused',1);
INSERT INTO "rejected_totals" VALUES('stop',0);
INSERT INTO "rejected_totals" VALUES('unmappable',1);
CREATE TABLE sender (
    state      TEXT NOT NULL,
    since_us   INTEGER NOT NULL,
    reason     TEXT NOT NULL
);
INSERT INTO "sender" VALUES('unreachable',1769860800000000,'no answer');
CREATE TABLE sources (
    name       TEXT PRIMARY KEY,
    checkpoint TEXT,                   -- JSON
    success_us INTEGER,
    error_us   INTEGER,
    error      TEXT
, tried TEXT) WITHOUT ROWID;
INSERT INTO "sources" VALUES('old','{"at":5}',1769860800000000,NULL,NULL,NULL);
CREATE TABLE totals (
    next_id    INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
, open_records INTEGER NOT NULL DEFAULT 0);
INSERT INTO "totals" VALUES(5,1,157,1);
CREATE TABLE waiting (
    id         INTEGER PRIMARY KEY,
    origin     TEXT NOT NULL,
    is_stop  INTEGER NOT NULL,       -- the Auditor holds it; only its stop time is to be sent
    may_correct_stop_time   INTEGER NOT NULL,       -- its source may correct a stop time
    put_us     INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,       -- 0: at once
    tries      INTEGER NOT NULL,
    revision   INTEGER NOT NULL,       -- grows when a put changes it, even while it is in flight
    body       BLOB NOT NULL           -- the whole record as JSON, also of an update
);
INSERT INTO "waiting" VALUES(3,'poll',0,0,1769860800000000,0,0,0,X'7B227265636F72645F6964223A22722D33222C2273746172745F74696D65223A22323032362D30312D30315430303A30303A30305A222C2273746F705F74696D65223A22323032362D30312D30315430303A30313A30305A222C226D657461223A6E756C6C2C22636F6D706F6E656E7473223A5B7B226E616D65223A22436F726573222C22616D6F756E74223A312C2273636F726573223A5B5D7D5D7D');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX ledger_sent ON ledger (sent_us) WHERE sent_us IS NOT NULL AND stop_us IS NOT NULL;
CREATE INDEX rejected_record_id ON rejected (record_id);
CREATE TRIGGER rejected_added AFTER INSERT ON rejected BEGIN
    UPDATE rejected_totals SET number = number + 1 WHERE kind = new.kind; END;
CREATE TRIGGER rejected_removed AFTER DELETE ON rejected BEGIN
    UPDATE rejected_totals SET number = number - 1 WHERE kind = old.kind; END;
CREATE TRIGGER open_added AFTER INSERT ON open_records BEGIN
    UPDATE totals SET open_records = open_records + 1; END;
CREATE TRIGGER open_removed AFTER DELETE ON open_records BEGIN
    UPDATE totals SET open_records = open_records - 1; END;
PRAGMA user_version = 3;
COMMIT;
