"""With `mode: condor_history` schedds elsewhere are asked, and nothing is believed too early."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.config import ConfigError, parse
from collector.source import Batch, Source, find_plugin
from collector.source.testing import EVER, SourceContract
from tests.htcondor.cases import CASES, jobs, source_of
from tests.htcondor.polls import poll
from tests.htcondor.schedd import START, Schedd, ad
from tests.htcondor.standin import NOW_S, Pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


def fill(schedd: Schedd, clusters: Iterable[int]) -> None:
    for cluster in clusters:
        schedd.append(ad(cluster, EnteredCurrentStatus=START + 10 * cluster))


class TestContract(SourceContract):
    """Two schedds, several windows, jobs that never started, ads that cannot be read."""

    window_s = 40_000

    @pytest.fixture(autouse=True)
    def _pool(self, pool: Pool) -> None:
        self.pool = pool
        for name in ("ap1", "ap2"):
            schedd = pool.schedd(name)
            for cluster in range(1, 40):
                end: dict[str, Any] = {"EnteredCurrentStatus": START + 1000 * cluster}
                end["GlobalJobId"] = f'"{name}#{cluster}.0#{START}"'
                if cluster % 7 == 0:
                    end |= {"JobStatus": 3, "LastJobStatus": 1, "JobRunCount": None}
                    end |= {"NumShadowStarts": None}
                if cluster % 11 == 0:
                    end |= {"JobStatus": 9}
                schedd.append(ad(cluster, 0, **end))

    def source(self, context: Any) -> Source:
        return self.pool.source(
            context,
            schedd_names=["ap1", "ap2"],
            overlap_s=0,
            window_s=self.window_s,
            rescan_s=99_000,
        )

    def test_a_backfill_of_all_time_finds_what_the_polls_found(self) -> None:
        """In one window, since all time has many."""
        self.window_s = 10**10
        super().test_a_backfill_of_all_time_finds_what_the_polls_found()

    def test_backfills_of_neighbouring_periods_share_no_job(self) -> None:
        """Likewise."""
        self.window_s = 10**10
        super().test_backfills_of_neighbouring_periods_share_no_job()


def test_what_a_command_prints_gives_the_jobs_of_the_files(pool: Pool):
    """The captured history of a real pool: same ids, times and fields, whoever reads it."""
    shutil.copytree(CASES / "pool" / "input", pool.folder / "here")
    theirs = jobs(list(source_of("pool").poll(None)))
    ours = jobs(list(pool.source(window_s=10**9).backfill(*EVER)))
    merged = set()
    assert len(ours) > 200
    assert set(ours) == set(theirs)
    for number, job in ours.items():
        other = theirs[number]
        assert (job.id, job.start_at, job.stop_at) == (other.id, other.start_at, other.stop_at)
        assert job.fields.items() >= other.fields.items()
        if job.fields != other.fields:
            merged.add(number)
    assert merged == {"98.0"}, "two ads ran into one, which condor_history prints as one"


def test_the_stand_in_prints_what_the_real_commands_printed(pool: Pool):
    """The captured queue byte for byte; the captured history's jobs in the same order."""
    captured = (CASES / "queue" / "condor_q.long.txt").read_bytes()
    (pool.folder / "here").mkdir()
    (pool.folder / "here" / "queue").write_bytes(captured)
    shutil.copytree(CASES / "pool" / "input", pool.folder / "here", dirs_exist_ok=True)

    def printed(command: str) -> bytes:
        return subprocess.check_output([pool.folder / command, "-long"])

    assert printed("condor_q") == captured
    theirs = (CASES / "pool" / "condor_history.jsonl").read_text().splitlines()
    of = re.findall(r'(?m)^GlobalJobId = "(.*)"$', printed("condor_history").decode())
    assert of[: len(theirs)] == [json.loads(line)["GlobalJobId"] for line in theirs]


def test_of_a_job_that_stands_twice_the_first_writing_counts(pool: Pool):
    """`condor_history` prints it last; the second one has lost the wall-clock."""
    schedd = pool.schedd()
    schedd.append(ad(1, EnteredCurrentStatus=START + 10, Args='"first"'))
    schedd.append(ad(1, EnteredCurrentStatus=START + 17, Args='"second"'))
    [batch] = [batch for batch in pool.source().poll(None) if batch.jobs]
    assert [job.fields["Args"] for job in batch.jobs] == ["first", "second"]


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("unreachable", "exit status 1: Unable to locate remote schedd"),
        ("breaks off", "exit status 1: Failed to receive remote ad"),
        ("torn", "the output ends within an ad"),
        ("hangs", "gave nothing more"),
    ],
)
def test_a_schedd_that_fails_keeps_its_checkpoint_and_stops_no_other(
    pool: Pool, mood: str, said: str
):
    """Nothing of a broken answer is used; the error names the schedd; later all is read."""
    fill(pool.schedd("ap1"), range(1, 4))
    fill(pool.schedd("ap2"), range(11, 14))
    pool.set("ap1", mood=mood)
    keys: dict[str, Any] = {
        "schedd_names": ["ap1", "ap2"],
        "timeout_s": 1.5 if mood == "hangs" else 20,
    }
    found, checkpoint, error = poll(pool.source(**keys))
    assert found == ["11.0", "12.0", "13.0"]
    assert said in error
    assert "-name ap1" in error
    assert set(checkpoint["schedds"]) == {"ap2"}
    pool.set("ap1")
    found, checkpoint, error = poll(pool.source(**keys), checkpoint)
    assert error == ""
    assert found[:3] == ["1.0", "2.0", "3.0"]
    assert checkpoint["schedds"]["ap1"]["until"] == NOW_S - 5


