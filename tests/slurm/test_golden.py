"""Real accounting in, exactly these records out: each folder is input, config, expected records.

The rows of `sacct` are those of 125 kinds of jobs on a real cluster (Slurm 22.05); the jobcomp log
is another run of the same workload. The folders with a release's name are another workload, run on
that release (`capture.py`).
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.config import mapping_of, parse
from collector.source import find_plugin
from collector_slurm.source import SlurmSource
from tests.slurm.standin import CASES, filtered, jobs, quiet, standin

LATER = datetime(2026, 11, 25, tzinfo=UTC)
"""After all was captured."""


def read(case: Path, folder: Path) -> tuple[list[str], dict[str, int], list[str]]:
    """The records of a case as lines of JSON, what was left out, and what could not be read."""
    text = (case / "config.yaml").read_text()
    program = standin(folder, case / "rows.jsonl")
    text = text.replace("{folder}", str(case)).replace("{sacct}", program)
    section = parse(text, find_plugin).sources[0]
    mapping = mapping_of(section, SlurmSource)
    batches = list(SlurmSource(section, quiet(LATER, frozenset(mapping.fields))).poll(None))
    records = [mapping.record(job) for job in jobs(batches).values()]
    for record in records:
        assert record.meta is not None
        meta = {key: of for key, of in record.meta.items() if not key.startswith("collector")}
        record.with_meta(meta)
    return (
        sorted(record.encode().decode() for record in records),
        filtered(batches),
        [one.reason for batch in batches for one in batch.unreadable],
    )


@pytest.mark.parametrize("case", ["sacct", "jobcomp", "22.05", "24.11", "26.05"])
def test_the_captured_accounting_gives_exactly_these_records(case: str, tmp_path: Path):
    """Every run is one record, with these times, meta and components, and none is missing."""
    records, _, _ = read(CASES / case, tmp_path)
    assert records == (CASES / case / "expected.jsonl").read_text().splitlines()


def test_every_run_of_sacct_is_accounted_for(tmp_path: Path):
    """172 runs ended: 165 are recorded, 7 never started."""
    records, left_out, unreadable = read(CASES / "sacct", tmp_path)
    assert (len(records), left_out, unreadable) == (165, {"never started": 7}, [])


def test_every_entry_of_the_jobcomp_log_is_accounted_for(tmp_path: Path):
    """174 entries: 166 runs of which one is written twice, 7 never started, one was cut."""
    records, left_out, unreadable = read(CASES / "jobcomp", tmp_path)
    assert (len(records), left_out) == (165, {"never started": 7})
    assert unreadable == ["the line was cut after 1023 bytes by slurmctld"]
