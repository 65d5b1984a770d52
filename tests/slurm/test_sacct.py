"""Windows of sacct: every ended run, under the same id whatever was read before, never half."""

import itertools
import json
import os
import pwd
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.config import ConfigError, parse
from collector.source import Batch, SourceError, find_plugin
from collector_slurm import sacct
from collector_slurm.source import SlurmSource
from tests.slurm.standin import (
    CAPTURED_AT,
    captured,
    filtered,
    jobs,
    program,
    quiet,
    row,
    source,
    standin,
    written,
)

END = 1795478160
NOW = datetime.fromtimestamp(END + 60, UTC)


def over(folder: Path, *rows: dict[str, str], now: datetime = NOW, **keys: Any) -> SlurmSource:
    """A source over rows, and a job that still runs, at a time."""
    rows = (*rows, row("1", State="RUNNING", End="Unknown"))
    return source(quiet(now), sacct=standin(folder, written(folder, rows)), **keys)


def calls(
    folder: Path, doing: str = "", until: datetime | None = None, **keys: Any
) -> list[list[str]]:
    """The windows' command lines of a poll, or of a backfill of the last hour, without jobs."""
    script = (
        f'[ "$1" = --helpformat ] && exec cat {folder}/columns; {doing} echo "$@" >> {folder}/calls'
    )
    (folder / "columns").write_text(" ".join(row("1")))
    sacct = program(folder, script)
    given = source(quiet(NOW), sacct=sacct, **keys)
    list(given.backfill(NOW - timedelta(hours=1), until) if until else given.poll(None))
    return [line.split() for line in (folder / "calls").read_text().splitlines()]


def yielded(polled: Iterable[Batch], into: list[Batch]) -> list[Batch]:
    """Keeps what a poll yields, also if it fails later."""
    for batch in polled:
        into.append(batch)  # noqa: PERF402 - one by one, for that
    return []


def logged(folder: Path, sacct: str) -> tuple[str, Path]:
    """The same `sacct`, and the file in which its command lines are noted."""
    log = folder / "calls"
    Path(sacct).rename(folder / "inner")
    return program(folder, f'echo "$@" >> {log}; exec {folder}/inner "$@"'), log


def test_every_call_gives_both_ends_of_its_window(tmp_path: Path):
    """`-s` without `-E` would be a window of one instant, and show nothing.

    All runs of all users are asked for, and sizes that are not rounded.
    """
    for call in calls(tmp_path, rescan_s=86400, window_s=7200):
        options = dict(argument.partition("=")[::2] for argument in call)
        assert options["--starttime"] < options["--endtime"]
        assert set(options["--state"].split(",")) >= {
            "CD",
            "F",
            "TO",
            "CA",
            "NF",
            "OOM",
            "RQ",
            "RS",
        }
        assert {"--duplicates", "--allusers", "--noconvert", "--parsable"} < set(call)


def test_the_first_poll_is_cut_into_windows_that_touch(tmp_path: Path):
    """No second is left out, and no call asks for more than window_s."""
    spans = []
    for call in calls(tmp_path, rescan_s=86400, window_s=7200, settle_s=0):
        options = dict(argument.partition("=")[::2] for argument in call)
        begin, end = (
            datetime.fromisoformat(options[name] + "+00:00")
            for name in ("--starttime", "--endtime")
        )
        spans.append((begin, end + timedelta(seconds=1)))
    assert spans[0][0] == NOW - timedelta(days=1)
    assert spans[-1][1] == NOW
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert max(end - begin for begin, end in spans) <= timedelta(hours=2)


def test_a_slow_slurmdbd_is_asked_for_less_at_once(tmp_path: Path):
    """A call that takes longer than a tenth of timeout_s makes the next window shorter."""
    lengths = []
    for call in calls(tmp_path, "sleep 0.2;", rescan_s=7200, window_s=3600, timeout_s=1):
        options = dict(argument.partition("=")[::2] for argument in call)
        begin, end = (datetime.fromisoformat(options[f"--{one}time"]) for one in ("start", "end"))
        lengths.append((end - begin).total_seconds() + 1)
    assert lengths[:2] == [3600, 1800]


