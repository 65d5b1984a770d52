"""The test cases: a folder each, of a configuration, input files and the expected records.

`python -m tests.htcondor.cases` writes what is expected anew; look at the difference.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from collector.config import mapping_of, parse
from collector.pipeline.entries import left_out
from collector.source import Batch, find_plugin
from collector.source.testing import context
from collector_htcondor.source import HTCondorSource

CASES = Path(__file__).parents[1] / "testcases" / "htcondor"
NAMES = sorted(path.parent.name for path in CASES.glob("*/config.yaml"))


def source_of(case: str, fields: frozenset[str] | None = None, **keys: Any) -> HTCondorSource:
    """The source of a case, as its configuration says, with some keys changed."""
    text = (CASES / case / "config.yaml").read_text().replace("{folder}", str(CASES / case))
    section = parse(text, find_plugin).sources[0]
    for key, value in keys.items():
        setattr(section, key, value)
    given = context(case)
    given.fields = fields
    return HTCondorSource(section, given)


def result(case: str, **keys: Any) -> tuple[list[Any], dict[str, Any]]:
    """The records of a case, and what became of its other ads, as JSON has them."""
    mapping = mapping_of(source_of(case).section, find_plugin("htcondor"))
    source = source_of(case, frozenset(mapping.fields), **keys)
    records: list[Any] = []
    unreadable: list[dict[str, str]] = []
    filtered: Counter[str] = Counter()
    for batch in source.poll(None):
        filtered.update(batch.filtered)
        for one in batch.unreadable:
            where = one.where.replace(f"{CASES / case}/", "")
            unreadable.append({"where": where, "reason": one.reason})
        for job in batch.jobs:
            if reason := left_out(job, source.section, mapping):
                filtered[reason] += 1
                continue
            record = json.loads(mapping.record(job).encode())
            del record["meta"]["collector"], record["meta"]["collector_type"]  # our version
            records.append(record)
    return records, {"filtered": dict(sorted(filtered.items())), "unreadable": unreadable}


def expected(case: str) -> tuple[list[Any], dict[str, Any]]:
    """What a case is to give."""
    folder = CASES / case
    lines = (folder / "expected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], json.loads((folder / "others.json").read_text())


def jobs(batches: list[Batch]) -> dict[str, Any]:
    """The jobs of batches by the number of the job, as `12.0`; the first of each."""
    found: dict[str, Any] = {}
    for batch in batches:
        for job in batch.jobs:
            found.setdefault(job.id.split("#")[1], job)
    return found


if __name__ == "__main__":
    for name in NAMES:
        kept, others = result(name)
        lines = [json.dumps(record, ensure_ascii=False) for record in kept]
        (CASES / name / "expected.jsonl").write_text("".join(f"{line}\n" for line in lines))
        (CASES / name / "others.json").write_text(json.dumps(others, indent=1) + "\n")
