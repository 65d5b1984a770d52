"""A configuration of AUDITOR's Slurm collector becomes ours, and gives the same records."""

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.config import mapping_of, parse
from collector.job import Job
from collector.record import Record
from collector.source import find_plugin
from collector_slurm.import_config import DONE, convert, database, differences, go_on
from collector_slurm.run import ENDED_STATES
from collector_slurm.source import SlurmSource
from tests.helpers.auditor_server import running_auditor
from tests.slurm import old_collector
from tests.slurm.standin import CAPTURED_AT, captured, jobs, quiet, standin

OLD = """
addr: auditor.example.org
port: 8001
record_prefix: site
earliest_datetime: "2026-11-24T00:00:00+00:00"
sacct_frequency: 30
sender_frequency: 5
max_sacct_window: 7200
logging: {log_to_file: false}
job_filter: {status: [completed], partition: [batch, gpu]}
sites:
  - {name: ours, only_if: {key: Account, matches: "^atlas$"}}
  - {name: others}
meta:
  - {name: Comment, key: Comment, key_type: Json, key_allow_empty: true}
  - {name: queue, key: Partition, key_type: String}
components:
  - name: Cores
    key: NCPUS
    scores:
      - {name: HEPSPEC, value: 1.5, only_if: {key: Account, matches: physics}}
  - {name: Memory, key: ReqMem, key_type: IntegerMega}
  - {name: UserCPU, key: UserCPU, key_type: Time, default_value: 0}
"""


STATES = (
    *("boot_fail", "cancelled", "completed", "deadline", "failed", "node_fail", "out_of_memory"),
    *("preempted", "requeued", "resizing", "revoked", "timeout"),
)
DATABASE = Path(__file__).parents[1] / "testcases" / "slurm_import" / "database.sql"
CORES = {"name": "Cores", "key": "AllocCPUS"}


def records_of(
    old: dict[str, Any], folder: Path, states: Sequence[str] = ("CD",)
) -> dict[str, Record]:
    """What the converted configuration makes of the captured rows."""
    new = convert(old)
    new["sources"][0].update(sacct=standin(folder), pause_s=0, states=list(states))
    section = parse(yaml.safe_dump(new, sort_keys=False), find_plugin).sources[0]
    mapping = mapping_of(section, SlurmSource)
    given = SlurmSource(section, quiet(CAPTURED_AT, frozenset(mapping.fields)))
    found = [mapping.record(job) for job in jobs(given.poll(None)).values()]
    return {record.record_id: record for record in found}


def test_the_records_are_those_of_the_old_collector(tmp_path: Path):
    """Ids, site, user, group, components, units and scores."""
    old = yaml.safe_load(OLD)
    old["components"][0]["key"] = "AllocCPUS"
    records = records_of(old, tmp_path)
    record = records["site-32"]
    assert record.meta is not None
    del record.meta["collector"], record.meta["collector_type"]
    assert record.meta == {
        "site_id": ["others"],
        "user_id": ["labbob"],
        "group_id": ["labbob"],
        "queue": ["batch"],
    }
    cores, memory, user_cpu = record.components
    assert (cores.name, cores.amount, cores.scores[0].value) == ("Cores", 2, 1.5)
    assert (memory.name, memory.amount) == ("Memory", 128)
    assert (user_cpu.name, user_cpu.amount > 0) == ("UserCPU", True)
    assert {record.meta["site_id"][0] for record in records.values() if record.meta} == {
        "ours",
        "others",
    }


def test_each_entry_of_a_comment_is_kept():
    """As the old collector takes all of them: headnode, and whatever a site's ARC adds."""
    section = parse(yaml.safe_dump(convert(yaml.safe_load(OLD)), sort_keys=False), find_plugin)
    mapping = mapping_of(section.sources[0], SlurmSource)
    comment = "{'headnode': 'ce1', 'voms': '/atlas', 'subject': '/CN=x', 'issuer': 'https://i'}"
    fields: dict[str, str | int | float] = {"User": "u", "Group": "g", "Comment": comment}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    meta = mapping.record(Job("1", start, start, fields, b"", "")).meta
    assert meta is not None
    assert {key: meta[key] for key in ("headnode", "voms", "subject", "issuer")} == {
        "headnode": ["ce1"],
        "voms": ["/atlas"],
        "subject": ["/CN=x"],
        "issuer": ["https://i"],
    }


