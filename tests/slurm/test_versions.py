"""Newer releases of Slurm offer other columns: what is there is used, the rest is left alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.config import mapping_of, parse
from collector.record import Record
from collector.source import Job, find_plugin
from collector_slurm.columns import KEY_COLUMNS, USAGE, Columns
from collector_slurm.source import SlurmSource
from tests.slurm.sluid import sluid
from tests.slurm.standin import CAPTURED_AT, CASES, captured, jobs, quiet, standin, written

OFFERS = {
    path.stem: path.read_text().split()
    for path in sorted((CASES / "versions").glob("*.helpformat"))
}
RELEASES = list(OFFERS)
OLDEST, NEWEST = "22.05", "26.05"
HOSTILE = "x|y\n1\x1flab\x1f1\x1fCOMPLETED\x1f\n"
FREE_TEXT = {"Extra", "Licenses", "StdErr", "StdIn", "StdOut", "SubmitLine"}


def rows_as(release: str) -> list[dict[str, str]]:
    """The captured rows as a release prints them: its columns, and hostile text in all free ones.

    `Restarts` counts the requeues before a run; a resize is none. A DBIndex takes all of 64 bits
    from 24.11 on.
    """
    rows, requeues = [], Counter[str]()
    for row in captured():
        job_id, _, step = row["JobID"].partition(".")
        if "SLUID" in OFFERS[release]:
            row["DBIndex"] = str(1 << 63 | int(row["DBIndex"]))
        more = dict.fromkeys(FREE_TEXT, HOSTILE) | {
            "Restarts": str(requeues[job_id]),
            "SLUID": sluid(int(row["DBIndex"])),
            "Planned": "00:00:01",
            "PlannedCPU": "00:00:02",
            "PlannedCPURAW": "2",
            "QOSREQ": "normal",
            "SegmentSize": "0",
        }
        rows.append({name: (more | row).get(name, "") for name in OFFERS[release]})
        requeues[job_id] += not step and row["State"] in ("REQUEUED", "NODE_FAIL", "PREEMPTED")
    return rows


def read(release: str, folder: Path, **meta: Any) -> tuple[dict[str, Job], dict[str, Record]]:
    """What the default mapping, and more meta, make of these rows."""
    keys = {"name": "slurm", "plugin": "slurm", "record_prefix": "slurm", "rescan_s": 7200}
    sacct_path = standin(folder, written(folder, rows_as(release)))
    config = {"sources": [{**keys, "sacct": sacct_path, "pause_s": 0, "mapping": {"meta": meta}}]}
    section = parse(yaml.safe_dump(config), find_plugin).sources[0]
    mapping = mapping_of(section, SlurmSource)
    given = quiet(CAPTURED_AT, frozenset(mapping.fields))
    found = jobs(SlurmSource(section, given).poll(None))
    return found, {run: mapping.record(job) for run, job in found.items()}


def test_what_releases_offer_differs():
    """Otherwise these tests would prove nothing."""
    assert {"Reserved", "ResvCPURAW"} <= set(OFFERS[OLDEST]) - set(OFFERS["23.11"])
    assert {"StdOut"} <= set(OFFERS["24.05"]) - set(OFFERS["23.11"])
    assert {"QOSREQ", "Restarts", "SLUID"} == set(OFFERS["24.11"]) - set(OFFERS["24.05"])
    assert {"Exclusive", "SegmentSize"} <= set(OFFERS[NEWEST]) - set(OFFERS["24.11"])


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_offers_all_that_each_reading_needs(release: str):
    """Key columns, those of the default mapping but for the jobcomp log's, the numbers of users and
    groups, and the steps' usage.
    """
    offered = frozenset(OFFERS[release])
    fields = frozenset({"AllocCPUS", "AllocTRES", "TotalCPU", "MaxRSS", "NNodes", "User", "Group"})
    assert offered.issuperset(KEY_COLUMNS)
    needed = fields.union(KEY_COLUMNS, {USAGE, "UID", "GID"})
    assert set(Columns.choose(fields, offered, str).names) == needed


@pytest.mark.parametrize("release", RELEASES)
def test_any_column_that_is_not_known_to_be_slurms_own_gets_the_secret_delimiter(release: str):
    """A release may add a column of users' text: nobody needs to know it for it to be harmless."""
    offered = frozenset(OFFERS[release]) | {"ColumnOfTomorrow"}
    for name in (FREE_TEXT | {"ColumnOfTomorrow"}) & offered:
        columns = Columns.choose(frozenset({name}), offered, lambda: "secret")
        assert columns.delimiter == "\x1fsecret\x1f", name


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The records of the release that the rows were captured on."""
    return read(OLDEST, tmp_path_factory.mktemp("oldest"))[1]


@pytest.mark.parametrize(
    "release",
    [
        pytest.param(release, marks=[] if release == NEWEST else pytest.mark.slow)
        for release in RELEASES[1:]
    ],
)
def test_every_release_gives_the_same_records(
    release: str, oldest: dict[str, Record], tmp_path: Path
):
    """Also with hostile text and newer columns in the mapping, and DBIndex of 64 bits."""
    names = ("StdOut", "Extra", "Restarts", "SLUID", "Reserved", "PlannedCPURAW")
    _, records = read(release, tmp_path, **{n: {"field": n, "optional": True} for n in names})
    for record in records.values():
        assert record.meta is not None
        for name in names:
            record.meta.pop(name, None)
    assert records == oldest


def test_columns_of_newer_releases_are_fields_where_they_are(tmp_path: Path):
    """Restarts is a number, SLUID a text; on an older release neither is a field, nor an error."""
    wanted = {name: {"field": name, "optional": True} for name in ("Restarts", "SLUID")}
    found, records = read(NEWEST, tmp_path, **wanted)
    assert found["146-1795478809"].fields["Restarts"] == 2
    meta = records["146"].meta
    assert meta is not None
    assert (len(meta["SLUID"][0]), meta["SLUID"][0][0]) == (14, "s")
    older, _ = read("23.11", tmp_path, **wanted)
    assert "Restarts" not in older["146"].fields


def test_restarts_cannot_tell_which_run_is_the_first(tmp_path: Path):
    """A resize is no restart: both rows of 35 have 0. So slurmdbd is asked for the first one."""
    found, _ = read(NEWEST, tmp_path, Restarts={"field": "Restarts", "optional": True})
    resized = [job for job in found.values() if job.fields["JobID"] == "35"]
    assert [job.fields["Restarts"] for job in resized] == [0, 0]
    assert sorted(job.id for job in resized) == ["35", "35-1795478765"]
