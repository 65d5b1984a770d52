"""Runs of the jobcomp log: each once, with the right id and instant, whenever the log is read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.source import Batch, Job, Unreadable
from collector_slurm.run import ENDED_STATES
from collector_slurm.source import SlurmSource
from tests.slurm.log_lines import line
from tests.slurm.standin import (
    CAPTURED_AT,
    LOG,
    filtered,
    jobs,
    program,
    quiet,
    row,
    source,
    standin,
    written,
)

BERLIN = ZoneInfo("Europe/Berlin")


def over(path: Path, **keys: Any) -> SlurmSource:
    return source(mode="jobcomp", jobcomp_path=path, **{"time_zone": "UTC", **keys})


def night(path: Path, ends: list[datetime]) -> list[Batch]:
    """Reads a log in which runs of ten minutes ended at these instants, written in Berlin."""
    path.write_text(
        "".join(
            line(number, *(f"{at.astimezone(BERLIN):%Y-%m-%dT%H:%M:%S}" for at in (end - TEN, end)))
            for number, end in enumerate(ends, 1)
        )
    )
    return list(over(path, time_zone="Europe/Berlin").poll(None))


TEN = timedelta(minutes=10)
NIGHTS = [datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 3, 28, 22, tzinfo=UTC)]


@pytest.mark.parametrize("evening", NIGHTS)
def test_no_run_is_an_hour_off_in_the_nights_when_clocks_change(tmp_path: Path, evening: datetime):
    """A run every five minutes, through the repeated hour and through the skipped one."""
    ends = [evening + timedelta(minutes=minutes) for minutes in range(0, 480, 5)]
    found = jobs(night(tmp_path / "log", ends))
    assert [job.stop_at for job in found.values()] == ends
    assert [job.start_at for job in found.values()] == [end - TEN for end in ends]


def test_the_repeated_hour_is_told_apart_across_polls(tmp_path: Path):
    """The end of the last run that was read is in the checkpoint."""
    ends = [NIGHTS[0] + timedelta(minutes=minutes) for minutes in range(0, 480, 15)]
    whole = jobs(night(tmp_path / "log", ends))
    lines = (tmp_path / "log").read_text().splitlines(keepends=True)
    (tmp_path / "log").write_text("")
    checkpoint, found = None, dict[str, Job]()
    for text in lines:
        with (tmp_path / "log").open("a") as file:
            file.write(text)
        batches = list(over(tmp_path / "log", time_zone="Europe/Berlin").poll(checkpoint))
        found |= jobs(batches)
        checkpoint = msgspec.json.decode(msgspec.json.encode(batches[-1].checkpoint))
    assert {one.id: one.stop_at for one in found.values()} == {
        one.id: one.stop_at for one in whole.values()
    }


@settings(max_examples=25)
@given(st.data())
def test_ids_do_not_depend_on_where_polls_begin_and_end(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    """The captured log, read in pieces cut anywhere, gives the same jobs as in one piece."""
    text = LOG.read_bytes()
    path = tmp_path_factory.mktemp("log") / "jobcomp.log"
    path.write_bytes(text)
    whole = jobs(over(path).poll(None))
    checkpoint, found, unreadable = None, dict[str, Job](), 0
    for cut in [*sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4))), len(text)]:
        path.write_bytes(text[:cut])
        for batch in over(path).poll(checkpoint):
            found |= {job.id: job for job in batch.jobs}
            unreadable += len(batch.unreadable)
            checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint))
    assert found == whole
    assert unreadable == 1


def test_runs_of_a_requeued_job_are_told_apart(tmp_path: Path):
    """PENDING in the log is a run that was requeued; the next one is another run."""
    path = tmp_path / "log"
    first = line(7, "2026-01-01T10:00:00", "2026-01-01T11:00:00", "PENDING")
    second = line(7, "2026-01-03T10:00:00", "2026-01-03T11:00:00", "PREEMPTED")
    third = line(7, "2026-01-09T10:00:00", "2026-01-09T11:00:00")
    path.write_text(first + second + third)
    assert list(jobs(over(path).poll(None))) == ["7", "7-1767434400", "7-1767952800"]


@pytest.mark.parametrize("state", ["PENDING", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"])
def test_whatever_ended_a_run_early_the_next_one_is_another(state: str, tmp_path: Path):
    """Also when the job waited for days in between."""
    path = tmp_path / "log"
    first = line(7, "2026-01-01T10:00:00", "2026-01-01T11:00:00", state)
    path.write_text(first + line(7, "2026-01-09T10:00:00", "2026-01-09T11:00:00"))
    assert list(jobs(over(path).poll(None))) == ["7", "7-1767952800"]


def test_a_failed_run_that_is_requeued_after_its_end_is_one_run(tmp_path: Path):
    """The log has it once as FAILED and once as PENDING, with a later end, and then the next."""
    path = tmp_path / "log"
    path.write_text(
        line(7, "2026-01-01T10:00:00", "2026-01-01T11:00:00", "FAILED")
        + line(7, "2026-01-01T10:00:00", "2026-01-01T11:05:00", "PENDING")
        + line(7, "2026-01-01T11:06:00", "2026-01-01T12:00:00")
    )
    found = [job for batch in over(path).poll(None) for job in batch.jobs]
    assert [job.id for job in found] == ["7", "7", "7-1767265560"]


def test_a_failed_run_that_requeues_itself_is_told_from_the_next(tmp_path: Path):
    """RequeueExit: the log says FAILED, not PENDING, and then has the job again."""
    path = tmp_path / "log"
    first = line(7, "2026-01-01T10:00:00", "2026-01-01T11:00:00", "FAILED")
    path.write_text(first + line(7, "2026-01-01T11:00:20", "2026-01-01T12:00:00"))
    assert list(jobs(over(path).poll(None))) == ["7", "7-1767265220"]


def test_a_finished_job_that_is_requeued_is_one_run_with_a_later_end(tmp_path: Path):
    """The log has it twice, with the same start; 148 of the captured log is so."""
    batches = list(over(LOG).poll(None))
    twice = [job for batch in batches for job in batch.jobs if job.fields["JobID"] == "148"]
    assert [job.id for job in twice] == ["148", "148", "148-1795464219"]
    assert [job.stop_at for job in twice[:2] if job.stop_at] == [
        datetime(2026, 11, 23, 20, 3, second, tzinfo=UTC) for second in (30, 33)
    ]


def test_the_pieces_of_a_resized_job_are_told_apart(tmp_path: Path):
    """Both begin at the resize as far as the log knows; the first has no time, the second all."""
    found = [job for job in jobs(over(LOG).poll(None)).values() if job.fields["JobID"] == "35"]
    assert [job.id for job in found] == ["35", "35-1795464182"]
    assert found[0].start_at == found[0].stop_at == found[1].start_at


def test_jobs_that_will_not_run_again_are_forgotten(tmp_path: Path):
    """The checkpoint does not grow with every requeued job that there ever was."""
    path = tmp_path / "log"
    requeued = [
        line(job, "2026-01-01T10:00:00", "2026-01-01T11:00:00", "PENDING") for job in (7, 8)
    ]
    ended = line(7, "2026-01-01T12:00:00", "2026-01-01T13:00:00")
    path.write_text("".join([*requeued, ended]))
    batches = list(over(path).poll(None))
    assert set(batches[-1].checkpoint["firsts"]) == {"7", "8"}
    for job, day, remembered in ((9, "2026-01-03", {"8"}), (10, "2026-05-01", set())):
        with path.open("a") as file:
            file.write(line(job, f"{day}T10:00:00", f"{day}T11:00:00"))
        batches = list(over(path).poll(batches[-1].checkpoint))
        assert set(batches[-1].checkpoint["firsts"]) == remembered


def test_filters_are_those_of_sacct(tmp_path: Path):
    """What Slurm filters there is filtered here, and counted."""
    path = tmp_path / "log"
    path.write_text(
        line(1, "2026-01-01T10:00:00", "2026-01-01T11:00:00", Partition="gpu,batch")
        + line(2, "2026-01-01T10:00:00", "2026-01-01T11:00:00", "FAILED", Partition="gpu")
        + line(3, "2026-01-01T10:00:00", "2026-01-01T11:00:00")
        + line(4, "2026-01-01T10:00:00", "2026-01-01T11:00:00", NodeList="(null)")
    )
    batches = list(over(path, partitions=["gpu"], states=["CD"], users=["1002"]).poll(None))
    assert set(jobs(batches)) == {"1"}
    assert filtered(batches) == {"not in states": 1, "not in partitions": 1, "never started": 1}


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("BF", "BOOT_FAIL"),
        ("CA", "CANCELLED"),
        ("CD", "COMPLETED"),
        ("DL", "DEADLINE"),
        ("F", "FAILED"),
        ("NF", "NODE_FAIL"),
        ("OOM", "OUT_OF_MEMORY"),
        ("PR", "PREEMPTED"),
        ("RQ", "REQUEUED"),
        ("RS", "RESIZING"),
        ("RV", "REVOKED"),
        ("TO", "TIMEOUT"),
    ],
)
def test_a_state_may_be_given_by_its_code_or_its_name(code: str, state: str, tmp_path: Path):
    """As `sacct -s` takes it, so that one configuration serves both modes."""
    path = tmp_path / "log"
    in_log = {"REQUEUED": "PENDING"}.get(state, state)
    path.write_text(line(1, "2026-01-01T10:00:00", "2026-01-01T11:00:00", in_log))
    for name in (code, state, state.lower()):
        assert set(jobs(over(path, states=[name]).poll(None))) == {"1"}
    others = [one for one in ENDED_STATES if one != code]
    assert not jobs(over(path, states=others).poll(None))


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"clusters": ["lab"]}, True),
        ({"clusters": ["other"]}, False),
        ({"groups": ["staff"]}, True),
        ({"groups": ["50"]}, True),
        ({"groups": ["other"]}, False),
        ({"accounts": ["physics"]}, True),
        ({"accounts": ["other"]}, False),
        ({"qos": ["normal"]}, True),
        ({"qos": ["other"]}, False),
        ({"users": ["bob"]}, True),
        ({"users": ["other"]}, False),
    ],
)
def test_every_filter_counts(keys: dict[str, list[str]], tmp_path: Path, *, kept: bool):
    """A run stays if it has one of the names."""
    path = tmp_path / "log"
    path.write_text(line(1, "2026-01-01T10:00:00", "2026-01-01T11:00:00"))
    assert bool(jobs(over(path, **keys).poll(None))) is kept


def test_an_entry_that_is_no_run_is_kept_with_its_reason(tmp_path: Path):
    """The others are read."""
    path = tmp_path / "log"
    path.write_text(
        line(1, "2026-01-01T10:00:00", "2026-01-01T09:00:00")
        + line(2, "unknown", "2026-01-01T09:00:00")
        + line(3, "2026-01-01T10:00:00", "2026-01-01T11:00:00")
    )
    (batch,) = over(path).poll(None)
    assert [job.id for job in batch.jobs] == ["3"]
    assert "is before StartTime" in batch.unreadable[0].reason
    assert batch.unreadable[1].reason == (
        "StartTime=unknown: expected a time as 2026-10-25T02:30:00; ask `sacct -j 2` when this job"
        " ran"
    )
    assert batch.unreadable[1].where == f"{path}:{len(path.read_text().splitlines()[0]) + 1}"
    for one in batch.unreadable:
        assert isinstance(over(path).parse(one.raw, one.where), Unreadable)


def test_a_backfill_reads_rotated_files_too(tmp_path: Path):
    """And no more than the period that was asked for."""
    path = tmp_path / "log"
    path.with_name("log.1").write_text(line(1, "2026-01-01T10:00:00", "2026-01-01T11:00:00"))
    path.write_text(line(2, "2026-01-02T10:00:00", "2026-01-02T11:00:00"))
    since, until = datetime(2026, 1, 1, 11, tzinfo=UTC), datetime(2026, 1, 2, 11, tzinfo=UTC)
    assert set(jobs(over(path).backfill(since, until))) == {"1"}
    assert set(jobs(over(path).backfill(since, until + timedelta(seconds=1)))) == {"1", "2"}


def test_a_backfill_takes_the_last_word_on_a_run_that_the_log_has_twice(tmp_path: Path):
    """148 was sent with the later end already: the line with the earlier one corrects nothing."""
    path, day = tmp_path / "log", timedelta(days=1)
    path.write_bytes(LOG.read_bytes())
    path.rename(path.with_name("log.1"))
    path.write_text(line(999, "2026-11-23T21:00:00", "2026-11-23T21:00:01"))
    last = datetime(2026, 11, 23, 20, 3, 33, tzinfo=UTC)
    batches = list(over(path).backfill(last - day, last + day))
    assert [job.stop_at for batch in batches for job in batch.jobs if job.id == "148"] == [last]
    assert len(jobs(batches)) == 166
    assert "148" not in jobs(over(path).backfill(last - day, last))


def test_a_backfill_takes_no_later_job_with_the_same_id_for_the_same_run(tmp_path: Path):
    """Ids began anew meanwhile: both jobs are told, and what has the id already is kept apart."""
    path = tmp_path / "log"
    path.write_text(
        line(7, "2026-01-01T10:00:00", "2026-01-01T11:00:00")
        + line(7, "2026-06-01T10:00:00", "2026-06-01T11:00:00", "PENDING")
    )
    year = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    found = [job.start_at.month for batch in over(path).backfill(*year) for job in batch.jobs]
    assert found == [1, 6]


def test_the_other_mode_goes_on_where_this_one_ended(tmp_path: Path):
    """A site that changes from the log to slurmdbd leaves nothing out."""
    checkpoint = list(over(LOG).poll(None))[-1].checkpoint
    now = datetime.fromtimestamp(checkpoint["ended"] + 60, UTC)

    start, end = str(checkpoint["ended"] - 60), str(checkpoint["ended"] + 1)
    sacct = standin(tmp_path, written(tmp_path, [row("999", Submit=start, Start=start, End=end)]))
    assert set(jobs(source(quiet(now), sacct=sacct).poll(checkpoint))) == {"999"}


def test_the_other_mode_begins_as_at_first_when_this_one_read_no_run(tmp_path: Path):
    """A log of jobs that never ran says of no time that all until then was read; 1970 is none."""
    log = tmp_path / "log"
    log.write_text(line(1, "2026-11-24T00:00:00", "2026-11-24T00:00:00", NodeList="(null)"))
    checkpoint = list(over(log).poll(None))[-1].checkpoint
    first, *_ = source(sacct=standin(tmp_path), window_s=9000).poll(checkpoint)
    assert first.checkpoint["until"] > CAPTURED_AT.timestamp() - 86400


def test_without_a_time_zone_the_machines_is_meant():
    """Its rules of that day, and not today's offset."""
    finding, *_ = source(mode="jobcomp", jobcomp_path=LOG).check()
    assert finding.ok


