"""With `mode: per_job` each file of the directory is a job; files go only when that is stored."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.config import ConfigError, parse
from collector.source import Source, SourceError, find_plugin
from collector.source.testing import SourceContract
from collector_htcondor import per_job
from tests.htcondor.cases import CASES, jobs, source_of
from tests.htcondor.per_job_files import write
from tests.htcondor.schedd import START, ad
from tests.htcondor.standin import Pool


def source(folder: Path, given: Any = None, **keys: Any) -> Source:
    return Pool(folder.parent).source(given, mode="per_job", per_job_history=folder, **keys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "jobs"
    found.mkdir()
    return found


def poll(source: Source, checkpoint: Any) -> tuple[list[str], Any]:
    found: list[str] = []
    for batch in source.poll(checkpoint):
        found += [job.id.split("#")[1] for job in batch.jobs]
        checkpoint = batch.checkpoint
    return found, checkpoint


class TestContract(SourceContract):
    """Jobs, some that never started, some that cannot be read, in several batches."""

    @pytest.fixture(autouse=True)
    def _files(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(per_job, "_BATCH_FILES", 7)
        self.folder = folder
        for cluster in range(1, 40):
            end: dict[str, Any] = {"EnteredCurrentStatus": START + 10 * cluster}
            if cluster % 7 == 0:
                end |= {"JobStatus": 3, "LastJobStatus": 1, "JobRunCount": None}
                end |= {"NumShadowStarts": None}
            if cluster % 11 == 0:
                end |= {"GlobalJobId": None}
            write(folder, cluster, **end)

    def source(self, context: Any) -> Source:
        return source(self.folder, context)


def test_a_file_makes_the_job_that_the_history_makes(folder: Path):
    """The same ad, in another order and without a banner: id, times and fields are equal."""
    theirs = source_of("pool")
    ours = source(folder)
    for batch in theirs.poll(None):
        for job in batch.jobs:
            lines = sorted(bytes(job.raw).split(b"\n*** ")[0].strip(b"\n").split(b"\n"))
            same = ours.parse(b"\n" + b"\n".join(lines), job.where)
            job.raw = getattr(same, "raw", b"")
            assert same == job


def test_captured_files_make_the_jobs_of_the_captured_history(tmp_path: Path):
    """What a real schedd wrote in both ways; of 102.0, written twice, the file is the second."""
    theirs = jobs(list(source_of("pool").poll(None)))
    found = Pool(tmp_path).source(mode="per_job", per_job_history=CASES / "per_job")
    ours = jobs(list(found.poll(None)))
    assert len(ours) == 6
    for number, job in ours.items():
        assert job.id == theirs[number].id
        assert job.start_at == theirs[number].start_at
        if number != "102.0":
            assert job.stop_at == theirs[number].stop_at
            assert job.fields.items() >= theirs[number].fields.items()


def test_files_are_removed_in_the_poll_after_their_checkpoint_was_stored(folder: Path):
    """Never before; so a crash in between loses nothing."""
    path = write(folder, 1)
    removing = source(folder, remove=True)
    found, checkpoint = poll(removing, None)
    assert found == ["1.0"]
    assert path.exists()
    found, _ = poll(removing, None)
    assert found == ["1.0"], "the checkpoint was not stored: read again"
    assert path.exists()
    write(folder, 2)
    found, checkpoint = poll(removing, checkpoint)
    assert found == ["2.0"]
    assert not path.exists()
    found, _ = poll(removing, checkpoint)
    assert list(folder.iterdir()) == []


def test_a_file_that_was_written_anew_is_not_removed_unread(folder: Path):
    """A reinstalled schedd begins with job 1.0 again."""
    write(folder, 1)
    removing = source(folder, remove=True)
    _, checkpoint = poll(removing, None)
    again = write(folder, 1, written_s=START + 5000, made=START + 4000, QDate=START + 4000,
                  JobStartDate=START + 4001, JobCurrentStartDate=START + 4001,
                  EnteredCurrentStatus=START + 5000)  # fmt: skip
    found, _ = poll(removing, checkpoint)
    assert found == ["1.0"]
    assert again.exists()


def test_files_are_kept_unless_asked_for_and_read_once(folder: Path):
    """Also one that appears a little late, and none that is still written."""
    write(folder, 1, START + 100)
    keeping = source(folder)
    found, checkpoint = poll(keeping, None)
    for name in (".history.9.0.tmp", "history.9.0.bak", "xhistory.9.0"):
        (folder / name).write_bytes(ad(9))
    write(folder, 2, START + 70)
    write(folder, 3, START + 100)
    found, checkpoint = poll(keeping, checkpoint)
    assert found == ["2.0", "3.0"]
    assert poll(keeping, checkpoint) == ([], checkpoint)
    assert len(list(folder.glob("history.[123].0"))) == 3


def test_a_clock_that_was_ahead_makes_no_file_wait_or_be_lost(folder: Path):
    """Be it the schedd's, or that of the collector too: later files have an earlier time."""
    pool = Pool(folder.parent)
    keeping = pool.source(mode="per_job", per_job_history=folder)
    write(folder, 1, pool.now_s + 9000)  # by a schedd, or a file server, that is ahead
    found, checkpoint = poll(keeping, None)
    assert found == ["1.0"]
    write(folder, 2, pool.now_s - 5)
    found, checkpoint = poll(keeping, checkpoint)
    assert found == ["2.0"]
    pool.now_s += 9000
    write(folder, 3, pool.now_s)
    found, checkpoint = poll(keeping, checkpoint)
    assert found == ["3.0"]
    pool.now_s -= 8000
    write(folder, 4, pool.now_s - 500)
    found, checkpoint = poll(keeping, checkpoint)
    assert "4.0" in found
    assert poll(keeping, checkpoint) == ([], checkpoint)


