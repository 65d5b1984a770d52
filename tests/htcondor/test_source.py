"""The source as the host sees it: the contract, backfills, checks, and the sums of a real pool."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from collector.config import mapping_of
from collector.source import Context, Source, SourceError, find_plugin
from collector.source.testing import EVER, SourceContract, context
from collector_htcondor import rotation
from collector_htcondor.source import HTCondorSection, HTCondorSource
from collector_htcondor.universes import NAMES
from tests.htcondor.cases import CASES, jobs, source_of
from tests.htcondor.schedd import START, Schedd, ad

ALL = list(NAMES.values())


def source_on(folder: Path, given: Context | None = None) -> HTCondorSource:
    section = HTCondorSection(
        name="ap1", plugin="htcondor", record_prefix="ap1", history=folder / "history"
    )
    return HTCondorSource(section, given or context())


class TestContract(SourceContract):
    """Rotated files, never-started jobs, unreadable ads, a torn end and one in the middle."""

    @pytest.fixture(autouse=True)
    def _history(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rotation, "CHUNK_BYTES", 8_000)
        self.folder = tmp_path
        schedd = Schedd(tmp_path, limit_bytes=15_000, rotations=99)
        for cluster in range(1, 60):
            end: dict[str, int | None] = {"EnteredCurrentStatus": START + 10 * cluster}
            if cluster % 7 == 0:
                end |= {"JobStatus": 3, "LastJobStatus": 1, "JobRunCount": None}
                end |= {"NumShadowStarts": None}
            if cluster % 11 == 0:
                end |= {"GlobalJobId": None}
            if cluster % 23 == 0:
                schedd.append(ad(cluster, 0, **end), torn_at=300)
            schedd.append(ad(cluster, 0, **end))
        schedd.append(ad(99), torn_at=200)
        schedd.rotate()
        schedd.append(ad(99))

    def source(self, context: Context) -> Source:
        return source_on(self.folder, context)


def test_a_backfill_reads_what_ended_in_the_period(tmp_path: Path):
    """From its begin on, up to but not including its end, over rotated and current files."""
    schedd = Schedd(tmp_path, limit_bytes=5_000, rotations=99)
    for cluster in range(1, 30):
        schedd.append(ad(cluster, EnteredCurrentStatus=START + 10 * cluster))
    since = datetime.fromtimestamp(START + 100, UTC)
    batches = source_on(tmp_path).backfill(since, since + timedelta(seconds=50))
    assert list(jobs(list(batches))) == ["10.0", "11.0", "12.0", "13.0", "14.0"]


def test_a_check_says_what_is_there_and_how_far_back_it_reaches(tmp_path: Path):
    """Files, bytes, the oldest job, and what limits them."""
    schedd = Schedd(tmp_path)
    schedd.append(ad(1))
    schedd.rotate()
    schedd.append(ad(2))
    finding, *_ = source_on(tmp_path).check()
    assert finding.ok
    assert "2 history files" in finding.text
    assert "2026-11-23 18:47:41+00:00" in finding.text
    assert "MAX_HISTORY_ROTATIONS" in finding.text


def test_a_check_tells_why_the_history_cannot_be_read(tmp_path: Path):
    """A missing folder, and a file that is none; a history may be yet to come."""
    finding, *_ = source_on(tmp_path / "nowhere").check()
    assert not finding.ok
    assert "condor_config_val -subsystem SCHEDD HISTORY" in finding.text
    finding, *_ = source_on(tmp_path).check()
    assert finding.ok
    assert "not there yet" in finding.text
    (tmp_path / "history").mkdir()
    finding, *_ = source_on(tmp_path).check()
    assert not finding.ok
    assert "Is a directory" in finding.text
    with pytest.raises(SourceError, match="cannot be read"):
        list(source_on(tmp_path).poll(None))


def test_parse_refuses_what_is_no_job(tmp_path: Path):
    """A job that is not accounted, read again on request, says why."""
    schedd = Schedd(tmp_path)
    schedd.append(ad(1, JobStatus=3, LastJobStatus=1, JobRunCount=None, NumShadowStarts=None))
    found = source_on(tmp_path).parse(b"\n" + schedd.history.read_bytes()[:-1], "history:0")
    assert getattr(found, "reason", None) == "never started"


def test_the_default_mapping_names_only_fields_that_exist():
    """Each is an attribute of captured ads, or one that the plugin adds."""
    fields = mapping_of(source_of("pool").section, find_plugin("htcondor")).fields
    seen: set[str] = set()
    for case in ("pool", "spoofed"):
        for batch in source_of(case).poll(None):
            seen.update(*(job.fields for job in batch.jobs))
    of_tokens = {name for name in fields if "AuthToken" in name}  # no captured job had one
    assert fields - seen == of_tokens


class TestPool:
    """The captured history, against what HTCondor's own `condor_history` printed of it."""

    theirs = tuple(
        json.loads(line)
        for line in (CASES / "pool" / "condor_history.jsonl").read_text().splitlines()
    )
    lost_s: ClassVar[dict[str, int]] = {
        "53.0": 15,
        "98.0": 6,
        "99.0": 6,
        "101.0": 45,
        "102.1": 9,
        "103.0": 9,
        "110.0": 12,
        "110.1": 12,
        "65.0": -12345,
    }
    """Seconds of wall-clock that the schedd forgot over crashes; or a user invented (65.0)."""

    @staticmethod
    def number(ad: dict[str, Any]) -> str:
        return str(ad["GlobalJobId"]).split("#")[1]

    def ran(self) -> dict[str, dict[str, Any]]:
        """Their ads of jobs that ran here, newest first, so that the first of a job wins."""
        return {
            self.number(one): one
            for one in self.theirs
            if (one.get("NumShadowStarts") or one["JobUniverse"] == 7)
            and not ("RoutedToJobId" in one and "LastMatchTime" not in one)
        }

    def test_every_ad_is_recorded_or_filtered(self):
        """By kind as many as condor_history has; the first 52 ads it had no longer."""
        batches = list(source_of("pool", universes=ALL).poll(None))
        assert sum(batch.read for batch in batches) == 347
        assert sum(len(batch.unreadable) for batch in batches) == 0
        ours = jobs(batches)
        ran = self.ran()
        assert len(self.theirs) == 347 - 52
        assert set(ran) <= set(ours)
        not_ran = {self.number(one) for one in self.theirs} - set(ran)
        assert not not_ran & set(ours)

        kinds = Counter((one["JobStatus"], one["JobUniverse"]) for one in ran.values())
        fields = [ours[number].fields for number in ran]
        assert Counter((one["JobStatus"], one["JobUniverse"]) for one in fields) == kinds

    @pytest.mark.parametrize("by", ["Owner", "AcctGroup"])
    def test_runs_wall_clock_and_cpu_are_equal_to_the_second(self, by: str):
        """By user and by group, beside the seconds that the schedd forgot when it was killed."""
        ours, theirs = Counter[tuple[Any, str]](), Counter[tuple[Any, str]]()
        polled = jobs(list(source_of("pool", run="total", universes=ALL).poll(None)))
        for number, one in self.ran().items():
            who, job = one.get(by), polled[number]
            theirs[who, "runs"] += 1
            theirs[who, "s"] += round(one["RemoteWallClockTime"]) + self.lost_s.get(number, 0)
            theirs[who, "cpu s"] += one["CumulativeRemoteUserCpu"] + one["CumulativeRemoteSysCpu"]
            who = job.fields.get(by)
            ours[who, "runs"] += 1
            ours[who, "s"] += round((job.stop_at - job.start_at).total_seconds())
            ours[who, "cpu s"] += job.fields["RunUserCpu"] + job.fields["RunSysCpu"]
        assert ours == theirs
        assert ours["labbob" if by == "Owner" else "group_cms", "s"] > 100

    def test_computed_attributes_are_theirs(self):
        """MemoryUsage is an expression: condor_history prints it, we compute it."""
        ours = jobs(list(source_of("pool", universes=ALL).poll(None)))
        for number in self.ran():
            rss = ours[number].fields.get("ResidentSetSize")
            expected = None if rss is None else (rss + 1023) // 1024
            assert ours[number].fields.get("MemoryUsage") == expected


