"""Ads of real pools, of every end of a run, beside what the jobs of those pools wrote themselves.

`python -m tests.htcondor.verify --capture FOLDER` makes such a case.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from collector.source import Job
from collector.source.testing import context
from collector_htcondor.source import HTCondorSection, HTCondorSource
from tests.htcondor.cases import CASES

REAL = sorted(path.parent for path in (CASES / "real_ends").glob("*/witness.json"))
TOLERANCE_S = 1


@pytest.mark.parametrize("case", REAL, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("witness", "keys"),
    [("last", {"mode": "history"}), ("epochs", {"mode": "epochs"})],
    ids=["history", "epochs"],
)
def test_each_run_is_as_long_as_its_job_saw(case: Path, witness: str, keys: dict[str, Any]):
    """Completed, held, removed, evicted, lost, restarted: start and stop within a second."""
    expected = json.loads((case / "witness.json").read_text())[witness]
    found = _runs(case, **keys)
    wrong = []
    for number, job in expected.items():
        records = found.pop(number, [])
        if job["runs"] != [[0, 0]]:  # starts that failed at once are no runs to their job
            records = [record for record in records if record[1] - record[0] > TOLERANCE_S]
        if job["runs"] == [[0, 0]]:  # its program never began: that it is there is all one knows
            assert records
        elif len(records) != len(job["runs"]) or any(
            abs(one - other) > TOLERANCE_S
            for record, run in zip(records, job["runs"], strict=True)
            for one, other in zip(record, run, strict=True)
        ):
            wrong.append(f"{number} {job['kind']}: {records}, not {job['runs']}")
    assert wrong == []
    assert found == {}


def _runs(case: Path, **keys: Any) -> dict[str, list[list[int]]]:
    """Start and stop of each run, by the number of its job."""
    section: dict[str, Any] = {
        "name": "ce",
        "plugin": "htcondor",
        "record_prefix": "ce",
        "history": case / "history",
        "epoch_history": case / "epoch_history",
        **keys,
    }
    source = HTCondorSource(HTCondorSection(**section), context())
    jobs: dict[str, Job] = {}
    for batch in source.poll(None):
        for job in batch.jobs:
            jobs.setdefault(job.id, job)  # of a run that is reported twice the first counts
    found: dict[str, list[list[int]]] = {}
    for job in sorted(jobs.values(), key=lambda job: job.start_at):
        assert job.stop_at is not None
        times = [int(job.start_at.timestamp()), int(job.stop_at.timestamp())]
        found.setdefault(job.id.split("#")[1], []).append(times)
    return found