def test_what_a_kept_directory_leaves_in_the_checkpoint_is_bounded(folder: Path):
    """Names of the last minute, not of all time."""
    for cluster in range(1, 50):
        write(folder, cluster, START + 100 * cluster)
    _, checkpoint = poll(source(folder), None)
    assert list(checkpoint["read"]) == ["history.49.0"]


def test_a_backfill_removes_nothing_and_counts_its_period_only(folder: Path):
    """Filtered and unreadable files of other days are not counted."""
    idle = {"JobStatus": 3, "LastJobStatus": 1, "JobRunCount": None, "NumShadowStarts": None}
    for day in range(4):
        at = {"EnteredCurrentStatus": START + 86400 * day + 10}
        write(folder, 10 * day + 1, **at)
        write(folder, 10 * day + 2, **at, **idle)
        write(folder, 10 * day + 3, **at, JobStatus=2)
    since = datetime.fromtimestamp(START + 86400, UTC)
    batches = list(source(folder, remove=True).backfill(since, since + timedelta(days=1)))
    assert list(jobs(batches)) == ["11.0"]
    assert sum(batch.read for batch in batches) == 3
    assert len(list(folder.iterdir())) == 12


def test_a_check_tells_what_is_there_and_who_cleans_up(folder: Path):
    """And a directory that is not there."""
    write(folder, 1)
    findings = list(source(folder).check())
    assert "1 files, the oldest of 2026-11-23" in findings[0].text
    assert "remove: true" in findings[1].text
    finding, *_ = source(folder / "none").check()
    assert not finding.ok
    assert "PER_JOB_HISTORY_DIR" in finding.text
    with pytest.raises(SourceError, match="PER_JOB_HISTORY_DIR"):
        list(source(folder / "none").poll(None))


def test_removing_goes_with_this_mode_only():
    """HTCondor's other files are not ours to remove."""
    text = "sources: [{name: x, plugin: htcondor, record_prefix: x, remove: true}]"
    with pytest.raises(ConfigError, match="remove: goes with mode: per_job"):
        parse(text, find_plugin)
