"""What a job's owner can edit of his own ad, and what it is good for: on ads of real schedds.

All that `condor_qedit` and `condor_chirp` were seen to be allowed on 23.9.6 and 25.14.1.
"""

import pytest

from collector.source import Job, Unreadable
from collector_htcondor.identity import Identifiers, id_of_run
from collector_htcondor.jobs import NEVER_STARTED
from tests.htcondor.real_ads import job, lasted, text, with_attributes

EDITED = [  # name, seconds, what is named, id without the schedd
    ("id-empty-23.9", 12, "GlobalJobId", "74.0#1795616874"),
    ("id-of-a-running-job-23.9", 7, "GlobalJobId", "76.0#1795616885"),
    ("id-by-chirp-25.14", 11, "GlobalJobId", "84.0#1795617078"),
    ("starts-set-to-zero-23.9", 14, "JobRunCount, NumShadowStarts", "77.0#1795616892"),
    ("starts-set-to-zero-25.14", 11, "JobRunCount, NumShadowStarts", "78.0#1795617000"),
    ("wall-clock-time-of-a-held-run-23.9", 12, "LastRemoteWallClockTime", "78.0#1795616914"),
    ("end-of-a-completed-job-23.9", 11, "EnteredCurrentStatus", "79.0#1795616929"),
    ("end-of-a-completed-job-25.14", 10, "EnteredCurrentStatus", "80.0#1795617035"),
    ("status-cores-and-memory-23.9", 6, "CpusProvisioned, MemoryProvisioned", "80.0#1795616947"),
    ("start-by-chirp-23.9", 13, "JobCurrentStartDate", "81.0#1795616965"),
    ("start-25.14", 14, "JobCurrentStartDate", "60.0#1795616532"),
    ("cores-set-to-zero-25.14", 13, "CpusProvisioned", "87.0#1795617081"),
    ("start-cores-by-chirp-25.14", 7, "JobCurrentStartDate, CpusProvisioned", "67.0#1795616536"),
    (
        "submitted-with-times-23.9",
        4,
        "CompletionDate, JobStartDate, RemoteWallClockTime",
        "55.0#1795616533",
    ),
]


@pytest.mark.parametrize(("name", "seconds", "named", "job_id"), EDITED)
def test_an_edited_job_is_recorded_as_it_ran_and_named(
    name: str, seconds: int, named: str, job_id: str
):
    """With the length of its run, under an id of its own; what others contradict is named."""
    found = job(text("edited", name))
    assert lasted(found) == seconds
    assert isinstance(found, Job)
    assert (found.id, found.fields["Suspicious"]) == (f"ap1.lab.example#{job_id}", named)
    assert found.suspicious


@pytest.mark.parametrize(
    ("name", "cores", "memory"),
    [
        ("status-cores-and-memory-23.9", 1, 64),
        ("cores-set-to-zero-25.14", 2, 128),
        ("start-cores-by-chirp-25.14", 1, 128),
    ],
)
def test_edited_cores_and_memory_are_those_of_the_best_other_witness(
    name: str, cores: int, memory: int
):
    """The machine's own word, and what was asked for; a reader needs cores of every job."""
    found = job(text("edited", name))
    assert isinstance(found, Job)
    assert (found.fields["CpusProvisioned"], found.fields["MemoryProvisioned"]) == (cores, memory)


def test_a_job_that_never_ran_gives_no_record():
    """Whatever its owner says of starts and times."""
    raw = text("edited", "never-started-23.9")
    assert job(raw) == NEVER_STARTED
    start = {"JobCurrentStartDate": 1795616540, "LastMatchTime": 1795616540, "JobRunCount": 3}
    assert job(with_attributes(raw, **start)) == NEVER_STARTED


HELD, DONE = "held-then-removed-23.9", "completed-23.9"
START = {HELD: 1795616500, DONE: 1795616616}


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        (HELD, {"LastJobLeaseRenewal": 1}),
        (HELD, {"LastVacateTime": 1}),
        (HELD, {"LastVacateTime": 1, "LastRemoteWallClockTime": "1.0"}),
        (HELD, {"ActivationDuration": "1", "LastVacateTime": 1}),
        (HELD, {"LastRemoteHost": None, "LastPublicClaimId": None, "JobRunCount": 0}),
        (HELD, {"JobCurrentStartDate": 4}),
        (HELD, {"LastMatchTime": 4}),
        (HELD, {"LastJobLeaseRenewal": 100_000}),
        (HELD, {"LastVacateTime": 17}),
        (HELD, {"JobUniverse": "7"}),
        (HELD, {"QDate": 100_000}),
        (DONE, {"EnteredCurrentStatus": 100_000, "CompletionDate": 100_000}),
        (DONE, {"EnteredCurrentStatus": -100_000}),
        (DONE, {"LastJobLeaseRenewal": 1}),
        (DONE, {"JobStatus": "3", "LastJobStatus": "1"}),
        (DONE, {"JobStatus": "2"}),
        (DONE, {"JobCurrentStartDate": None}),
    ],
    ids=str,
)
def test_a_run_is_neither_hidden_nor_shortened_nor_lengthened(
    name: str, edits: dict[str, str | int | None]
):
    """Two witnesses outvote the one that was edited; numbers are seconds after the start."""
    raw = text("run_ends", name)
    whole = lasted(job(raw))
    given = {
        key: START[name] + value if isinstance(value, int) and key != "JobRunCount" else value
        for key, value in edits.items()
    }
    assert abs(lasted(job(with_attributes(raw, **given))) - whole) <= 1