def test_everything_else_carries_over():
    """Address, prefix, intervals, earliest time and filters."""
    new = convert(yaml.safe_load(OLD))
    (source,) = new["sources"]
    assert new["auditor"] == {"url": "http://auditor.example.org:8001"}
    assert (source["record_prefix"], source["interval_s"]) == ("site", 30)
    assert source["window_s"] == 7200
    assert not any("not a key of theirs" in line for line in differences(yaml.safe_load(OLD)))
    assert source["since"] == "2026-11-24T00:00:00+00:00"
    assert (source["states"], source["partitions"]) == (["completed"], ["batch", "gpu"])


def test_what_is_done_in_another_way_is_told():
    """Each difference is a sentence; a key that is none of theirs is named."""
    found = differences({**yaml.safe_load(OLD), "colour": "red"})
    assert any("requeued" in line for line in found)
    assert "colour: not a key of theirs; left out" in found
    assert any("completed ones only" in line for line in differences({"sites": []}))


def test_another_programs_configuration_is_refused():
    """The HTCondor collector's has none of these keys."""
    with pytest.raises(ValueError, match="expected a configuration of auditor-slurm-collector"):
        convert({"schedd_names": ["a"], "meta": {}, "components": []})


@pytest.mark.parametrize("key", ["sites", "meta", "components", "job_filter"])
def test_a_key_without_a_value_is_as_good_as_none(key: str):
    """YAML's null, as where all lines below a key are comments."""
    old = yaml.safe_load(OLD)
    del old[key]
    without = convert(old), differences(old)
    assert (convert({**old, key: None}), differences({**old, key: None})) == without


def recorded_by_the_old_one() -> dict[str, tuple[int, int, str]]:
    """Start, end and cores of what the old collector records of the captured rows.

    It calls sacct without `-D`, which gives the last row of each JobID that is in one of the
    states, takes Start and End as they stand there, and leaves out jobs that were cancelled and
    have no Start (`sacctcaller.rs`).
    """
    rows = {
        row["JobID"]: row
        for row in captured()
        if "." not in row["JobID"] and row["State"].split()[0].lower() in STATES
    }
    return {
        f"site-{job_id}": (int(row["Start"]), int(row["End"]), row["AllocCPUS"])
        for job_id, row in rows.items()
        if row["Start"].isdecimal() and row["End"].isdecimal()
    }


def times_and_cores(record: Record) -> tuple[int, int, str]:
    """Start, end and cores of a record."""
    stop = int(record.stop_time.timestamp()) if record.stop_time else 0
    return int(record.start_time.timestamp()), stop, str(record.components[0].amount)


