"""What sacct prints becomes runs and jobs, and no user's text can change that."""

import json
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.mapping.quantities import duration_s
from collector.source import Job, Unreadable
from collector_slurm.columns import KEY_COLUMNS, Columns
from collector_slurm.jobid import Identity
from collector_slurm.rows import OutputError, rows_of, runs_of
from collector_slurm.run import INCOMPLETE, RawRun, Run
from tests.slurm.standin import captured, row, run_of

OFFERED = frozenset(name for row in captured() for name in row) | {"SubmitLine", "Constraints"}
HOSTILE = st.text(
    st.sampled_from("|\n\r\x1f\x1e\t'\"\\ ,=;%\x00éä作🚀a1")
    | st.characters(exclude_categories=["Cs"])
)


def choose(*fields: str) -> Columns:
    return Columns.choose(frozenset(fields), OFFERED, lambda: "secret")


def printed(rows: Iterable[dict[str, str]], columns: Columns) -> bytes:
    """The rows as `sacct --parsable --noheader` prints them: nothing escaped."""
    lines = (
        "".join(row.get(name, "") + columns.delimiter for name in columns.names) + "\n"
        for row in rows
    )
    return "".join(lines).encode()


def read(rows: Iterable[dict[str, str]], columns: Columns) -> list[Run]:
    return list(runs_of([printed(rows, columns)], columns))


def job(values: dict[str, str], *, first: bool = True, identity: Identity | None = None) -> Job:
    found = run_of(values).job(identity or Identity(), "here", first=first)
    assert isinstance(found, Job), found
    return found


def elapsed_s(values: dict[str, str]) -> float:
    found = job(values)
    assert found.stop_at is not None
    return (found.stop_at - found.start_at).total_seconds()


def rows_by(*columns: str, **wanted: str) -> list[dict[str, str]]:
    return [row for row in captured() if all(row.get(k) == v for k, v in wanted.items())]


def test_only_columns_that_sacct_offers_are_asked_for():
    """A field of a newer Slurm, or of none, is simply not there."""
    assert choose("AllocCPUS", "NoSuchField").names == (*KEY_COLUMNS, "AllocCPUS")


def test_steps_are_read_only_for_what_stands_on_steps():
    """MaxRSS and CPU times need the thirteen times dearer call; cores do not."""
    assert not choose("AllocCPUS", "AllocTRES", "NNodes").steps
    assert choose("MaxRSS").steps
    assert choose("TotalCPU").steps


def test_free_text_is_framed_by_a_token_that_nobody_can_guess():
    """A user's column changes the delimiter; the scheduler's own columns do not need it."""
    assert choose("Account", "State").delimiter == "\x1f"
    for column in ("JobName", "Comment", "WCKey", "WorkDir", "SubmitLine", "Constraints"):
        assert choose(column).delimiter == "\x1fsecret\x1f"


@given(st.lists(HOSTILE, min_size=1, max_size=4), st.integers(1, 50))
def test_no_text_of_a_user_shifts_or_forges_a_row(texts: list[str], cut: int):
    """Whatever stands in name and comment, wherever the output is cut, the rows are the same."""
    columns = choose("JobName", "Comment", "AllocCPUS")
    rows = [
        {**row(str(number)), "DBIndex": str(number), "JobName": text, "Comment": text[::-1]}
        for number, text in enumerate(texts, 1)
    ]
    output = printed(rows, columns)
    pieces = [output[at : at + cut] for at in range(0, len(output), cut)]
    wanted = [("\n" + row["DBIndex"], *(row[name] for name in columns.names[1:])) for row in rows]
    assert list(rows_of(pieces, columns)) == wanted


@pytest.mark.parametrize("times", [1, 400])
def test_a_forged_row_in_a_job_name_stays_a_job_name(times: int):
    """A name that is a newline and a whole row of another job, or 20 kB of that, is one name."""
    columns = choose("JobName")
    forged = "\n" + printed([row("99", User="root", JobName="x\0")], choose()).decode()
    name = forged * times
    assert times == 1 or len(name) > 20_000
    runs = read([row("7", JobName=name), row("8", DBIndex="2")], columns)
    assert [run.fields["JobID"] for run in runs] == ["7", "8"]
    assert runs[0].fields["JobName"] == name