@pytest.mark.parametrize("poll", [True, False])
def test_slurmdbd_has_time_for_others_between_two_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, poll: bool
):
    """A poll, and a backfill, wait pause_s between windows, but not at their end."""
    given = over(tmp_path, rescan_s=3600, window_s=1200, settle_s=0, pause_s=9)
    waited_s: list[float] = []
    monkeypatch.setattr(given.context.stop, "wait", waited_s.append)
    list(given.poll(None) if poll else given.backfill(NOW - timedelta(hours=1), NOW))
    assert waited_s == ([9, 9, 0] if poll else [9, 9, 9, 0])  # the last complete_s for themselves


def test_nothing_is_asked_of_the_future(tmp_path: Path):
    """A backfill that reaches into the future ends at the present second."""
    ends = [
        datetime.fromisoformat(argument.partition("=")[2] + "+00:00")
        for call in calls(tmp_path, until=NOW + timedelta(days=1), window_s=600)
        for argument in call
        if argument.startswith("--endtime=")
    ]
    assert len(ends) == 7  # the last complete_s for themselves
    assert max(ends) == NOW - timedelta(seconds=1)


def test_filters_are_slurms_own(tmp_path: Path):
    """Only what is asked for is read; with users, not all users."""
    (call,) = calls(
        tmp_path,
        rescan_s=60,
        partitions=["gpu", "long"],
        users=["alice"],
        groups=["staff"],
        accounts=["atlas"],
        qos=["high"],
        clusters=["lab"],
        states=["CD"],
    )
    assert {"--partition=gpu,long", "--user=alice", "--accounts=atlas", "--qos=high"} < set(call)
    assert {"--group=staff", "--clusters=lab", "--state=CD"} < set(call)
    assert "--allusers" not in call


def test_a_runs_id_does_not_depend_on_the_window_it_is_seen_in(tmp_path: Path):
    """Read alone, a few seconds at a time, the runs have the ids that one poll gives them."""
    sacct = standin(tmp_path)
    together = jobs(source(sacct=sacct, rescan_s=7200).poll(None))
    alone = {}
    for second in sorted({job.fields["End"] for job in together.values()})[::10]:
        assert isinstance(second, int)
        begin = datetime.fromtimestamp(second, UTC)
        alone.update(jobs(source(sacct=sacct).backfill(begin, begin + timedelta(seconds=5))))
    assert alone.items() <= together.items()
    assert {"145-1795478800", "146-1795478809", "35-1795478765"} <= set(together)


def test_every_run_of_a_requeued_job_is_recorded(tmp_path: Path):
    """146 ran three times: three records, the first under the plain id."""
    found = jobs(source(sacct=standin(tmp_path), rescan_s=7200).poll(None))
    runs = [job for job in found.values() if job.fields["JobID"] == "146"]
    assert sorted(job.id for job in runs) == ["146", "146-1795478800", "146-1795478809"]
    assert [job.fields["State"] for job in runs] == ["REQUEUED", "REQUEUED", "COMPLETED"]


def test_a_wrapped_job_id_does_not_collide(tmp_path: Path):
    """The same id a year later is another job."""
    year = 365 * 86400
    old = row("7", Submit=str(END - year - 60), Start=str(END - year - 60), End=str(END - year))
    found = jobs(over(tmp_path, old, row("7", DBIndex="2")).poll(None))
    assert set(found) == {"7-1795478100"}


def test_a_run_before_the_first_that_never_started_does_not_count(tmp_path: Path):
    """Cancelled while pending, then the id came again: that one is the first run."""
    never = row("7", Start=str(END - 900), End=str(END - 900), NodeList="None assigned")
    assert set(jobs(over(tmp_path, never, row("7", DBIndex="2")).poll(None))) == {"7"}


def test_a_job_requeued_after_its_end_is_the_same_run_with_a_later_stop(tmp_path: Path):
    """Its COMPLETED row became REQUEUED with a later End: the id stays, the stop is corrected."""
    first = over(tmp_path, row("7"))
    before = list(first.poll(None))
    later = over(
        tmp_path,
        row("7", State="REQUEUED", End=str(END + 30)),
        row("7", DBIndex="2", Submit=str(END + 30), Start=str(END + 40), End=str(END + 45)),
        now=NOW + timedelta(seconds=60),
    )
    after = jobs(later.poll(before[-1].checkpoint))
    assert SlurmSource.may_correct_stop_time
    assert jobs(before)["7"].stop_at != after["7"].stop_at
    assert set(after) == {"7", f"7-{END + 40}"}


