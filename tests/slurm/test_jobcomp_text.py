"""Lines of the jobcomp log are taken apart, and text that imitates keys forges nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_slurm.jobcomp_text import Entry, entries_of, values_of
from tests.slurm.standin import LOG

TEXT = st.text(
    st.sampled_from("abc =()|;:,\t'\"/é🚀0") | st.characters(exclude_categories=["Cs", "Cc"])
)
HEAD = "JobId={job} UserId=bob(1002) GroupId=staff(50) Name="
MIDDLE = (
    " JobState={state} Partition=batch TimeLimit=30 StartTime=2026-11-23T20:03:09"
    " EndTime=2026-11-23T20:04:09 NodeList=node1 NodeCnt=1 ProcCnt=4 WorkDir="
)
SECOND = " ReservationName= Tres=cpu=4,mem=64M Account=physics QOS=normal WcKey="
TAIL = (
    " Cluster=lab SubmitTime=2026-11-23T20:02:58 EligibleTime=2026-11-23T20:02:58{ids}"
    " DerivedExitCode=0:0 ExitCode=0:9 \n"
)


def line(
    name: str = "wrap",
    work_dir: str = "/home/bob",
    wckey: str = "",
    job: int = 48,
    state: str = "COMPLETED",
    ids: str = "",
) -> str:
    text = HEAD + "{name}" + MIDDLE + "{work_dir}" + SECOND + "{wckey}" + TAIL
    return text.format(job=job, state=state, ids=ids, name=name, work_dir=work_dir, wckey=wckey)


def entries(text: bytes, *, final: bool = False) -> list[Entry]:
    return list(entries_of(text.splitlines(keepends=True), 0, final=final))


def test_a_line_has_the_values_under_the_names_that_sacct_has_for_them():
    """So one mapping serves both modes."""
    values = values_of(line(name="my job"))
    assert values["JobName"] == "my job"
    assert (values["User"], values["UID"], values["AllocCPUS"]) == ("bob", "1002", "4")
    assert (values["ReqTRES"], values["ExitCode"]) == ("cpu=4,mem=64M", "0:9")
    assert "Reservation" not in values


@pytest.mark.parametrize(
    ("ids", "job_id"),
    [
        ("", "48"),
        (" ArrayJobId=38 ArrayTaskId=7", "38_7"),
        (" HetJobId=47 HetJobOffset=1", "47+1"),
    ],
)
def test_job_ids_are_those_of_sacct(ids: str, job_id: str):
    """JobId is the raw id; array and heterogeneous jobs are named by what they belong to."""
    assert values_of(line(ids=ids))["JobID"] == job_id


def test_a_requeued_run_is_called_so():
    """The log calls it PENDING, which is what the job became."""
    assert values_of(line(state="PENDING"))["State"] == "REQUEUED"


@given(TEXT, TEXT, TEXT)
def test_a_users_text_stays_where_it_is(name: str, work_dir: str, wckey: str):
    """Blanks, pipes, equal signs and quotes in name, directory and WCKey shift nothing."""
    values = values_of(line(name, work_dir, wckey))
    assert values.get("JobName", "") in (name, "")
    assert values.get("WorkDir", "") in (work_dir, "")
    plain = values_of(line())
    for key in set(plain) - {"JobName", "WorkDir", "WCKey"}:
        assert values[key] == plain[key]


@pytest.mark.parametrize(
    "name", ["key=value Name=fake JobState=FAILED", "EndTime=2001-01-01T00:00:00", "x ExitCode=0:0"]
)
def test_keys_in_a_name_are_a_name(name: str):
    """As they stand in the captured log."""
    values = values_of(line(name))
    assert values["JobName"] == name
    assert (values["State"], values["End"]) == ("COMPLETED", "2026-11-23T20:04:09")


FORGED = MIDDLE.format(state="FAILED").replace("ProcCnt=4", "ProcCnt=0")


@pytest.mark.parametrize(
    "forged",
    [
        line(name=f"x{FORGED}/tmp"),
        line(work_dir=f"/tmp{FORGED}"),
        line(work_dir=f"/tmp{SECOND.replace('physics', 'others')}"),
        line(wckey=SECOND.replace("physics", "others")),
        line(name=HEAD.format(job=99)),
    ],
)
def test_a_line_that_can_be_read_in_two_ways_is_refused(forged: str):
    """Whoever writes keys into his job's name or directory changes nobody's accounting."""
    with pytest.raises(ValueError, match=r"once.*forge"):
        values_of(forged)


def test_a_newline_in_a_name_is_put_together_again():
    """The pieces of a broken line are one entry."""
    text = line("new\nline").encode() + line("trailing\n", job=49).encode() + line(job=50).encode()
    starts = [0, text.index(b"JobId=49"), text.index(b"JobId=50")]
    assert [entry.position for entry in entries(text)] == starts
    assert values_of(entries(text)[0].text.decode())["JobName"] == "new\nline"


def test_a_whole_line_in_a_name_is_no_line():
    """A name with a newline and another job's complete line is refused, and not two jobs."""
    text = line("x\n" + line(job=99)).encode() + line(job=50).encode()
    first, second, third = entries(text)
    with pytest.raises(ValueError, match="forge"):
        values_of(first.text.decode())
    assert "begins with JobId=" in (second.broken or "")
    assert values_of(third.text.decode())["JobID"] == "50"