@pytest.mark.parametrize(
    ("edits", "named"),
    [
        ({"RemoteUserCpu": "2147483647.0"}, "RemoteUserCpu"),
        ({"RemoteUserCpu": "-5.0"}, "RemoteUserCpu"),
        ({"RemoteUserCpu": '"none"'}, "RemoteUserCpu"),
        ({"RemoteSysCpu": "undefined"}, "RemoteSysCpu"),
        ({"RemoteUserCpu": "0.0", "CumulativeRemoteUserCpu": "4.0"}, "RemoteUserCpu"),
    ],
)
@pytest.mark.parametrize("universe", [5, 9, 11, 12])
def test_impossible_cpu_time_is_named_and_never_left_out(
    edits: dict[str, str | int | None], named: str, universe: int
):
    """0, or what the schedd added up; in every universe, and for negative values too."""
    found = job(with_attributes(text("run_ends", DONE), JobUniverse=universe, **edits))
    assert isinstance(found, Job)
    assert named in str(found.fields["Suspicious"])
    expected = 4.0 if "CumulativeRemoteUserCpu" in edits else 0
    assert found.fields[f"Run{named.removeprefix('Remote')}"] == expected


def test_nobody_takes_the_id_of_another_schedds_job():
    """The schedd is the one whose jobs these are, whatever a single user's ads say."""
    hostile = text("run_ends", DONE).replace(b'"ap1.lab.example#', b'"ap2.lab.example#')
    found = job(hostile, identifiers=_known_schedd())
    assert isinstance(found, Job)
    assert (found.id, found.fields["Suspicious"]) == (
        "ap1.lab.example#12.0#1795616495",
        "GlobalJobId",
    )


def test_a_schedd_that_was_renamed_keeps_the_ids_of_its_jobs():
    """Several users have jobs of the old name."""
    identifiers = _known_schedd()
    for owner in (b"labcarol", b"labdan"):
        identifiers.of("").learn(b'\nOwner = "%s"\nGlobalJobId = "old#1.0#1795459561"\n' % owner)
    old = text("run_ends", DONE).replace(b'"ap1.lab.example#', b'"old#')
    found = job(old, identifiers=identifiers)
    assert isinstance(found, Job)
    assert found.id == "old#12.0#1795616495"


def _known_schedd() -> Identifiers:
    identifiers = Identifiers()
    for owner in (b"labalice", b"labbob", b"labcarol"):
        ad = b'\nOwner = "%s"\nGlobalJobId = "ap1.lab.example#1.0#1795459561"\n' % owner
        identifiers.of("").learn(ad)
    return identifiers


def test_a_run_whose_cores_cannot_be_known_is_refused_with_the_reason():
    """A parallel job has no provisioned cores; 1 core would be a silent mistake."""
    raw = text("run_ends", DONE)
    found = job(with_attributes(raw, JobUniverse=11, RequestCpus="noSuchFunction(1)"))
    assert isinstance(found, Unreadable)
    assert found.reason.startswith("RequestCpus is noSuchFunction(1)")


def test_a_run_has_one_id_whatever_its_owner_says_of_the_first_start():
    """An impossible JobStartDate makes no further run of it; nor another a first one."""
    first = {"JobStartDate": 5}
    assert id_of_run("ap1#1.0#1795616495", texts(**first), 1795616616) == "ap1#1.0#1795616495"
    second = {"JobStartDate": 1795616616, "JobLastStartDate": 1795616600, "JobRunCount": 2}
    assert id_of_run("ap1#1.0#1795616495", texts(**second), 1795616616).endswith("#1795616616")


def texts(**attributes: int) -> dict[bytes, bytes]:
    return {name.encode(): b"%d" % value for name, value in attributes.items()}