def test_a_run_that_reaches_slurmdbd_late_is_found_by_the_overlap(tmp_path: Path):
    """It ended before the checkpoint, but not longer before it than the overlap."""
    checkpoint = list(over(tmp_path).poll(None))[-1].checkpoint
    late = row("7", End=str(END - 500), Start=str(END - 560))
    assert set(jobs(over(tmp_path, late, overlap_s=600).poll(checkpoint))) == {"7"}
    assert not jobs(over(tmp_path, late, overlap_s=100).poll(checkpoint))


def test_a_run_that_reaches_slurmdbd_very_late_is_found_by_the_re_scan(tmp_path: Path):
    """After an outage: every rescan_interval_s the last rescan_s are read once more."""
    keys: dict[str, Any] = {"overlap_s": 0, "rescan_s": 86400, "rescan_interval_s": 3600}
    checkpoint = list(over(tmp_path, **keys).poll(None))[-1].checkpoint
    late = row("7", End=str(END - 20000), Start=str(END - 20060))
    for minutes, found in ((10, set()), (61, {"7"}), (70, set())):
        now = NOW + timedelta(minutes=minutes)
        batches = list(over(tmp_path, late, now=now, **keys).poll(checkpoint))
        assert set(jobs(batches)) == found, f"after {minutes} minutes"
        checkpoint = batches[-1].checkpoint


@pytest.mark.parametrize("ahead", [timedelta(minutes=50), timedelta(days=300)])
def test_a_clock_that_was_ahead_makes_no_run_wait_or_be_lost(tmp_path: Path, ahead: timedelta):
    """A poll had read "all" up to a time to come; set back, the clock does not come there soon."""
    before = NOW - timedelta(minutes=30)
    checkpoint = list(over(tmp_path, now=before + ahead).poll(None))[-1].checkpoint
    batches = list(over(tmp_path, row("7")).poll(checkpoint))
    assert set(jobs(batches)) == {"7"}
    again = list(over(tmp_path, row("7")).poll(batches[-1].checkpoint))
    assert set(jobs(again)) == {"7"}, "nothing proved the first poll's empty windows"
    later = over(tmp_path, row("7"), now=NOW + timedelta(seconds=9), overlap_s=0, complete_s=0)
    assert not jobs(later.poll(again[-1].checkpoint))


def test_a_task_is_told_by_its_own_id_although_slurmdbd_learns_it_late(tmp_path: Path):
    """The first reading has an End but no Partition; it is left to the next poll."""
    early = row("35", Submit=str(END - 1), Start=str(END - 1))
    del early["Partition"]
    first = list(over(tmp_path, early, now=NOW).poll(None))
    assert sum(batch.read for batch in first) == 0
    complete = row("34_0", JobIDRaw="35", Submit=str(END - 9), Start=str(END - 1))
    later = over(tmp_path, complete, now=NOW + timedelta(seconds=60))
    assert set(jobs(later.poll(first[-1].checkpoint))) == {"34_0"}


def test_what_is_left_out_is_counted_once(tmp_path: Path):
    """Reading the overlap again does not count a job that never started again."""
    never = row("7", NodeList="None assigned")
    first = list(over(tmp_path, never).poll(None))
    assert filtered(first) == {"never started": 1}
    again = over(tmp_path, never, now=NOW + timedelta(seconds=60)).poll(first[-1].checkpoint)
    assert filtered(again) == {}


def test_a_run_is_read_only_when_it_has_settled(tmp_path: Path):
    """What ended within the last settle_s is left to the next poll."""
    assert not jobs(over(tmp_path, row("7"), settle_s=120).poll(None))
    assert jobs(over(tmp_path, row("7"), settle_s=30).poll(None))


