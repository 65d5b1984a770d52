"""What an earlier release wrote is read on: its outbox, its checkpoints, its records."""

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import structlog

from collector.config import Config, load
from collector.outbox import Intake, NewRecord, Outcome, SenderState
from collector.pipeline.assemble import Parts, assemble
from collector.pipeline.collect import Collected, store
from collector.pipeline.retry import retry
from collector.record import Record, decode
from collector.source import find_plugin
from tests.helpers.auditor_server import RunningAuditor

CASES = Path(__file__).parents[1] / "testcases"
WRITTEN = CASES / "outbox" / "79be286"
NOW = datetime(2026, 11, 24, 23, tzinfo=UTC)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def config(tmp_path: Path, auditor: RunningAuditor) -> Config:
    """Of the site whose outbox it is."""
    text = (WRITTEN / "config.yaml").read_text()
    for name, folder in (("htcondor", CASES / "htcondor"), ("slurm", CASES / "slurm")):
        text = text.replace(f"{{{name}}}", str(folder))
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("{folder}", str(tmp_path)).replace("{url}", auditor.url))
    with sqlite3.connect(tmp_path / "outbox.db") as sql:
        sql.executescript((WRITTEN / "outbox.sql").read_text())
    sql.close()
    return load(file, find_plugin)


@pytest.fixture
def parts(config: Config) -> Iterator[Parts]:
    """What a daemon of today makes of that configuration."""
    with assemble(config, structlog.get_logger(), threading.Event(), lambda: NOW) as parts:
        yield parts


def records() -> list[Record]:
    """As that release made them."""
    return [decode(line) for line in (WRITTEN / "records.jsonl").read_bytes().splitlines()]


def test_its_counts_go_on_under_the_words_of_today(parts: Parts):
    """`new` is queued, a job without a record is unmappable, `away` is unreachable."""
    status = parts.outbox.status()
    assert (status.waiting, status.rejected) == (6, {"unmappable": 1})
    assert status.sender is not None
    assert status.sender.state is SenderState.UNREACHABLE
    assert status.counts["slurm", "poll", Outcome.QUEUED, ""] == 165
    assert status.counts["slurm", "poll", Outcome.UNMAPPABLE, ""] == 1


def test_its_checkpoints_lead_to_the_end_of_what_it_read(parts: Parts):
    """Every mode goes on where that release ended: nothing is read again, nothing is new."""
    for mapped in parts.sources:
        total = Collected()
        for batch in mapped.source.poll(parts.outbox.checkpoint(mapped.name)):
            store(batch, mapped, parts.outbox, total, origin="poll")
        assert (mapped.name, total.counts()) == (mapped.name, {})


def test_what_it_took_in_is_known_when_it_is_read_again(parts: Parts):
    """No run gets another id or start: nothing is queued again, nothing collides."""
    for mapped in parts.sources:
        total = Collected()
        for batch in mapped.source.backfill(*EVER):
            store(batch, mapped, parts.outbox, total, origin="backfill")
        found = set(+total.outcomes)
        assert Outcome.KNOWN in found, mapped.name
        assert found <= {Outcome.KNOWN, Outcome.FILTERED, Outcome.UNMAPPABLE}, mapped.name
    assert parts.outbox.status().rejected == {"unmappable": 1}


def test_what_it_sent_is_the_same_record_to_the_auditor(
    config: Config, auditor: RunningAuditor, tmp_path: Path
):
    """After a lost outbox everything is read and sent again: the Auditor has it, none differs."""
    with auditor.client() as client:
        client.bulk_insert(records())
    config.outbox.path = tmp_path / "another.db"
    with assemble(config, structlog.get_logger(), threading.Event(), lambda: NOW) as parts:
        for mapped in parts.sources:
            for batch in mapped.source.poll(None):
                store(batch, mapped, parts.outbox, Collected(), origin="poll")
        result = parts.sender.run_pass()
        assert set(result.outcomes) == {Outcome.ALREADY_THERE}


def test_records_that_waited_in_it_are_sent(parts: Parts, auditor: RunningAuditor):
    """As they are."""
    waiting = [decode(line.body) for line in parts.outbox.take(100, 10**9, NOW)]
    assert dict(parts.sender.run_pass().outcomes) == {Outcome.SENT: 6}
    with auditor.client() as client:
        held = {record.record_id: record for record in client.stream_query()}
    assert [held[record.record_id] for record in waiting] == waiting


def test_a_stop_time_that_it_kept_can_be_retried(parts: Parts):
    """Its notation in the rejected table is that of today."""
    kept = msgspec.json.encode({"record_id": "slurm-none", "stop_time": NOW})
    with sqlite3.connect(parts.outbox.path) as sql:
        sql.execute(
            "INSERT INTO rejected VALUES (99, x'00', 0, 'slurm', 'poll', 'stop', 'slurm-none', '',"
            " ?, NULL, '')",
            (kept,),
        )
    sql.close()
    (row,) = parts.outbox.rejected(ids=[99])
    record = Record("slurm-none", datetime(2026, 11, 24, tzinfo=UTC), None, None, [])
    parts.outbox.put(Intake("slurm", [NewRecord.of(record)]))
    assert retry([row], {}, parts.outbox) == {"to be sent": 1}