def test_jobs_of_all_time_are_within_the_contract_tests_period():
    """What the captures hold is what a backfill of all time finds."""
    polled = jobs(list(source_of("pool", universes=ALL).poll(None)))
    assert jobs(list(source_of("pool", universes=ALL).backfill(*EVER))) == polled


def test_a_backfill_counts_what_is_of_its_period_only(tmp_path: Path):
    """Jobs that never started, or cannot be read, of other days are not counted."""
    idle = {"JobStatus": 3, "LastJobStatus": 1, "JobRunCount": None, "NumShadowStarts": None}
    schedd = Schedd(tmp_path)
    for day in range(4):
        at = {"EnteredCurrentStatus": START + 86400 * day + 10}
        schedd.append(ad(10 * day + 1, **at))
        schedd.append(ad(10 * day + 2, **at, **idle))  # type: ignore[arg-type]
        schedd.append(ad(10 * day + 3, **at, JobStatus=2))
    since = datetime.fromtimestamp(START + 86400, UTC)
    [batch] = source_on(tmp_path).backfill(since, since + timedelta(days=1))
    assert len(batch.jobs) == 1
    assert batch.filtered == {"never started": 1}
    assert len(batch.unreadable) == 1


@pytest.mark.parametrize("mode", ["history", "epochs", "per_job", "condor_history"])
def test_a_checkpoint_of_another_mode_is_refused(mode: Any):
    """With what to do, and before anything is read."""
    of_another: Any = {"schedds": {}} if mode != "condor_history" else {"files": []}
    section = HTCondorSection(name="ap1", plugin="htcondor", record_prefix="ap1", mode=mode)
    with pytest.raises(SourceError, match=f"mode: {mode} .* another name"):
        list(HTCondorSource(section, context()).poll(of_another))