def test_text_that_is_no_utf8_is_kept_as_far_as_it_is_text():
    """A latin-1 job name does not stop the reading, even cut within a character."""
    columns = choose("JobName")
    output = printed([row("7", JobName="é")], columns).replace("é".encode(), b"caf\xe9")
    pieces = [output[at : at + 1] for at in range(len(output))]
    assert [run.fields["JobName"] for run in runs_of(pieces, columns)] == [
        "caf\N{REPLACEMENT CHARACTER}"
    ]


@pytest.mark.parametrize("lost", [1, 5, 60])
def test_output_that_breaks_off_is_an_error(lost: int):
    """A row without its end is never taken for a row, nor for nothing."""
    columns = choose("AllocCPUS")
    output = printed([row("7"), row("8", DBIndex="2")], columns)
    with pytest.raises(OutputError, match="ends within a row"):
        list(runs_of([output[:-lost]], columns))


@pytest.mark.parametrize("missing", ["DBIndex", "Cluster", "JobID"])
def test_a_row_without_what_tells_it_from_others_is_an_error(missing: str):
    """Nothing that was read after it could be trusted."""
    with pytest.raises(OutputError, match=missing):
        read([row("7") | {missing: ""}], choose("AllocCPUS"))


def test_rows_that_are_not_on_lines_of_their_own_are_an_error():
    """As other options of sacct print them: the first digit of a DBIndex is no newline."""
    columns = choose("AllocCPUS")
    output = printed([row("7"), row("8", DBIndex="22")], columns).replace(b"\n", b"")
    with pytest.raises(OutputError, match="expected a DBIndex at the start of a row, found '22'"):
        list(runs_of([output + b"\n"], columns))


@pytest.mark.parametrize("noise", [b"CLUSTER: lab\n", b"sacct: warning\n", b"\n"])
def test_output_that_begins_otherwise_is_an_error(noise: bytes):
    """What sacct does not print by itself is not skipped."""
    columns = choose("AllocCPUS")
    with pytest.raises(OutputError, match="expected a DBIndex"):
        list(runs_of([noise + printed([row("7")], columns)], columns))


def test_a_step_belongs_to_the_run_with_its_dbindex():
    """Both runs of a requeued job have steps with the same id; peaks are not mixed."""
    columns = choose("MaxRSS")
    runs = read(
        [
            row("7", DBIndex="1"),
            row("7.batch", DBIndex="1", MaxRSS="4096"),
            row("7.0", DBIndex="1", MaxRSS="1M"),
            row("7", DBIndex="2"),
            row("7.batch", DBIndex="2", MaxRSS="8192"),
            row("7.extern", DBIndex="2"),
        ],
        columns,
    )
    assert [run.fields["MaxRSS"] for run in runs] == [1 << 20, 8192]
    with pytest.raises(OutputError, match=r"step 7\.0 follows no row"):
        read([row("7", DBIndex="1"), row("7.0", DBIndex="2")], columns)
    with pytest.raises(OutputError, match=r"step 8\.0 follows no row"):
        read([row("7"), row("8.0")], columns)


@pytest.mark.parametrize("text", ["a lot", "9" * 400 + ".5"])
@pytest.mark.parametrize("before", [[], ["4096"]])
@pytest.mark.parametrize("after", [[], ["8192"]])
def test_memory_that_is_no_size_is_told_and_stops_nothing(
    text: str, before: list[str], after: list[str]
):
    """It stays as it is, whatever other steps say, and no mapping takes it for a number."""
    steps = [row("7.0", MaxRSS=text) for text in (*before, text, *after)]
    (run,) = read([row("7"), *steps], choose("MaxRSS"))
    assert run.fields["MaxRSS"] == text