def test_a_command_that_is_missing_is_told(pool: Pool):
    """With its path."""
    _, checkpoint, error = poll(pool.source(condor_history="/nowhere/condor_history"))
    assert checkpoint is None
    assert "/nowhere/condor_history cannot be run" in error


def test_a_history_with_a_malformed_ad_is_read_but_for_that(pool: Pool):
    """`condor_history` fails after it has printed all others; for ever, so we go on, and tell."""
    fill(pool.schedd("ap1"), range(1, 4))
    pool.set("ap1", mood="malformed")
    found, checkpoint, error = poll(pool.source(schedd_names=["ap1"]))
    assert (found, error) == (["1.0", "2.0", "3.0"], "")
    assert checkpoint["schedds"]["ap1"]["until"] == NOW_S - 5
    assert "schedd has unreadable history" in [log["event"] for log in pool.logs.entries]


@pytest.mark.parametrize("can_be_told", [True, False])
def test_the_limit_of_a_schedd_is_lifted_or_the_gap_is_told(
    pool: Pool,
    can_be_told: bool,
):
    """A schedd before 24.12 shows its newest ads only, and ends with status 0."""
    schedd = pool.schedd("ap1")
    fill(schedd, [1, 2])
    pool.set("ap1", scans=1000, can_be_told=can_be_told)
    source = pool.source(schedd_names=["ap1"], window_s=10**7)
    before, checkpoint, _ = poll(source)
    assert before == ["1.0", "2.0"]
    pool.now_s += 50_000
    lines = [
        ad(n, EnteredCurrentStatus=NOW_S + n, Cmd=None, Args=None) + b"*** Offset = 0\n"
        for n in range(3, 1103)
    ]
    with schedd.history.open("ab") as history:
        history.write(b"".join(lines))
    found, checkpoint, error = poll(source, checkpoint)
    again, _, _ = poll(source, checkpoint)
    gaps = [log for log in pool.logs.entries if log["log_level"] == "error"]
    assert error == ""
    if can_be_told:
        assert len(set(found) - set(before)) == 1100
        assert gaps == []
    else:
        assert len(found) == 1000
        [gap] = gaps
        assert gap["schedd"] == "ap1"
        assert "HISTORY_HELPER_MAX_HISTORY" in gap["hint"]
        assert gap["read_until"] == datetime.fromtimestamp(NOW_S - 5, UTC).isoformat()
    assert set(again) <= set(found)


def test_what_leaves_the_queue_late_is_found_by_overlap_and_rescan(pool: Pool):
    """Its end lies before the window that was read last."""
    schedd = pool.schedd()
    fill(schedd, [1])
    source = pool.source(overlap_s=1000, rescan_s=200_000, rescan_interval_s=10_000)
    _, checkpoint, _ = poll(source)
    schedd.append(ad(2, EnteredCurrentStatus=NOW_S - 500))
    schedd.append(ad(3, EnteredCurrentStatus=NOW_S - 50_000))
    pool.now_s += 60
    found, checkpoint, _ = poll(source, checkpoint)
    assert found == ["2.0"]
    pool.now_s += 10_000
    found, checkpoint, _ = poll(source, checkpoint)
    assert "3.0" in found
    found, _, _ = poll(source, checkpoint)
    assert "3.0" not in found


@pytest.mark.parametrize("ahead_s", [7200, 10**8])
def test_a_clock_that_was_ahead_makes_no_job_wait_or_be_lost(pool: Pool, ahead_s: int):
    """Polls had read "all" up to a time to come; set back, the clock does not come there soon."""
    source = pool.source(overlap_s=1000, rescan_s=200_000, rescan_interval_s=10_000)
    fill(pool.schedd(), [1])
    pool.now_s += ahead_s
    _, checkpoint, _ = poll(source)
    pool.now_s -= ahead_s - 3600
    pool.schedd().append(ad(2, EnteredCurrentStatus=NOW_S + 2000))
    found, checkpoint, _ = poll(source, checkpoint)
    assert "2.0" in found
    pool.now_s += 2000
    found, _, _ = poll(source, checkpoint)
    assert found == []