@pytest.mark.parametrize(
    "name",
    [
        "x\nJobId=99 UserId=a(1) GroupId=",
        "x\nJobId=99 UserId=a(1) GroupId=a(1) Name=y",
        "x\n" * 300,
    ],
)
def test_a_name_holds_up_nobody_elses_lines(name: str):
    """Nor are they refused with it: each line has an end of its own, and that is where it ends."""
    others = [line(job=number) for number in range(50, 60)]
    first, *rest = entries((line(name) + "".join(others)).encode())
    assert [values_of(entry.text.decode())["JobID"] for entry in rest] == [
        str(number) for number in range(50, 60)
    ]
    assert first.text.decode() == line(name)


@given(st.integers(0, 3000))
def test_a_line_that_is_not_complete_is_left_for_later(cut: int):
    """Wherever the log ends, what is yielded are whole entries, and the rest comes later."""
    text = line("new\nline").encode() + line(job=49).encode() + line(job=50).encode()
    before = [one for one in text[:cut].splitlines(keepends=True) if one.endswith(b"\n")]
    found = list(entries_of(before, 0, final=False))
    assert found == entries(text)[: len(found)]
    end = found[-1].end if found else 0
    rest = list(entries_of(text[end:].splitlines(keepends=True), end, final=False))
    assert [*found, *rest] == entries(text)


def test_a_line_that_never_ends_takes_the_next_one_with_it():
    """It could be a name that imitates the beginning of the next; those after it are read."""
    torn = line().encode()[:200] + b"\n"
    first, second = entries(torn + line(job=49).encode() + line(job=50).encode())
    with pytest.raises(ValueError, match="once"):
        values_of(first.text.decode())
    assert values_of(second.text.decode())["JobID"] == "50"


@pytest.mark.parametrize("damage", ["", " ", "\t", "\x00", "=", "0:0 0:0", "x" * 3000])
@pytest.mark.parametrize("key", [" DerivedExitCode=0:0", " ExitCode=0:9"])
def test_a_line_with_a_damaged_end_costs_itself(key: str, damage: str):
    """Whatever its last values are, its keys say where it ends."""
    damaged = line().replace(key, key.partition("=")[0] + "=" + damage)
    first, second = entries((damaged + line(job=49)).encode())
    assert first.text == damaged.encode()
    assert values_of(second.text.decode())["JobID"] == "49"


def test_a_line_that_never_ends_is_reported_when_the_file_is_over():
    """In a rotated file nothing will complete it; in the log itself something may."""
    torn = line().encode()[:200] + b"\n"
    (first,) = entries(torn, final=True)
    assert "breaks off" in (first.broken or "")
    assert entries(torn) == []


def test_a_broken_line_does_not_swallow_the_log():
    """When no end comes for very long, the line is given up and the others are read."""
    torn = line().encode()[:200] + b"\n"
    text = torn + b"JobId\n" * 20_000 + line(job=49).encode()
    found = entries(text)
    assert found[0].text == torn
    assert "breaks off" in (found[0].broken or "")
    assert values_of(found[-1].text.decode())["JobID"] == "49"


def test_a_key_that_a_newer_release_adds_at_the_end_is_left_alone():
    """As 26.11 may do with SLUID; the others are read, and none of them can be imitated."""
    more = line().replace(" DerivedExitCode=", " SLUID=s123 Extra= DerivedExitCode=")
    assert values_of(more) == values_of(line())
    cluster = "x Cluster=evil SubmitTime=2026-01-01T00:00:00 EligibleTime=2026-01-01T00:00:00"
    forged = values_of(line(wckey=cluster))
    assert (forged["Cluster"], forged["WCKey"]) == (values_of(line())["Cluster"], cluster)


def test_text_that_is_no_line_is_told():
    """It is kept, with what was expected."""
    (first, second) = entries(b"garbage\n" + line().encode())
    assert "expected a line that begins with JobId=" in (first.broken or "")
    assert second.broken is None


def test_a_line_that_slurmctld_cut_does_not_take_the_next_one_with_it():
    """Slurm 22.05 writes 1023 bytes and no newline; job 64 of the captured log is so."""
    found = entries(LOG.read_bytes())
    (cut,) = [entry for entry in found if entry.broken]
    assert cut.text.startswith(b"JobId=64 ")
    assert len(cut.text) == 1023
    after = found[found.index(cut) + 1]
    assert after.position == cut.end
    assert values_of(after.text.decode("latin-1"))["JobName"] == "latin1-éè"


def test_two_lines_that_were_cut_are_both_told():
    """Each 1023 bytes begin a new entry."""
    long = line("L" * 900).encode()[:1023]
    found = entries(long + long + line(job=50).encode())
    assert [entry.broken is None for entry in found] == [False, False, True]


def test_a_head_elsewhere_in_a_line_is_not_taken_for_a_job():
    """A crash of slurmctld within a line joins two jobs: neither gets the other's values."""
    joined = line().encode()[:150] + line(job=49).encode()
    (entry,) = entries(joined)
    with pytest.raises(ValueError, match="JobId=… UserId=… once"):
        values_of(entry.text.decode())