def test_memory_that_was_never_sampled_is_unknown_and_not_zero():
    """An empty MaxRSS on all steps leaves the field out, and so does one that Slurm calls so."""
    (run,) = read([row("7"), row("7.batch"), row("7.0", MaxRSS="Unknown")], choose("MaxRSS"))
    found = run.job(Identity(), "here", first=True)
    assert isinstance(found, Job)
    assert "MaxRSS" not in found.fields


def test_cpu_time_of_a_call_without_steps_is_unknown_and_not_zero():
    """`-X` prints TotalCPU 00:00:00, so it is not asked for with it."""
    columns = choose("TotalCPU", "MaxRSS", "AllocCPUS").without_steps()
    assert columns.names == (*KEY_COLUMNS, "AllocCPUS")


def test_a_jobs_cpu_time_is_that_of_all_its_steps():
    """On the captured rows, the job's TotalCPU is its steps' sum, to a millisecond a step."""
    columns = choose("TotalCPU", "MaxRSS")
    steps: dict[str, list[float]] = {}
    for one in captured():
        if "." in one["JobID"]:
            steps.setdefault(one["DBIndex"], []).append(duration_s(one["TotalCPU"]))
    compared = 0
    for run in read(captured(), columns):
        found = run.job(Identity(), "here", first=True)
        if isinstance(found, Job) and found.stop_at and run.has_nodes:
            own = steps.get(str(run.fields["DBIndex"]), [])
            assert found.fields["TotalCPU"] == pytest.approx(sum(own), abs=0.002 * len(own) + 1e-9)
            compared += 1
    assert compared == 165


def test_elapsed_and_core_seconds_are_slurms_own():
    """On all captured runs stop - start is ElapsedRaw, and times AllocCPUS is CPUTimeRAW."""
    columns = choose("ElapsedRaw", "CPUTimeRAW", "AllocCPUS")
    compared = 0
    for run in read(captured(), columns):
        if run.left_out() is None:
            found = run.job(Identity(), "here", first=True)
            assert isinstance(found, Job)
            assert found.stop_at is not None
            elapsed = (found.stop_at - found.start_at).total_seconds()
            assert elapsed == found.fields["ElapsedRaw"]
            cores = found.fields["AllocCPUS"]
            assert isinstance(cores, int)
            assert elapsed * cores == found.fields["CPUTimeRAW"]
            compared += 1
    assert compared == 165


def test_suspended_time_is_not_run_time():
    """142 was suspended twice, 7 seconds together: 13 seconds passed, 6 are charged."""
    (suspended,) = rows_by(JobID="142")
    assert suspended["Suspended"] == "00:00:07"
    assert elapsed_s(suspended) == int(suspended["ElapsedRaw"]) == 6
    assert elapsed_s(row("7", Suspended="01:00:00")) == 0, "never a stop before the start"


def test_a_job_cancelled_while_suspended_ends_where_slurm_says():
    """Slurm puts its End to the suspension, Suspended at 0: nothing is taken off twice."""
    (cancelled,) = rows_by(JobID="143")
    assert cancelled["State"] == "CANCELLED by 0"
    assert elapsed_s(cancelled) == int(cancelled["ElapsedRaw"])


def test_the_rows_of_a_resized_job_do_not_overlap():
    """The second row repeats the first one's Start; it ran from its Submit on."""
    before, after = rows_by(JobID="35")
    assert before["Start"] == after["Start"]
    first, second = job(before), job(after, first=False)
    assert second.start_at == first.stop_at
    assert second.fields["ElapsedRaw"] == elapsed_s(after) < int(after["ElapsedRaw"])
    assert second.fields["CPUTimeRAW"] == second.fields["ElapsedRaw"]


def test_a_run_ended_only_when_its_end_is_known():
    """COMPLETED with End Unknown, as after an outage of slurmdbd, is not final yet."""
    assert run_of(row("7", End="Unknown")).left_out() == "end not known yet"