def test_jobs_that_are_not_accounted_are_counted_once(pool: Pool):
    """Although the overlap reads them again."""
    idle = {"JobStatus": 3, "LastJobStatus": 1, "JobRunCount": None, "NumShadowStarts": None}
    pool.schedd().append(ad(1, EnteredCurrentStatus=NOW_S - 100, **idle))  # type: ignore[arg-type]
    source = pool.source(overlap_s=1000)
    first = list(source.poll(None))
    again = list(source.poll(first[-1].checkpoint))
    counted = [sum(b.filtered.get("never started", 0) for b in one) for one in (first, again)]
    assert counted == [1, 0]


def test_a_backfill_finds_a_run_whose_job_was_removed_after_the_period(pool: Pool):
    """Held in the period, removed days later: the run ended when it was held."""
    removed = {"JobStatus": 3, "LastJobStatus": 5, "EnteredCurrentStatus": START + 90_000}
    schedd = pool.schedd()
    schedd.append(ad(1, **removed))
    schedd.append(ad(2, EnteredCurrentStatus=START + 90_001))
    since = datetime.fromtimestamp(START, UTC)
    batches: list[Batch] = list(pool.source().backfill(since, since + timedelta(hours=1)))
    assert list(jobs(batches)) == ["1.0"]
    assert batches[-1].progress == 1.0


def test_pool_schedd_and_constraint_reach_the_command_as_they_are(pool: Pool):
    """As arguments, whatever stands in them; the anchor is asked for beside the constraint."""
    schedd = pool.schedd("ap1")
    fill(schedd, [1])
    schedd.append(ad(2, EnteredCurrentStatus=START + 20, Owner='"$(id); x"'))
    keys: dict[str, Any] = {
        "schedd_names": ["ap1"],
        "pool": "cm:9618",
        "constraint": 'Owner != "$(id); x"',
    }
    source = pool.source(**keys)
    found, checkpoint, _ = poll(source)
    assert found == ["1.0"]
    arguments = pool.called()[-1]
    assert arguments[:7] == [
        "condor_history", "-pool", "cm:9618", "-name", "ap1", "-scanlimit", "2000000000",
    ]  # fmt: skip
    poll(source, checkpoint)
    asked = pool.called()[-1][-1]
    assert (
        f"(EnteredCurrentStatus >= {NOW_S - 1805} && EnteredCurrentStatus < {NOW_S - 5})" in asked
    )
    assert '&& (Owner != "$(id); x")' in asked
    assert asked.endswith(f' || GlobalJobId == "ap1.lab.example#1.0#{START}"')


def test_nobody_hides_a_job_by_the_time_of_its_last_state(pool: Pool):
    """Its owner can edit EnteredCurrentStatus: last contact and leaving are asked for too."""
    contact: dict[str, Any] = {
        "LastJobLeaseRenewal": START + 40,
        "StartdPrincipal": '"x"',
        "LastRemoteHost": '"y"',
    }
    pool.schedd("ap1").append(ad(1, EnteredCurrentStatus=START - 10**7, **contact))
    found, _, _ = poll(pool.source(schedd_names=["ap1"]))
    assert found == ["1.0"]


def test_an_id_that_is_an_expression_is_no_anchor(pool: Pool):
    """It would become part of the next question."""
    hostile = '"ap1" == "ap1" || true'
    pool.schedd("ap1").append(ad(1, EnteredCurrentStatus=NOW_S - 100, GlobalJobId=hostile))
    source = pool.source(schedd_names=["ap1"])
    _, checkpoint, _ = poll(source)
    poll(source, checkpoint)
    assert "true" not in pool.called()[-1][-1]


def test_a_rejected_ad_is_reported_once(pool: Pool):
    """Polls overlap."""
    pool.schedd("ap1").append(ad(1, EnteredCurrentStatus=NOW_S - 100, JobStatus=2))
    source, checkpoint, reported = pool.source(schedd_names=["ap1"]), None, 0
    for _ in range(3):
        pool.now_s += 60
        for batch in source.poll(checkpoint):
            reported += len(batch.unreadable)
            checkpoint = batch.checkpoint
    assert reported == 1


def test_a_check_tells_which_schedd_answers(pool: Pool):
    """One finding each."""
    fill(pool.schedd("ap1"), [1])
    pool.set("ap2", mood="unreachable")
    findings = list(pool.source(schedd_names=["ap1", "ap2"]).check())
    assert [finding.ok for finding in findings[:2]] == [True, False]
    assert "ap2" in findings[1].text


@pytest.mark.parametrize("name", ["-name", "a b", ""])
def test_a_name_that_could_be_an_option_is_refused(name: str):
    """In the configuration, with its key path."""
    text = (
        "sources: [{name: x, plugin: htcondor, record_prefix: x, mode: condor_history, "
        f"schedd_names: ['{name}']}}]"
    )
    with pytest.raises(ConfigError, match="schedd_names"):
        parse(text, find_plugin)
