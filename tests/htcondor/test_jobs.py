"""Who ran, from when to when, and what of an ad is believed: the facts of a real pool, one by one.

Numbers as 12.0 are jobs of `testcases/htcondor/pool`; times are given by their last three digits.
"""

from datetime import UTC, datetime

import pytest

from collector.config import mapping_of
from collector.source import Job, Unreadable, find_plugin
from collector_htcondor.epochs import EpochReader
from collector_htcondor.jobs import NEVER_STARTED, ROUTED, JobReader
from collector_htcondor.universes import NAMES
from tests.htcondor.cases import jobs, source_of
from tests.htcondor.schedd import START, ad

ALL = list(NAMES.values())


@pytest.fixture(scope="module")
def last() -> dict[str, Job]:
    return jobs(list(source_of("pool", run="last", universes=ALL).poll(None)))


@pytest.fixture(scope="module")
def total() -> dict[str, Job]:
    return jobs(list(source_of("pool", run="total", universes=ALL).poll(None)))


def at(digits: int, near: int = START) -> datetime:
    """The instant whose last three digits are these, next after `near`."""
    return datetime.fromtimestamp(near + (digits - near) % 1000, UTC)


def read(lines: bytes, **keys: object) -> Job | Unreadable | str:
    given = {"universes": ALL, **keys}
    return JobReader(None, **given).job(b"\n" + lines, "here")  # type: ignore[arg-type]


ENDINGS = [
    ("2.0", 561, 565, 4, "completed at its first start"),
    ("13.0", 606, 612, 6, "completed with exit code 3"),
    ("15.0", 573, 581, 8, "killed by its own signal"),
    ("107.0", 429, 438, 9, "removed while it ran"),
    ("53.0", 656, 671, 15, "removed with -forcex: the schedd lost the wall-clock"),
    ("40.1", 583, 590, 7, "completed, kept in the queue, removed 149 s later"),
    ("41.0", 584, 590, 6, "completed, left the queue 44 s later"),
    ("46.0", 571, 575, 4, "completed, its output fetched 47 s later"),
    ("26.0", 636, 669, 44, "held and released: three shadows, two runs"),
    ("27.0", 589, 653, 73, "vacated and run again"),
    ("29.0", 571, 605, 34, "suspended for 13 s of its run"),
    ("42.0", 645, 650, 16, "checkpointed itself and started again"),
    ("34.0", 638, 641, 19, "started four times by on_exit_remove"),
    ("54.0", 680, 711, 50, "its shadow was killed"),
    ("44.0", 587, 591, 4, "its input could not be transferred; held, removed 29 s later"),
    ("36.0", 607, 612, 5, "held on exit, removed 8 s later"),
    ("59.2", 743, 747, 4, "put back into the queue, removed a second later"),
    ("30.0", 563, 567, 4, "local universe"),
    ("31.0", 563, 567, 4, "scheduler universe"),
    ("33.0", 563, 582, 19, "local universe, removed while it ran"),
    ("64.0", 819, 825, 6, "parallel universe"),
    ("110.0", 561, 621, 60, "the schedd was restarted: RemoteWallClockTime says 48"),
    ("101.0", 307, 367, 60, "the schedd was killed: RemoteWallClockTime says 15"),
    ("99.0", 227, 287, 60, "the schedd was killed, NumJobStarts is 0: says 54"),
    ("103.0", 343, 403, 60, "the schedd was killed, NumJobStarts is 0: says 51"),
    ("98.0", 227, 233, 6, "torn, written again: RemoteWallClockTime says 0"),
    ("102.0", 343, 345, 2, "written twice, the second time without wall-clock"),
    ("65.0", 879, 881, 2, "spoofed: CompletionDate 5, JobStartDate 7, wall-clock 12347"),
]


@pytest.mark.parametrize(("number", "start", "stop", "all_s", "what"), ENDINGS)
def test_the_last_run_of_a_job(
    last: dict[str, Job], number: str, start: int, stop: int, all_s: int, what: str
):
    """Its record lasts from the start of its last run to that run's end, however it ended."""
    job = last[number]
    assert job.stop_at is not None
    assert (job.start_at, job.stop_at) == (at(start, near=_made(job)), at(stop, near=_made(job)))


@pytest.mark.parametrize(("number", "start", "stop", "all_s", "what"), ENDINGS)
def test_all_runs_of_a_job(
    total: dict[str, Job], number: str, start: int, stop: int, all_s: int, what: str
):
    """In `total` it ends as it does, and lasts as long as all its runs did."""
    job = total[number]
    assert job.stop_at == at(stop, near=_made(job))
    assert (job.stop_at - job.start_at).total_seconds() == all_s
    assert job.fields["RunWallClockTime"] == all_s


