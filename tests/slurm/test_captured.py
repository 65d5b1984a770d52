"""Two witnesses of the same runs on real clusters: our records from rows, and `sacct --json`.

`tests/slurm/capture.py` made the data, on Slurm 22.05.8, 24.11.5 and 26.05.5. The collector does
not read JSON: here it is the oracle that shares no code with it.
"""

import json
from typing import Any

import pytest

from collector.record import Record, decode
from tests.slurm.sluid import sluid
from tests.slurm.standin import CASES

RELEASES = ("22.05", "24.11", "26.05")
MIB = 1 << 20
RawRun = tuple[str, int, int, int, int, int, int | None, str]
"""Job id, start, stop, cores, memory (MiB), CPU time (s), peak (MiB), state."""


def lines(release: str, name: str) -> list[Any]:
    """The objects of a captured file."""
    return [json.loads(line) for line in (CASES / release / name).read_text().splitlines()]


def number(value: Any) -> int:
    """A number: plain in 22.05, an object since."""
    return int(value["number"] if isinstance(value, dict) else value or 0)


def by_json(job: dict[str, Any]) -> RawRun:
    """What JSON says of a run."""
    array, het, time = job["array"], job["het"], job["time"]
    job_id = str(job["job_id"])
    if array["job_id"]:
        job_id = f"{array['job_id']}_{number(array['task_id'])}"
    elif het["job_id"]:
        job_id = f"{het['job_id']}+{number(het['job_offset'])}"
    # 22.05 says of a resized job that it began where its first row did.
    start = max(time["start"], time["submission"])
    elapsed = time["elapsed"] - (start - time["start"])
    allocated = {one["type"]: one["count"] for one in job["tres"]["allocated"]}
    state = job["state"]["current"]
    return (
        job_id,
        start,
        start + elapsed,
        allocated["cpu"],
        allocated["mem"],
        round(time["total"]["seconds"] + time["total"]["microseconds"] / 1e6),
        round(max(job["peaks"]) / MIB) if any(job["peaks"]) else None,
        state if isinstance(state, str) else state[-1],
    )


def by_us(record: Record) -> RawRun:
    """What a record says."""
    amount = {one.name: one.amount for one in record.components}
    assert record.stop_time is not None
    assert record.meta is not None
    return (
        record.record_id.split("-")[1],
        int(record.start_time.timestamp()),
        int(record.stop_time.timestamp()),
        amount["Cores"],
        amount["Memory"],
        amount["TotalCPU"],
        amount.get("MaxRSS"),
        record.meta["state"][0].partition(" ")[0],  # by whom, JSON says elsewhere
    )


@pytest.mark.parametrize("release", RELEASES)
def test_json_says_the_same_of_every_run(release: str):
    """Ids, times, cores, memory, CPU time, peak and state of all runs; there is no other run."""
    expected = (CASES / release / "expected.jsonl").read_bytes().splitlines()
    theirs = [by_json(job) for job in lines(release, "json.jsonl") if job["nodes"][:4] != "None"]
    assert len(theirs) > 60
    assert sorted(map(by_us, map(decode, expected))) == sorted(theirs)


@pytest.mark.parametrize("release", RELEASES)
def test_only_the_newest_json_tells_which_run_it_is(release: str):
    """DBIndex is in no JSON; as SLUID it is in that of 26.05, and since 24.11 in rows."""
    indices = {row["DBIndex"]: row.get("SLUID") for row in lines(release, "rows.jsonl")}
    in_rows = set(indices.values())
    in_json = {job.get("sluid") for job in lines(release, "json.jsonl")}
    if release == "22.05":
        assert in_rows == in_json == {None}
    else:
        assert in_rows == {sluid(int(index)) for index in indices}
        assert in_json == (in_rows if release == "26.05" else {None})


@pytest.mark.parametrize("release", RELEASES)
def test_what_json_says_of_exit_codes(release: str):
    """22.05 calls a job that ended with 3 a success; newer ones say what rows say, or more."""
    said = {
        job["job_id"]: (job["exit_code"]["status"], number(job["exit_code"]["return_code"]))
        for job in lines(release, "json.jsonl")
    }
    rows = {row["JobIDRaw"]: row.get("ExitCode", "") for row in lines(release, "rows.jsonl")}
    code = {number: job for job, number in rows.items() if job.isdecimal()}
    by_3, by_255 = said[int(code["3:0"])], code.get("255:0") or code["127:0"]
    assert by_3 == (("SUCCESS", 0) if release == "22.05" else (["ERROR"], 3))
    assert rows[by_255] == ("255:0" if release == "26.05" else "127:0")
    assert said[int(by_255)][1] == (0 if release == "22.05" else 255)


@pytest.mark.parametrize("release", RELEASES)
def test_only_22_05_counts_the_time_before_a_resize_twice(release: str):
    """There the second row begins where the first did; since 24.11 at the resize, as our record."""
    first, second = (row for row in lines(release, "rows.jsonl") if row["JobID"] == "63")
    assert (first["State"], second["Submit"]) == ("RESIZING", first["End"])
    assert second["Start"] == (first["Start"] if release == "22.05" else second["Submit"])


@pytest.mark.parametrize("release", RELEASES)
def test_only_26_05_keeps_the_row_of_a_job_that_is_requeued_after_its_end(release: str):
    """It stays COMPLETED there; older ones call it REQUEUED. Both runs are recorded anyway."""
    states = [row["State"] for row in lines(release, "rows.jsonl") if row["JobID"] == "61"]
    assert states == ["COMPLETED" if release == "26.05" else "REQUEUED", "COMPLETED"]