def test_nothing_before_since_is_asked_for(tmp_path: Path):
    """Neither by the first poll nor by overlap and re-scan."""
    since = datetime.fromtimestamp(END + 1, UTC)
    given = over(tmp_path, row("7"), since=since)
    batches = list(given.poll(None))
    assert not jobs(batches)
    later = over(tmp_path, row("7"), since=since, now=NOW + timedelta(hours=2))
    assert not jobs(later.poll(batches[-1].checkpoint))


def test_an_outage_moves_no_checkpoint(tmp_path: Path):
    """sacct that fails in the middle leaves the checkpoint where the last window ended well."""
    (tmp_path / "columns").write_text(" ".join(row("1")))
    fails = program(
        tmp_path,
        f'[ "$1" = --helpformat ] && exec cat {tmp_path}/columns\n'
        f"echo call >> {tmp_path}/calls\n"
        f"[ $(wc -l < {tmp_path}/calls) -lt 3 ] || {{ echo 'sacct: error: gone' >&2; exit 1; }}",
    )
    batches: list[Batch] = []
    reading = source(quiet(NOW), sacct=fails, rescan_s=3600, window_s=600, settle_s=0).poll(None)
    with pytest.raises(SourceError, match="exit status 1: sacct: error: gone"):
        batches.extend(reading)
    assert [batch.checkpoint["until"] for batch in batches] == [END + 60 - 3000, END + 60 - 2400]


def test_a_window_that_fails_after_some_batches_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was yielded stands, but the checkpoint stays at the beginning of the window."""
    monkeypatch.setattr(sacct, "BATCH_RUNS", 2)
    rows = [row(str(number), DBIndex=str(number)) for number in range(1, 7)]
    Path(standin(tmp_path, written(tmp_path, rows))).rename(tmp_path / "inner")
    fails = f'{tmp_path}/inner "$@"; case "$*" in *--starttime=*) exit 1;; esac'
    batches: list[Batch] = []
    with pytest.raises(SourceError, match="exit status 1"):
        batches.extend(source(quiet(NOW), sacct=program(tmp_path, fails), rescan_s=3600).poll(None))
    assert len(jobs(batches)) >= 2
    assert {batch.checkpoint["until"] for batch in batches} == {END + 60 - 3600}


def test_output_that_is_cut_moves_no_checkpoint(tmp_path: Path):
    """Exit 0 with half a row is an error all the same."""
    (tmp_path / "columns").write_text(" ".join(row("1")))
    script = f'[ "$1" = --helpformat ] && exec cat {tmp_path}/columns; printf "1\\037lab\\0377"'
    with pytest.raises(SourceError, match="ends within a row"):
        list(source(quiet(NOW), sacct=program(tmp_path, script), rescan_s=60).poll(None))


def test_another_program_by_the_name_of_sacct_is_refused(tmp_path: Path):
    """It offers none of the columns; the message names them."""
    with pytest.raises(SourceError, match="does not offer DBIndex"):
        list(source(sacct=program(tmp_path, "echo JobID JobName")).poll(None))


def test_a_backfill_takes_runs_by_their_end(tmp_path: Path):
    """The first second belongs to the period, the last one to the next."""
    end = datetime.fromtimestamp(END, UTC)
    second = timedelta(seconds=1)
    given = over(tmp_path, row("7"))
    assert set(jobs(given.backfill(end, end + second))) == {"7"}
    assert not jobs(given.backfill(end - second, end))
    assert not jobs(given.backfill(end + second, end + timedelta(days=9)))
    assert not jobs(
        given.backfill(CAPTURED_AT + timedelta(days=9), CAPTURED_AT + timedelta(days=10))
    )


def test_a_check_names_what_is_wrong(tmp_path: Path):
    """No sacct, no slurmdbd; or what was found."""
    assert [finding.ok for finding in source(sacct=standin(tmp_path)).check()] == [True, True]
    (missing,) = source(sacct=str(tmp_path / "nothing")).check()
    assert not missing.ok
    assert "cannot be run" in missing.text


def test_a_check_tells_when_nobody_elses_jobs_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With PrivateData=jobs sacct -a shows own jobs only, and says nothing; root sees all."""
    monkeypatch.setenv("PATH", "")  # no sacctmgr
    me = pwd.getpwuid(os.getuid()).pw_name
    mine, other = row("7", User=me), row("8", DBIndex="2", User="somebody")
    for uid, rows, hint in (
        (os.getuid() or 1, [mine], True),
        (os.getuid() or 1, [mine, other], False),
        (0, [mine], False),
    ):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd([me, *"x00///"]))
        texts = [finding.text for finding in over(tmp_path, *rows).check() if finding.ok]
        assert any("AdminLevel=Operator" in text for text in texts) == hint, texts