def _made(job: Job) -> int:
    return int(job.id.rpartition("#")[2])


NO_RUN_COUNT: dict[str, str | int | None] = {"JobRunCount": None}
NO_SHADOW_COUNT: dict[str, str | int | None] = {"NumShadowStarts": None}


@pytest.mark.parametrize(
    ("last", "attributes", "lasted"),
    [
        pytest.param(2, {}, 4, id="ran"),
        pytest.param(6, {}, 4, id="transferred its output"),
        pytest.param(7, {}, 4, id="was suspended"),
        pytest.param(2, {"LastRemoteWallClockTime": None}, 500, id="ran, nobody measured it"),
        pytest.param(1, {}, 4, id="was idle again"),
        pytest.param(5, {}, 4, id="was held"),
        pytest.param(5, NO_SHADOW_COUNT, 4, id="was held, only JobRunCount counts"),
        pytest.param(5, NO_RUN_COUNT, 4, id="was held, only NumShadowStarts counts"),
        pytest.param(5, {"NumJobStarts": 0}, 4, id="was held, its input never came"),
        pytest.param(5, {"RemoteWallClockTime": "44.0"}, 4, id="was held, had several runs"),
        pytest.param(5, {"LastRemoteWallClockTime": None}, 4, id="was held, only the sum is there"),
        pytest.param(5, {"LastRemoteWallClockTime": "1e6"}, 500, id="was held, usage is spoofed"),
        pytest.param(
            5, {"CompletionDate": START + 90}, 4, id="was held, CompletionDate is spoofed"
        ),
        pytest.param(4, NO_RUN_COUNT | NO_SHADOW_COUNT, 4, id="had completed, no counts"),
        pytest.param(4, {"CompletionDate": START + 60}, 60, id="had completed, lost wall-clock"),
        pytest.param(4, {"CompletionDate": START + 600}, 4, id="had completed, a spoofed date"),
    ],
)
def test_a_removed_job_lasted_as_what_it_did_before_says(
    last: int, attributes: dict[str, str | int | None], lasted: int
):
    """Removed 500 s after its start of a run of 4 s."""
    removed = {"JobStatus": 3, "LastJobStatus": last, "EnteredCurrentStatus": START + 500}
    job = read(ad(1, 0, **{"CompletionDate": None, **removed, **attributes}))
    assert isinstance(job, Job)
    assert job.stop_at is not None
    assert (job.stop_at - job.start_at).total_seconds() == lasted


@pytest.mark.parametrize("number", ["21.0", "21.1", "25.1"])
def test_a_job_that_was_removed_idle_or_held_never_started(last: dict[str, Job], number: str):
    """It is no job to be accounted, whatever its attributes say of times."""
    assert number not in last


def test_a_user_cannot_make_a_run_of_an_idle_job():
    """Usage that the submit file set is not believed where the schedd counted no start (125.0)."""
    spoofed = ad(
        125, JobStatus=3, LastJobStatus=1, CompletionDate=5, RemoteWallClockTime="12345.0",
        JobStartDate=START + 7, JobCurrentStartDate=START + 8, LastRemoteHost='"evil"',
        CpusProvisioned=999, RemoteUserCpu="1000000000.0", CommittedTime=777, NumJobStarts=3,
        LastMatchTime=None, NumShadowStarts=None, JobRunCount=None, made=START,
        EnteredCurrentStatus=START + 100,
    )  # fmt: skip
    assert read(spoofed) == NEVER_STARTED


def test_a_start_outside_of_the_jobs_life_is_not_a_start():
    """Even if the user set the counts of starts, a removed job started within its life."""
    for start in (8, START - 100_000, START + 100_000):
        spoofed = ad(JobStatus=3, LastJobStatus=1, JobCurrentStartDate=start)
        assert read(spoofed) == NEVER_STARTED


@pytest.mark.parametrize("date", [5, START + 1, START + 10**6, -1, 0, '"x"', "undefined", None])
def test_a_user_cannot_move_the_end_of_his_job(date: object):
    """The schedd's EnteredCurrentStatus ends a completed job, not CompletionDate."""
    job = read(ad(CompletionDate=date))  # type: ignore[arg-type]
    assert isinstance(job, Job)
    assert job.stop_at == datetime.fromtimestamp(START + 4, UTC)


