"""What a person can do: rejected, outbox, reconcile."""

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import structlog
from click.testing import CliRunner, Result

from collector.auditor.client import AuditorClientBlocking
from collector.cli import main
from collector.config import load
from collector.outbox import Intake, Outbox, Outcome, PutResult, Verdict
from collector.pipeline.collect import Collected, store
from collector.pipeline.sources import make_sources
from collector.source import find_plugin
from tests.helpers.example_plugin import FIRST_START, job
from tests.helpers.site import Site

PERIOD = ("--since", "2026-01-01", "--until", "2026-01-02")


@pytest.fixture
def site(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path, url)


Run = Callable[..., Result]


@pytest.fixture
def run(site: Site) -> Run:
    def invoke(*args: str, status: int = 0, input: bytes | None = None) -> Result:  # noqa: A002 - click's name
        result = CliRunner().invoke(main, [*args, "--config", str(site.config)], input=input)
        assert result.exit_code == status, result.output
        return result

    return invoke


def outbox_of(site: Site) -> Outbox:
    return Outbox.open(site.folder / "outbox.db", now=lambda: datetime.now(UTC))


def poll(site: Site) -> Collected:
    """One poll of the source into the outbox; nothing is sent."""
    config = load(site.config, find_plugin)
    (mapped,) = make_sources(config, structlog.get_logger(), threading.Event())
    total = Collected()
    with outbox_of(site) as outbox:
        for batch in mapped.source.poll(outbox.checkpoint("jobs")):
            store(batch, mapped, outbox, total, origin="poll")
    return total


def differences(result: Result) -> list[tuple[str, str | None]]:
    lines = [msgspec.json.decode(line) for line in result.stdout.splitlines() if line[:1] == "{"]
    return [(line["kind"], line["record_id"]) for line in lines if "kind" in line]


def test_a_job_that_could_not_be_mapped_is_retried_after_the_mapping_was_mended(
    site: Site, run: Run, client: AuditorClientBlocking
):
    """It is listed with reason and raw text, goes out after `retry`, and is rejected no more."""
    site.log(1)
    site.log(2, cores="many")
    site.log(3, user="\x1b[31mevil")
    poll(site)
    (row,) = [
        msgspec.json.decode(line)
        for line in run("rejected", "list", "--json").stdout.split("\n")
        if line
    ]
    assert (row["record_id"], row["kind"]) == ("jobs-2", "unmappable")
    assert "many" in row["reason"]
    assert "many" in run("rejected", "show", str(row["id"])).output
    for _ in range(2):
        assert run("rejected", "retry", "--all", status=1).output.split() == [
            "1",
            "still",
            "rejected",
        ]
    with outbox_of(site) as outbox:  # what fails again is no new rejection
        counts = outbox.status().counts
        assert sum(n for (_, _, what, _), n in counts.items() if what == Outcome.UNMAPPABLE) == 1
    rules = "mapping: {components: {Cores: {field: cores, default: 4, optional: true}}}, log: "
    site.config.write_text(site.config.read_text().replace("log: ", rules, 1))
    assert "1  to be sent" in run("rejected", "retry", "--reason", "many").output
    assert run("rejected", "list").output == ""
    run("outbox", "flush")
    assert {record.record_id for record in client.stream_query()} == {"jobs-1", "jobs-2", "jobs-3"}


def test_what_the_auditor_refused_is_sent_again_on_retry_and_deleted_on_drop(
    site: Site, run: Run, client: AuditorClientBlocking
):
    """Filters choose; without a choice nothing happens."""
    site.log(1, 2)
    poll(site)
    with outbox_of(site) as outbox:
        waiting = outbox.take(10, 10**6, datetime.now(UTC))
        outbox.settle(
            [Verdict(entry, Outcome.REFUSED, f"no {entry.record_id}") for entry in waiting]
        )
    run("rejected", "retry", status=2)
    run("rejected", "drop", status=2)
    assert "1  dropped" in run("rejected", "drop", "--reason", "no jobs-1", "--yes").output
    assert "1  to be sent" in run("rejected", "retry", "--source", "jobs").output
    run("outbox", "flush")
    assert [record.record_id for record in client.stream_query()] == ["jobs-2"]