@pytest.mark.parametrize(
    "state",
    [
        *("BOOT_FAIL", "CANCELLED", "CANCELLED by 1000", "COMPLETED", "DEADLINE", "FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REQUEUED", "RESIZING", "REVOKED", "TIMEOUT"),
    ],
)
def test_a_run_is_recorded_whatever_it_ended_with(state: str, tmp_path: Path):
    """Each of them used the machine; its state is in the record as Slurm writes it."""
    ended = row("7", State=state, ExitCode="0:125", MaxRSS="")
    step = row("7.0", State="OUT_OF_MEMORY", ExitCode="0:125", MaxRSS="512M", TotalCPU="00:01.000")
    given = over(tmp_path, *({"TotalCPU": "00:01.000", **one} for one in (ended, step)))
    (job,) = jobs(given.poll(None)).values()
    assert (job.id, job.fields["State"], job.fields["MaxRSS"]) == ("7", state, 512 << 20)
    assert job.fields["ExitCode"] == "0:125"


def test_a_job_that_requeues_itself_is_two_runs(tmp_path: Path):
    """RequeueExit: the first run ended REQUEUED with its exit code, the second one well."""
    first = row("7", State="REQUEUED", ExitCode="77:0", End=str(END - 30))
    start = str(END - 20)
    second = row("7", DBIndex="2", Submit=str(END - 30), Start=start)
    found = jobs(over(tmp_path, first, second).poll(None))
    assert set(found) == {"7", f"7-{start}"}
    assert [job.fields["State"] for job in found.values()] == ["REQUEUED", "COMPLETED"]


def test_two_clusters_keep_their_jobs_apart(tmp_path: Path):
    """Same job id, same DBIndex: each cluster's run has its own steps and its own first run."""
    rows = [
        row("7", Cluster="a", TotalCPU="00:03.000"),
        row("7.0", Cluster="a", MaxRSS="1M", TotalCPU="00:03.000"),
        row("7", Cluster="b", TotalCPU="00:05.000", Start=str(END - 10), Submit=str(END - 11)),
        row("7.0", Cluster="b", MaxRSS="2M", TotalCPU="00:05.000"),
        row("8", Cluster="c", DBIndex="2", TotalCPU="00:00:00"),
    ]
    given = over(tmp_path, *rows, clusters=["a", "b"], cluster_in_id=True)
    found = jobs(given.poll(None))
    assert {run: job.fields["MaxRSS"] for run, job in found.items()} == {
        "a-7": 1 << 20,
        "b-7": 2 << 20,
    }
    assert [job.fields["TotalCPU"] for job in found.values()] == [3, 5]


def test_every_call_names_the_clusters(tmp_path: Path):
    """Also one for job ids: without `-M`, sacct knows those of its own cluster only."""
    rows = [row("7", Cluster="a"), row("7", Cluster="b")]
    sacct, log = logged(tmp_path, standin(tmp_path, written(tmp_path, rows)))
    list(source(quiet(NOW), sacct=sacct, clusters=["a", "b"], cluster_in_id=True).poll(None))
    asked = [call for call in log.read_text().splitlines() if call != "--helpformat"]
    assert any("--jobs=7" in call for call in asked)
    assert all("--clusters=a,b " in call for call in asked)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"mode": "jobcomp"}, r"\.jobcomp_path: needed with mode: jobcomp"),
        ({"clusters": ["a", "b"]}, "set cluster_in_id"),
        ({"clusters": ["all"]}, "set cluster_in_id"),
        ({"states": []}, r"\.states: empty"),
        ({"time_zone": "Berlin", "mode": "jobcomp", "jobcomp_path": "/x"}, "as Europe/Berlin"),
        (
            {"mode": "jobcomp", "jobcomp_path": "/x", "cluster_in_id": True},
            "cluster_in_id: goes with mode: sacct",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any], reason: str):
    """The message says which, and what to do."""
    section = {"name": "x", "plugin": "slurm", "record_prefix": "x", **keys}
    with pytest.raises(ConfigError, match=reason):
        parse(json.dumps({"sources": [section]}), find_plugin)