@pytest.mark.parametrize("date", [5, 0, None, START + 1, START + 10**6])
def test_a_user_cannot_shorten_a_completed_job_that_he_removed(date: int | None):
    """It lasted at least as long as the run's own wall-clock says."""
    job = read(
        ad(JobStatus=3, LastJobStatus=4, CompletionDate=date, EnteredCurrentStatus=START + 500)
    )
    assert isinstance(job, Job)
    assert job.stop_at == datetime.fromtimestamp(START + 4, UTC)


def test_routed_jobs_are_counted_once(last: dict[str, Job]):
    """The job that the router made is the one that ran; the one it was made of is filtered."""
    assert {"68.0", "69.0", "70.0"} <= set(last)
    assert not {"66.0", "66.1", "67.0"} & set(last)
    assert read(ad(RoutedToJobId='"2.0"', LastMatchTime=None)) == ROUTED


def test_nobody_escapes_by_calling_his_job_routed(last: dict[str, Job]):
    """A job that was matched to a machine here ran here (18.0 has both ids), as do local ones."""
    assert {"18.0", "18.1"} <= set(last)
    assert isinstance(read(ad(RoutedToJobId='"2.0"')), Job)
    assert isinstance(read(ad(RoutedToJobId='"2.0"', JobUniverse=12, LastMatchTime=None)), Job)


def test_the_cpu_time_is_that_of_the_runs_that_count(last: dict[str, Job], total: dict[str, Job]):
    """The last run's, or that of all runs (55.0: 13 and 28 s; 26.1: 12 and 16 s)."""
    assert (last["55.0"].fields["RunUserCpu"], total["55.0"].fields["RunUserCpu"]) == (13, 28)
    assert (last["26.1"].fields["RunUserCpu"], total["26.1"].fields["RunUserCpu"]) == (12, 16)


def test_impossible_values_are_named():
    """What a user set against all sense stands in the field Suspicious."""
    spoofed: dict[str, str | int | None] = {
        "CompletionDate": 5,
        "JobStartDate": 7,
        "RemoteWallClockTime": "1e9",
    }
    job = read(ad(1, 0, **spoofed, RemoteUserCpu="1e9", RemoteSysCpu="1e9"))
    assert isinstance(job, Job)
    assert job.fields["Suspicious"] == (
        "CompletionDate, JobStartDate, RemoteWallClockTime, RemoteUserCpu, RemoteSysCpu"
    )
    assert job.suspicious


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({}, None),
        ({"CompletionDate": 0}, None),
        ({"CompletionDate": -1}, None),
        ({"RemoteUserCpu": "3600.0"}, None),
        ({"RemoteUserCpu": "4000.0"}, "RemoteUserCpu"),
        ({"RemoteUserCpu": "4000.0", "CpusProvisioned": 8}, None),
        ({"RemoteSysCpu": "4000.0"}, "RemoteSysCpu"),
        ({"RemoteWallClockTime": "3000.0"}, None),
        ({"JobUniverse": 7, "CpusProvisioned": 999}, "CpusProvisioned"),
        ({"JobUniverse": 12, "CpusProvisioned": 999}, "CpusProvisioned"),
        ({"JobUniverse": 12, "CpusProvisioned": None, "MemoryProvisioned": None}, None),
    ],
)
def test_what_can_be_is_not_suspicious(attributes: dict[str, str | int | None], named: str | None):
    """Dates that are not set, twenty times the CPU time of the cores, a clock that was set back."""
    job = read(ad(1, 0, **attributes))
    assert isinstance(job, Job)
    assert (job.fields.get("Suspicious"), job.suspicious) == (named, named is not None)


@pytest.mark.parametrize(
    ("attributes", "lasted"),
    [
        ({"RemoteWallClockTime": "1e9"}, 4),
        ({"RemoteWallClockTime": "1e9", "JobRunCount": 2}, 104),
        ({"RemoteWallClockTime": "60.0", "JobRunCount": 2}, 60),
        ({"RemoteWallClockTime": "1e9", "JobStartDate": START - 30}, 34),
    ],
)
def test_all_runs_together_are_no_longer_than_the_job_can_have_run(
    attributes: dict[str, str | int | None], lasted: int
):
    """Since its first start; if a user spoofed that, since its only one, or since it was made."""
    made = {"made": START - 100, "JobStartDate": 7}
    job = read(ad(1, 0, **{**made, **attributes}), runs="total")
    assert isinstance(job, Job)
    assert job.fields["RunWallClockTime"] == lasted


def test_cores_that_were_never_provisioned_are_not_accounted():
    """A local job has no slot; what its user says of provisioned cores is left out and told."""
    job = read(ad(JobUniverse=12, CpusProvisioned=999))
    assert isinstance(job, Job)
    assert "CpusProvisioned" not in job.fields
    assert job.fields["Suspicious"] == "CpusProvisioned"


