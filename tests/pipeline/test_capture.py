"""A captured case has the numbers of the real jobs, other names, and runs as it is."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.config import mapping_of, parse
from collector.pipeline.capture import Words, anonymous, expected_of, run, write
from collector.pipeline.entries import Read
from collector.pipeline.sources import MappedSource
from collector.source import Job, find_plugin
from collector_slurm.source import SlurmSource
from tests.helpers.site import Site
from tests.htcondor.cases import NAMES, source_of
from tests.slurm.standin import CASES, quiet, standin

LATER = datetime(2026, 11, 25, tzinfo=UTC)
CAPTURED = Path(__file__).parents[1] / "testcases" / "captured"
PEOPLE = ("Owner", "User", "Account", "Group", "UserId", "AcctGroupUser", "ScheddName")


@pytest.mark.parametrize("case", sorted(path.name for path in CAPTURED.iterdir()))
def test_a_captured_case_gives_what_is_expected(case: str):
    """Each folder that somebody attached to a report."""
    lines = (CAPTURED / case / "expected.jsonl").read_text().splitlines()
    assert run(CAPTURED / case) == [json.loads(line) for line in lines]


def check(mapped: MappedSource, folder: Path) -> int:
    """Captures all jobs of a source, and compares each with the real one."""
    reads: list[Read] = [job for batch in mapped.source.poll(None) for job in batch.jobs]
    folder = folder / "case"
    write(anonymous(reads, mapped), mapped.source.section, folder, "")
    number = 0
    for count, (read, expected) in enumerate(zip(reads, run(folder), strict=True), 1):
        assert isinstance(read, Job)
        text = (folder / f"job-{count:03}.txt").read_text(errors="surrogateescape")
        real = expected_of(bytes(read.raw).decode(errors="surrogateescape"), mapped)
        assert real.keys() == expected.keys(), (real, expected)
        if "record" in real:
            number += 1
            for key in ("start_time", "stop_time", "components"):
                assert real["record"].get(key) == expected["record"].get(key), read.where
        for name in PEOPLE:
            value = str(read.fields.get(name, ""))
            for word in re.findall(r"[a-z]{4,}\w*", value):
                if word not in ("batch", "local", "normal"):
                    assert not re.search(rf"(?<![\w]){word}(?!\w)", text), (name, word)
    return number


@pytest.mark.parametrize("case", NAMES)
def test_jobs_of_htcondor_keep_their_numbers_and_lose_their_names(case: str, tmp_path: Path):
    """Start, stop and components are the real ones."""
    plugin = find_plugin("htcondor")
    mapping = mapping_of(source_of(case).section, plugin)
    check(MappedSource(source_of(case), mapping), tmp_path)


@pytest.mark.parametrize("case", ["sacct", "jobcomp", "26.05"])
def test_jobs_of_slurm_keep_their_numbers_and_lose_their_names(case: str, tmp_path: Path):
    """Likewise."""
    text = (CASES / case / "config.yaml").read_text()
    program = standin(tmp_path, CASES / case / "rows.jsonl")
    text = text.replace("{folder}", str(CASES / case)).replace("{sacct}", program)
    section = parse(text, find_plugin).sources[0]
    mapped = MappedSource(SlurmSource(section, quiet(LATER)), mapping_of(section, SlurmSource))
    assert check(mapped, tmp_path) > 0


def test_a_word_is_the_same_everywhere():
    """Names of fields, states, and words of the mapping stay."""
    words = Words(["Owner", "physics"])
    text = 'Owner = "alice"\nIwd = "/home/alice/ab"\nx=physics,bob@node7.lab.org 10.1.2.3 COMPLETED'
    assert words.replaced(text) == (
        'Owner = "word1"\nIwd = "/word2/word1/ab"\nx=physics,word3@word4 192.0.2.5 COMPLETED'
    )
    assert words.replaced("alice 10.1.2.3") == "word1 192.0.2.5"


def test_the_command_makes_a_folder_that_runs(tmp_path: Path):
    """For an example of each plugin; of a job that cannot be mapped as well."""
    site = Site(tmp_path, "http://127.0.0.1:1")
    done = site.run("capture", "--source", "jobs", "--out", str(tmp_path / "none"), "5")
    assert done.returncode == 1
    history = Path(__file__).parents[1] / "testcases/htcondor/pool/input/history"
    rules = "{meta: {vo: {field: Owner, matches: '^(al)', optional: true}}}"
    site.config.write_text(
        "sources:\n  - {name: ap1, plugin: htcondor, record_prefix: ap1,"
        f" history: '{history}', mapping: {rules}}}\noutbox: {{path: {tmp_path}/outbox.db}}\n"
    )
    out = tmp_path / "case"
    done = site.run("capture", "--source", "ap1", "--out", str(out), "--last", "3")
    assert done.returncode == 0, done.stderr
    lines = (out / "expected.jsonl").read_text().splitlines()
    assert run(out) == [json.loads(line) for line in lines]
    assert "vo" in (out / "config.yaml").read_text()
    assert str(history) not in (out / "config.yaml").read_text()
    again = site.run("capture", "--source", "ap1", "--out", str(out), "--last", "3")
    assert again.returncode == 1