def test_steps_that_ended_before_the_window_count(tmp_path: Path):
    """sacct does not show them there, nor sum them up: a run is read whole, by its id."""
    steps = [
        row("7.0", Start=str(END - 9000), End=str(END - 8000), MaxRSS="4G", TotalCPU="10:00.000"),
        row("7.1", Start=str(END - 8000), MaxRSS="1M", TotalCPU="00:01.500"),
    ]
    job = row("7", Submit=str(END - 9000), Start=str(END - 9000), TotalCPU="10:01.500")
    times = {"UserCPU": "00:00:00", "SystemCPU": "00:00:00"}
    running = row("1", State="RUNNING", End="Unknown")
    rows = [{**times, "TotalCPU": "00:00:00", **one} for one in (job, *steps, running)]
    given = quiet(NOW, fields=frozenset({"MaxRSS", "TotalCPU"}))
    sacct = standin(tmp_path, written(tmp_path, rows))
    found = jobs(source(given, sacct=sacct, window_s=600, rescan_s=600).poll(None))
    assert found["7"].fields["MaxRSS"] == 4 << 30
    assert found["7"].fields["TotalCPU"] == 601.5


def test_a_run_whose_steps_have_not_told_their_usage_is_left_to_a_later_poll(tmp_path: Path):
    """Cancelled, its processes have `KillWait` more; a record with CPU time 0 could not be mended.

    If they never tell, it is taken as it is: a record late is better than none.
    """
    silent = {"TRESUsageOutTot": "", "TotalCPU": "00:00:00"}
    told = {"TRESUsageOutTot": "energy=0", "TotalCPU": "00:05"}

    def write(usage: dict[str, str]) -> str:
        cancelled = row("7", State="CANCELLED by 1000", **usage)
        rows = [cancelled, row("7.batch", **usage), row("8", DBIndex="2", **told)]
        return standin(tmp_path, written(tmp_path, rows))

    given = quiet(NOW, fields=frozenset({"TotalCPU"}))
    polled = source(given, sacct=write(silent), overlap_s=0)
    *batches, last = polled.poll(None)
    assert set(jobs([*batches, last])) == {"8"}
    assert not jobs(polled.poll(last.checkpoint))
    given.now = lambda: NOW + timedelta(seconds=250)
    (late,) = jobs(polled.poll(last.checkpoint)).values()
    assert (late.id, late.fields["TotalCPU"]) == ("7", 0)
    given.now = lambda: NOW
    write(told)
    again = source(given, sacct=polled.section.sacct, overlap_s=0)
    whole = jobs(again.poll(last.checkpoint))["7"]
    assert whole.fields["TotalCPU"] == 5


def test_a_backfill_waits_for_what_slurmdbd_lacks(tmp_path: Path):
    """Nobody may ask for this period again. Runs that are complete are not read twice."""
    silent = {"TRESUsageOutTot": "", "TotalCPU": "00:00:00"}
    told = {"TRESUsageOutTot": "energy=0", "TotalCPU": "00:05"}
    other = row("8", DBIndex="2", **told)
    cancelled = row("7", State="CANCELLED by 1000")
    rows = [cancelled | silent, row("7.batch", **silent), other]
    given = quiet(NOW, fields=frozenset({"TotalCPU"}))
    waited = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout:
                waited.append(timeout)
                written(tmp_path, [cancelled | told, row("7.batch", **told), other])
            return False

    given.stop = Stop()
    polled = source(given, sacct=standin(tmp_path, written(tmp_path, rows)), complete_s=300)
    batches = list(polled.backfill(NOW - timedelta(hours=1), NOW))
    assert [job.id for batch in batches for job in batch.jobs] == ["8", "7"]
    assert jobs(batches)["7"].fields["TotalCPU"] == 5
    assert waited == [300]


