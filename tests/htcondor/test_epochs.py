"""With `mode: epochs` every run of a job is a record of its own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.config import OutboxSection, mapping_of
from collector.outbox import Outbox
from collector.pipeline.collect import Collected, store
from collector.pipeline.sources import MappedSource
from collector.record import decode
from collector.source import Job, Unreadable, find_plugin
from collector_htcondor.epochs import NO_END, EpochReader
from collector_htcondor.universes import NAMES
from tests.htcondor.cases import source_of
from tests.htcondor.schedd import START, ad

ALL = list(NAMES.values())
BANNER = b'*** %s ClusterId=1 ProcId=0 RunInstanceId=0 Owner="labalice" CurrentTime=1795459585'


def epoch(kind: bytes = b"EPOCH", **attributes: str | int | None) -> bytes:
    ended = {"EpochWriteDate": START + 4, "JobStatus": 2, "EnteredCurrentStatus": START}
    return b"\n" + ad(1, 0, **{**ended, **attributes}) + BANNER % kind


def read(raw: bytes, **keys: object) -> Job | Unreadable | str:
    return EpochReader(None, **keys).job(raw, "here")  # type: ignore[arg-type]


def runs() -> dict[str, list[float]]:
    """Seconds of each run of the captured epoch history, by job; the first report of a run."""
    found: dict[str, dict[str, float]] = {}
    for batch in source_of("epochs").poll(None):
        for job in batch.jobs:
            assert job.stop_at is not None
            lasted = (job.stop_at - job.start_at).total_seconds()
            found.setdefault(job.id.split("#")[1], {}).setdefault(job.id, lasted)
    return {number: list(of_job.values()) for number, of_job in found.items()}


@pytest.mark.parametrize(
    ("number", "lasted"),
    [
        ("2.0", [4]),
        ("26.0", [9, 0, 33]),
        ("27.0", [9, 64]),
        ("34.0", [4, 4, 3, 3]),
        ("107.0", [9]),
        ("64.0", [6]),
        ("99.0", [60]),
        ("110.0", [60]),
        ("98.1", [2, 2]),
    ],
)
def test_every_run_has_its_own_record(number: str, lasted: list[float]):
    """Evicted and retried ones too; a run that two shadows report (98.1) is one."""
    assert runs()[number] == lasted


def test_a_job_with_one_run_has_the_id_that_the_history_gives_it():
    """So changing the mode does not account it twice."""
    first = read(epoch())
    later = read(epoch(JobCurrentStartDate=START + 2))
    assert isinstance(first, Job)
    assert isinstance(later, Job)
    assert first.id == f"ap1.lab.example#1.0#{START}"
    assert later.id == f"ap1.lab.example#1.0#{START}#{START + 2}"


def test_the_history_has_the_runs_that_no_epoch_ad_ends(tmp_path: Path):
    """With `run: named` beside it each run is recorded once; 53.0 was removed with -forcex."""
    now, limits = datetime.now(UTC), OutboxSection(min_free_bytes=0)
    with Outbox.open(tmp_path / "o.db", now=lambda: now, limits=limits) as outbox:
        for case, run in (("epochs", "last"), ("pool", "named")):
            mapping = mapping_of(source_of(case).section, find_plugin("htcondor"))
            mapped = MappedSource(
                source_of(case, frozenset(mapping.fields), run=run, universes=ALL), mapping
            )
            total = Collected()
            for batch in mapped.source.poll(None):
                store(batch, mapped, outbox, total, origin="poll")
            assert total.rejected == 0
        records = [decode(one.body) for one in outbox.take(10_000, 10**9, now)]
    of_jobs: dict[str, list[float]] = {}
    for record in sorted(records, key=lambda record: record.start_time):
        assert record.stop_time is not None
        lasted = (record.stop_time - record.start_time).total_seconds()
        of_jobs.setdefault(record.record_id.split("#")[1], []).append(lasted)
    assert {number: of_jobs[number] for number in runs()} == runs()
    assert (of_jobs["53.0"], of_jobs["30.0"], of_jobs["31.0"]) == ([15], [4], [4])


@pytest.mark.parametrize("kind", [b"SPAWN", b"INPUT", b"OUTPUT", b"CHECKPOINT"])
def test_only_the_end_of_a_run_is_accounted(kind: bytes):
    """Its start and its file transfers are counted as what they are."""
    assert read(epoch(kind)) == NO_END


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GlobalJobId", None),
        ("EpochWriteDate", None),
        ("EpochWriteDate", 5),
    ],
)
def test_a_run_without_its_times_is_refused(name: str, value: int | None):
    """With the attribute and what was expected."""
    found = read(epoch(**{name: value}))  # type: ignore[arg-type]
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(name)


@pytest.mark.parametrize("start", [5, START + 10**6])
def test_a_run_without_any_start_is_refused(start: int):
    """Its own start is impossible, and so is its match."""
    found = read(epoch(JobCurrentStartDate=start, LastMatchTime=start))
    assert isinstance(found, Unreadable)
    assert found.reason.startswith("JobCurrentStartDate")


def test_a_clock_that_was_set_back_gives_no_negative_run():
    """A run that seems to end before it began lasts 0 s."""
    job = read(epoch(EpochWriteDate=START - 100))
    assert isinstance(job, Job)
    assert job.start_at == job.stop_at == datetime.fromtimestamp(START, UTC)


def test_impossible_values_are_named_and_can_be_refused():
    """As with the history."""
    flagged = read(epoch(CompletionDate=5))
    assert isinstance(flagged, Job)
    assert flagged.fields["Suspicious"] == "CompletionDate"
    assert isinstance(read(epoch(CompletionDate=5), suspicious="reject"), Unreadable)