def test_an_outbox_can_be_carried_away_and_back(site: Site, run: Run):
    """Export changes nothing; importing twice stores once; the ledger knows what was sent."""
    site.log(*range(1500))
    poll(site)
    lines = run("outbox", "export").stdout
    assert lines == run("outbox", "export").stdout
    assert len(lines.splitlines()) == 1500
    assert len(run("outbox", "list", "--limit", "7").stdout.splitlines()) == 7
    for file in site.folder.glob("outbox.db*"):
        file.unlink()
    assert "1500  to be sent" in run("outbox", "import", input=lines.encode()).output
    assert "1500  known" in run("outbox", "import", input=lines.encode()).output
    run("outbox", "flush")
    assert "1500  known" in run("outbox", "import", input=lines.encode()).output


def test_a_line_that_is_no_export_is_named(site: Site, run: Run):
    """With its number and what was expected."""
    result = run("outbox", "import", input=b'{"source": "s", "record": {}}\n', status=1)
    assert "line 1: expected a line of an export" in result.output


def test_reconcile_agrees_when_all_is_there(site: Site, run: Run):
    """Exit status 0, and the number of jobs that were compared."""
    site.log(*range(50))
    poll(site)
    run("outbox", "flush")
    output = run("reconcile", *PERIOD).output
    assert "50  jobs" in output
    assert "50  equal" in output


def test_reconcile_finds_every_kind_of_difference(
    site: Site, run: Run, client: AuditorClientBlocking
):
    """Missing, extra, other stop (also outside the period), other components, unmappable."""
    site.log(*range(5))
    poll(site)
    run("outbox", "flush")
    site.log(5)  # missing
    site.log(6, cores="many")  # rejected
    extra = client.get_single_record("jobs-0")
    extra.record_id = "jobs-777"
    foreign = client.get_single_record("jobs-0")
    foreign.record_id = "other-1"
    client.bulk_insert([extra, foreign])
    client.update(
        client.get_single_record("jobs-1").with_stop_time(FIRST_START + timedelta(days=9))
    )
    path = site.folder / "jobs.jsonl"
    before = path.read_bytes()
    changed = before.replace(job(2), job(2, cores=9))
    assert changed != before
    path.write_bytes(changed)
    assert sorted(differences(run("reconcile", *PERIOD, "--json", status=1))) == [
        ("components", "jobs-2"),
        ("extra", "jobs-777"),
        ("missing", "jobs-5"),
        ("rejected", "jobs-6"),
        ("stop", "jobs-1"),
    ]


def test_reconcile_fixes_what_the_auditor_has_lost(
    site: Site, run: Run, client: AuditorClientBlocking, tmp_path: Path
):
    """Also what the ledger knows as sent: an Auditor restored from an old copy is mended."""
    site.log(*range(20))
    poll(site)
    run("outbox", "flush")
    ids = [f"jobs-{number}" for number in range(5, 20)]
    with sqlite3.connect(tmp_path / "auditor.db") as db:
        marks = ", ".join("?" * len(ids))
        db.execute(f"DELETE FROM record WHERE record_id IN ({marks})", ids)
    db.close()
    output = run("reconcile", *PERIOD, "--fix", status=1).output
    assert "15  missing" in output
    assert "15  put to be sent" in output
    run("outbox", "flush")
    run("reconcile", *PERIOD)


def test_reconcile_proves_nothing_when_a_side_cannot_be_read(site: Site, run: Run):
    """A source that is away is not an empty source."""
    assert "nothing is proven" in run("reconcile", *PERIOD, status=1).output


def test_many_rejected_jobs_are_retried_in_few_transactions(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
):
    """Those that can be mapped now, those that cannot; together they are all of them."""
    site.log(*range(1200), cores="many")
    site.log(*range(1200, 1210), cores="none")
    poll(site)
    rules = "mapping: {components: {Cores: {field: cores, matches: '^many$', table: {many: 8}}}}"
    site.config.write_text(site.config.read_text().replace("log: ", f"{rules}, log: ", 1))
    puts: list[int] = []
    put = Outbox.put

    def counted(outbox: Outbox, intake: Intake) -> PutResult:
        puts.append(len(intake.replaces_rejected))
        return put(outbox, intake)

    monkeypatch.setattr(Outbox, "put", counted)
    said = run("rejected", "retry", "--all", status=1).output.split()
    assert said == ["1200", "to", "be", "sent", "10", "still", "rejected"]
    assert sum(puts) == 1200
    assert len(puts) == 3
    assert len(run("rejected", "list").output.splitlines()) == 10