def test_a_row_that_slurmdbd_has_not_heard_everything_of_is_not_final():
    """The end of a short job may come before its start: no Partition, and a raw id for a task."""
    (short,) = [row("35", JobIDRaw="35")]
    del short["Partition"]
    assert run_of(short).left_out(1795478000) == INCOMPLETE
    assert run_of(short).left_out(1795478161) is None


@pytest.mark.parametrize("start", ["None", "Unknown", "1795478160"])
def test_a_job_without_nodes_never_started(start: str):
    """Cancelled while pending it may have a Start, equal to its End; nodes are the test."""
    never = row("7", State="CANCELLED by 1001", Start=start, NodeList="None assigned")
    assert run_of(never).left_out() == "never started"


def test_a_run_of_no_seconds_did_run():
    """Start equal to End with nodes is a short job, not a cancelled one."""
    short = row("7", Start="1795478160", NodeList="node1")
    assert run_of(short).left_out() is None
    assert elapsed_s(short) == 0


def test_states_stay_as_slurm_writes_them():
    """`CANCELLED by 1001`, OUT_OF_MEMORY and states yet unknown are all accounted."""
    for state in ("CANCELLED by 1001", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED"):
        assert job(row("7", State=state)).fields["State"] == state


def test_numbers_are_numbers_and_texts_stay_texts():
    """A user called 12345 is a text; UNLIMITED is no number and stays as it is."""
    fields = job(row("7", User="12345", Account="007", TimelimitRaw="UNLIMITED")).fields
    assert (fields["User"], fields["Account"], fields["TimelimitRaw"]) == (
        "12345",
        "007",
        "UNLIMITED",
    )
    assert fields["AllocCPUS"] == 2
    assert fields["AllocTRES"] == "billing=2,cpu=2,mem=128M,node=1"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"JobID": "7x"}, "is not a job id"),
        ({"Start": "None"}, "expected the second at which the run began"),
        ({"Start": "1795478999"}, "expected a second not before"),
        ({"End": "soon"}, "expected a second not before"),
        ({"Suspended": "a while"}, "expected a duration"),
    ],
)
def test_a_row_that_makes_no_job_is_kept_with_the_reason(columns: dict[str, str], reason: str):
    """It is told what was expected, and the text can be read again."""
    found = run_of(row("7", **columns)).job(Identity(), "here", first=True)
    assert isinstance(found, Unreadable)
    assert reason in found.reason
    assert json.loads(found.raw)["Cluster"] == "lab"


def test_the_first_run_has_the_plain_id_and_later_ones_their_start():
    """The first keeps the id of the existing collectors; no two runs begin at the same second."""
    assert job(row("7")).id == "7"
    assert job(row("38_7")).id == "38_7"
    assert job(row("42+1")).id == "42+1"
    assert job(row("7"), first=False).id == "7-1795478100"


def test_clusters_and_a_reset_database_can_be_told_apart_in_ids():
    """Both only when asked for, and a reset only from its time on."""
    assert job(row("7"), identity=Identity(cluster=True)).id == "lab-7"
    reset = Identity(all_from=1795478000)
    assert job(row("7"), identity=reset).id == "7-1795478100"
    assert job(row("7", Submit="1795477999"), identity=reset).id == "7"


@given(st.dictionaries(st.sampled_from(["JobName", "Comment", "Account"]), HOSTILE), st.booleans())
def test_raw_gives_the_same_run_again(texts: dict[str, str], first: bool):
    """What is kept of a rejected job is all that its job is made of."""
    run = run_of({**row("7"), **texts, "MaxRSS": "4096", "TotalCPU": "00:03.500"})
    told = RawRun(run.fields, first)
    assert RawRun.of(bytes(told)) == told


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"JobID":"7","first":true}', b"\xff"])
def test_raw_that_is_no_run_is_refused(raw: bytes):
    """It is an error to be shown, not a crash."""
    with pytest.raises((ValueError, msgspec.DecodeError)):
        RawRun.of(raw)