@pytest.fixture
def old_one(tmp_path: Path) -> Iterator[Callable[[Sequence[str], int], dict[str, Record]]]:
    """Runs the old collector over captured rows: states and number of records → records.

    It ends by itself, or is ended when the Auditor has so many records.
    """
    reason = old_collector.unavailable()
    if reason is None and datetime.now(UTC) < CAPTURED_AT:
        reason = "this machine's clock is before the captured rows"
    if reason is not None:
        pytest.skip(reason)
    with running_auditor(tmp_path / "auditor.db") as auditor, auditor.client() as client:

        def run(states: Sequence[str], count: int) -> dict[str, Record]:
            config = {
                "port": auditor.port,
                "record_prefix": "site",
                "earliest_datetime": "2026-11-23T12:00:00+00:00",
                "sacct_frequency": 1,
                "database_path": f"sqlite://{tmp_path}/old.db",
                "job_filter": {"status": list(states)},
                "sites": [{"name": "ours"}],
                "components": [CORES],
                "tls_config": {"use_tls": False},
                "log_level": "error",
            }
            path = tmp_path / "old.yaml"
            path.write_text(yaml.safe_dump(config))
            command = old_collector.command(path, standin(tmp_path))
            found: dict[str, Record] = {}
            deadline = time.monotonic() + 60
            with subprocess.Popen(
                command,
                env={**os.environ, "TZ": "UTC"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                while process.poll() is None and len(found) < count:
                    assert time.monotonic() < deadline, f"{len(found)} of {count} records"
                    time.sleep(0.5)
                    found = {record.record_id: record for record in client.stream_query()}
                process.terminate()
            return found

        yield run


@pytest.mark.slow
def test_the_old_collector_itself_records_that(
    old_one: Callable[[Sequence[str], int], dict[str, Record]],
):
    """The real program, over the captured rows as sacct prints them to it."""
    expected = recorded_by_the_old_one()
    found = old_one([state for state in STATES if state != "deadline"], len(expected))
    assert {run: times_and_cores(record) for run, record in found.items()} == expected


@pytest.mark.slow
def test_the_old_collector_ends_at_a_job_that_missed_its_deadline(
    old_one: Callable[[Sequence[str], int], dict[str, Record]],
):
    """Job 6 never started and was not cancelled: no record is sent, now and at every restart."""
    for _ in range(2):
        assert old_one(STATES, 1) == {}


def test_records_differ_only_where_the_old_ones_are_wrong(tmp_path: Path):
    """On all captured rows; the four differences, and no other, are those of docs/slurm.md."""
    old = {"record_prefix": "site", "sites": [{"name": "ours"}], "components": [CORES]}
    ours = {
        run: times_and_cores(record)
        for run, record in records_of(old, tmp_path, list(ENDED_STATES)).items()
    }
    theirs = recorded_by_the_old_one()
    more = {run.split("-")[1] for run in ours.keys() - theirs.keys()}
    fewer = {run.removeprefix("site-") for run in theirs.keys() - ours.keys()}
    other = {
        run.removeprefix("site-") for run in ours.keys() & theirs.keys() if ours[run] != theirs[run]
    }
    several = {"35", "145", "146", "147_1", "147_2", "148", "152", "157", "159"}
    assert more == several, "runs before the last one"
    assert fewer == {"114", "115", "117_[0-99]"}, "cancelled while pending"
    assert other == several | {"142", "144"}, "the last run under the id of the first; suspended"


@pytest.mark.parametrize(
    ("without", "keys", "since", "told"),
    [
        ("", {}, "2026-11-13T09:30:00+00:00", "3 records in its database are not sent"),
        ("records", {}, "2026-11-17T02:00:00+00:00", "the last job that it sent ended"),
        ("records", {"max_sacct_window": 7200}, "2026-11-24T00:00:00+00:00", "2026-11-24T02:00"),
        (
            "records",
            {"earliest_datetime": "2026-11-20T00:00:00+01:00"},
            "2026-11-19T23:00:00+00:00",
            "2026-11-24T02:00",
        ),
        ("lastcheck", {}, "2026-11-13T09:30:00+00:00", "3 records in its database are not sent"),
        ("both", {}, None, "says of no job that it was collected"),
    ],
)
def test_since_is_before_all_that_the_old_collector_may_have_lost(
    without: str, keys: dict[str, Any], since: str | None, told: str
):
    """What waits in its database, and what its last answer of sacct held."""
    with contextlib.closing(sqlite3.connect(":memory:")) as opened:
        opened.executescript(DATABASE.read_text())
        for table in ("records", "lastcheck"):
            if without in (table, "both"):
                opened.execute(f"DELETE FROM {table}")
        found, said = go_on(keys, opened.execute(DONE))
    assert (found and found.isoformat()) == since
    assert told in "\n".join(said)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "testdb.db"),
        ({"database_path": "sqlite:///var/lib/x.db"}, "/var/lib/x.db"),
        ({"database_path": "sqlite://x.db?mode=rwc"}, "x.db"),
        ({"database_path": "sqlite:x.db"}, "x.db"),
    ],
)
def test_their_database_is_found_by_its_url(given: dict[str, Any], path: str):
    """In each form that they allow."""
    assert database(given) == path
