"""A reconciliation knows its own records from those of others, and what it cannot know."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.config import parse
from collector.embedded.server import running
from collector.pipeline.reconcile import Reconciliation
from collector.pipeline.sources import MappedSource, make_sources
from collector.record import Record
from collector.source import find_plugin
from collector_htcondor.identity import schedd_of
from collector_slurm.jobid import Identity
from tests.htcondor.schedd import START, Schedd, ad

DAY = datetime.fromtimestamp(START, UTC).replace(hour=0, minute=0, second=0)
NOW = DAY + timedelta(days=2)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[AuditorClientBlocking]:
    with (
        running(tmp_path / "auditor.db") as url,
        AuditorClientBuilder().connection_string(url).build_blocking() as client,
    ):
        yield client


def sources(tmp_path: Path, keys: str) -> list[MappedSource]:
    text = f"sources: [{{name: a, record_prefix: cern, {keys}}}]\nauditor: {{url: 'http://a'}}\n"
    config = parse(text, find_plugin, tmp_path / "config.yaml")
    return make_sources(config, structlog.get_logger(), threading.Event(), lambda: NOW)


def found(
    mapped: list[MappedSource],
    client: AuditorClientBlocking,
    since: datetime = DAY - timedelta(days=1),
    until: datetime = NOW,
) -> list[tuple[str, str | None]]:
    work = Reconciliation(mapped, client, since, until, now=lambda: NOW)
    try:
        return sorted((one.kind, one.record_id) for one in work.differences())
    finally:
        work.close()


def stored(client: AuditorClientBlocking, *ids: str) -> None:
    client.bulk_insert([Record(one, DAY, DAY + timedelta(hours=1), None, []) for one in ids])


def history(tmp_path: Path) -> list[MappedSource]:
    return sources(tmp_path, f"plugin: htcondor, history: {tmp_path / 'history'}")


def sent(mapped: list[MappedSource], client: AuditorClientBlocking) -> None:
    """The Auditor holds what the source says."""
    for batch in mapped[0].source.backfill(DAY - timedelta(days=1), NOW):
        client.bulk_insert([mapped[0].mapping.record(job) for job in batch.jobs])


def test_a_longer_prefix_is_somebody_elses(tmp_path: Path, client: AuditorClientBlocking):
    """`cern-prod-ap9#…` is a record of the prefix `cern-prod`, not of a schedd `prod-ap9`."""
    schedd = Schedd(tmp_path)
    for cluster in range(1, 4):
        schedd.append(ad(cluster))
    mapped = history(tmp_path)
    sent(mapped, client)
    stored(client, "cern-prod-ap9#1.0#1795459561", "cern-lab-31", "cern-31")
    assert found(mapped, client) == []


def test_a_record_of_our_schedd_that_the_history_lacks_is_extra(
    tmp_path: Path, client: AuditorClientBlocking
):
    """Also where the period holds no job of the source: its newest jobs say whose it is."""
    Schedd(tmp_path).append(ad(1))
    mapped = history(tmp_path)
    sent(mapped, client)
    (job,) = mapped[0].source.newest(1)
    ours = f"cern-{schedd_of(job.id)}#77.0#1795459561"  # type: ignore[union-attr]
    stored(client, ours, "cern-prod-ap9#1.0#1795459561")
    assert found(mapped, client) == [("extra", ours)]


def test_days_that_are_to_come_are_not_asked_for(
    tmp_path: Path, client: AuditorClientBlocking, monkeypatch: pytest.MonkeyPatch
):
    """A period until the year 2100 costs a request a day until tomorrow, not 27,000."""
    Schedd(tmp_path).append(ad(1))
    mapped = history(tmp_path)
    sent(mapped, client)
    asked: list[str] = []
    query = client.stream_query

    def counted(text: str) -> Iterator[Record]:
        asked.append(text)
        return query(text)

    monkeypatch.setattr(client, "stream_query", counted)
    assert found(mapped, client, until=datetime(2100, 1, 1, tzinfo=UTC)) == []
    assert len(asked) <= 4


def test_files_that_are_removed_after_reading_cannot_be_compared(
    tmp_path: Path, client: AuditorClientBlocking
):
    """Their records are not called extra; that nothing is proved is a difference."""
    stored(client, "cern-ap1#1.0#1795459561")
    keys = f"plugin: htcondor, mode: per_job, remove: true, per_job_history: {tmp_path}"
    assert found(sources(tmp_path, keys), client) == [("cannot tell", None)]


@pytest.mark.parametrize(
    ("cluster", "job_id", "named"),
    [
        (False, "31", ""),
        (False, "38_7", ""),
        (False, "42+1-1700000000", ""),
        (False, "lab-31", None),
        (False, "31.batch", None),
        (True, "lab-31", "lab"),
        (True, "my-lab-31-1700000000", "my-lab"),
        (True, "31", None),
    ],
)
def test_an_id_of_slurm_names_its_cluster_if_it_has_one(
    cluster: bool, job_id: str, named: str | None
):
    """So `slurm-lab-31` is no record of a source with the prefix `slurm` and one cluster."""
    assert Identity(cluster=cluster).cluster_of(job_id) == named


def test_an_id_of_htcondor_names_its_schedd():
    """Of a first run and of a further one; other texts are nobody's."""
    assert schedd_of("ap1.example.org#7.0#1795459561") == "ap1.example.org"
    assert schedd_of("slot@ap1#7.0#1795459561#1795459999") == "slot@ap1"
    assert schedd_of("31") is None