def test_a_run_of_a_resized_job_is_known_when_it_comes_again(tmp_path: Path):
    """Its sums are corrected in its job, not in what is known of its row."""
    resized = row("7", Submit="1795478130")
    given = over(tmp_path, resized, row("7", DBIndex="0", State="RESIZING", End="1795478130"))
    given.context.fields = frozenset({"ElapsedRaw"})
    *_, last = given.poll(None)
    assert not jobs(given.poll(last.checkpoint))


@pytest.mark.parametrize("fields", [{"TotalCPU", "AllocCPUS"}, {"AllocCPUS"}])
def test_a_run_that_its_jobs_id_does_not_show_is_an_outage_of_its_window(
    tmp_path: Path, fields: set[str]
):
    """As when the table of steps is lost: no record without its steps, and none as the first run
    of its job by mistake. The others of its window do not wait, and it is read when it is shown.
    """
    times = {"Submit": str(END - 900), "Start": str(END - 900), "End": str(END - 600)}
    earlier, other = row("7", **times), row("8", DBIndex="3", AllocCPUS="4", TotalCPU="00:01")
    run = row("7", DBIndex="2", TotalCPU="00:09")
    shown = {}
    for name, rows in (("by_id", [earlier, other]), ("window", [other, run])):
        (tmp_path / name).mkdir()
        shown[name] = standin(tmp_path / name, written(tmp_path / name, rows))
    script = 'case "$*" in *--jobs=*) exec {by_id} "$@";; *) exec {window} "$@";; esac'
    given = source(
        quiet(NOW, fields=frozenset(fields)), sacct=program(tmp_path, script.format(**shown))
    )
    batches: list[Batch] = []
    with pytest.raises(SourceError, match="showed job 7 in a window and not by its id"):
        batches += yielded(given.poll(None), batches)
    assert set(jobs(batches)) == {"8"}
    assert all(batch.checkpoint["until"] <= END for batch in batches)
    written(tmp_path / "by_id", [earlier, other, run])
    found = jobs(given.poll(batches[-1].checkpoint))
    assert {"8", "7-1795478100"} <= set(found)
    assert found["7-1795478100"].fields["AllocCPUS"] == 2


def test_a_run_that_is_gone_before_it_was_read_whole_fails_the_poll(tmp_path: Path):
    """Half of it would be a wrong record; a window that shows it no more asks no more for it."""
    whole = standin(tmp_path, written(tmp_path, [row("7", TotalCPU="00:09")]))
    Path(whole).rename(tmp_path / "whole")
    script = f'case "$*" in *AllocCPUS*) ;; *) exec {tmp_path}/whole "$@";; esac'  # but for keys
    given = quiet(NOW, fields=frozenset({"TotalCPU", "AllocCPUS"}))
    with pytest.raises(SourceError, match="showed job 7 in a window and not by its id"):
        list(source(given, sacct=program(tmp_path, script)).poll(None))


def test_a_window_of_one_second_shows_one_second(tmp_path: Path):
    """sacct takes an instant for two seconds; a run of the second one is left to its window."""
    later = row("8", DBIndex="2", End=str(END + 1))
    end = datetime.fromtimestamp(END, UTC)
    given = over(tmp_path, row("7"), later)
    assert set(jobs(given.backfill(end, end + timedelta(seconds=1)))) == {"7"}


def test_steps_of_a_whole_cluster_are_read_in_one_pass(tmp_path: Path):
    """The 165 captured runs need one call for rows, and one for steps and what ran first."""
    sacct, log = logged(tmp_path, standin(tmp_path))
    given = quiet(fields=frozenset({"MaxRSS", "TotalCPU", "AllocCPUS"}))
    found = jobs(source(given, sacct=sacct, rescan_s=3600).poll(None))
    assert len(found) == 165
    asked = log.read_text().splitlines()
    assert sum("--jobs=" in call for call in asked) == 1
    assert sum("--starttime=" in call for call in asked) == 1
    peaks = [
        int(row["MaxRSS"])
        for row in captured()
        if row["JobID"].startswith("31.") and "MaxRSS" in row
    ]
    assert found["31"].fields["MaxRSS"] == max(peaks)