@pytest.mark.parametrize(
    ("sacct", "read"),
    [
        ("echo slurm 24.05.1", ["999"]),
        ("echo slurm 24.05.2", []),
        ("echo slurm 24.05.8", []),
        ("echo slurm-wlm 24.11.5", []),
        ("echo slurm-wlm 26.05.5", []),
        ("echo slurm-wlm 22.05.8", ["999"]),
        ("echo sacct: fatal: no slurm.conf >&2; exit 1", ["999"]),
    ],
)
def test_a_name_that_imitates_a_cut_line_forges_nothing_where_lines_are_not_cut(
    sacct: str, read: list[str], tmp_path: Path
):
    """Up to 24.05.1 what follows 1023 bytes is another job's; newer releases cut no line."""
    before, _, after = line(7, "2026-11-23T20:03:09", "2026-11-23T20:04:09").partition("wrap")
    forged = "JobId=999 UserId=root(0) GroupId=root(0) Name=x"
    (tmp_path / "log").write_text(before + "F" * (1023 - len(before)) + forged + after)
    batches = list(over(tmp_path / "log", sacct=program(tmp_path, sacct)).poll(None))
    assert list(jobs(batches)) == read
    (unreadable,) = (one for batch in batches for one in batch.unreadable)
    assert ("could forge" if not read else "cut after 1023 bytes") in unreadable.reason