def amounts(job: Job | Unreadable | str) -> dict[str, int]:
    """The components that the default mapping makes of a job."""
    assert isinstance(job, Job)
    mapping = mapping_of(source_of("pool").section, find_plugin("htcondor"))
    return {one.name: one.amount for one in mapping.record(job).components}


def test_a_job_without_provisioned_cores_has_those_that_it_asked_for_or_one():
    """Grid universe; a process on the access point has one. CPU time is of user and system."""
    grid: dict[str, str | int | None] = {"JobUniverse": 9, "CpusProvisioned": None}
    assert amounts(read(ad(1, 0, **grid, RequestCpus=3)))["Cores"] == 3
    assert amounts(read(ad(1, 0, **grid, RequestCpus=None)))["Cores"] == 1
    assert amounts(read(ad(1, 0, **{**grid, "JobUniverse": 12}, RequestCpus=1000)))["Cores"] == 1
    assert amounts(read(ad()))["TotalCPU"] == 3 + 1


@pytest.mark.parametrize("reader", [JobReader, EpochReader])
def test_a_parallel_job_has_the_cores_and_memory_of_all_its_nodes(reader: type[JobReader]):
    """What is provisioned is that of its first node (in an epoch ad), or its user's invention."""
    text = ad(
        JobUniverse=11, CpusProvisioned=2, RequestCpus=2, MaxHosts=2, EpochWriteDate=START + 4
    )
    job = reader(None).job(b"\n" + text + b"*** EPOCH ClusterId=1 ProcId=0 ", "here")
    assert (amounts(job)["Cores"], amounts(job)["Memory"]) == (4, 256)


def test_impossible_values_can_be_refused():
    """With `suspicious: reject` such a job waits in the rejected table for its operator."""
    refused = read(ad(CompletionDate=5), suspicious="reject")
    assert isinstance(refused, Unreadable)
    assert "CompletionDate" in refused.reason


def test_a_user_cannot_set_the_plugins_own_fields():
    """`+RunUserCpu = 1` changes nothing."""
    job = read(ad(RunUserCpu=1, RunWallClockTime=1, Suspicious='"x"', runusercpu=2))
    assert isinstance(job, Job)
    assert (job.fields["RunUserCpu"], job.fields["RunWallClockTime"]) == (3, 4)
    assert "Suspicious" not in job.fields
    job = JobReader({"RunUserCpu"}).job(b"\n" + ad(RunUserCpu=1, RemoteUserCpu=None), "here")
    assert isinstance(job, Job)
    assert job.fields == {}


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"GlobalJobId": None}, "GlobalJobId is missing"),
        ({"GlobalJobId": '"ap1#1.0"'}, "GlobalJobId is"),
        ({"GlobalJobId": "1 + 1"}, "GlobalJobId is 1 + 1"),
        ({"GlobalJobId": f'"ap1#1.0#{START}x"'}, "GlobalJobId is"),
        ({"JobStatus": 2}, "JobStatus is 2"),
        ({"JobStatus": None}, "JobStatus is missing"),
        ({"EnteredCurrentStatus": None}, "EnteredCurrentStatus is missing"),
        ({"EnteredCurrentStatus": 5}, "EnteredCurrentStatus is 5"),
        ({"EnteredCurrentStatus": "9" * 40}, "EnteredCurrentStatus is 999"),
        ({"JobCurrentStartDate": None, "LastMatchTime": 5}, "JobCurrentStartDate is missing"),
        ({"JobCurrentStartDate": 8, "LastMatchTime": 5}, "JobCurrentStartDate is 8"),
    ],
)
def test_an_ad_that_does_not_say_what_is_needed_is_refused_with_the_reason(
    attributes: dict[str, str | int | None], named: str
):
    """The reason names the attribute, its value, and what was expected."""
    found = read(ad(1, 0, **attributes))
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(named)
    assert "expected" in found.reason


def test_a_clock_that_was_set_back_gives_no_negative_run():
    """A run that seems to end before it began lasts 0 s."""
    job = read(ad(EnteredCurrentStatus=START - 100, made=START - 10))
    assert isinstance(job, Job)
    assert job.start_at == job.stop_at == datetime.fromtimestamp(START, UTC)


def test_only_wanted_attributes_are_read():
    """Fields that no rule names cost nothing, and are not there."""
    reader = JobReader({"Owner", "RunUserCpu"})
    job = reader.job(b"\n" + ad(), "here")
    assert isinstance(job, Job)
    assert job.fields == {"Owner": "labalice", "RunUserCpu": 3.0}
