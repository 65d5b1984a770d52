"""An explanation says what happens: on every job of the test cases, and where the job is now."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.config import Config, mapping_of, parse
from collector.config.load import rules_of
from collector.mapping.evaluation import Site as MappingSite
from collector.outbox import NewRecord
from collector.pipeline.entries import Read, entries_of
from collector.pipeline.explain import Explanation, explain
from collector.pipeline.sources import MappedSource
from collector.record import decode
from collector.source import Source, find_plugin
from collector_slurm.source import SlurmSource
from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.example_plugin import FIRST_START
from tests.helpers.site import Site
from tests.htcondor.cases import NAMES, source_of
from tests.slurm.standin import CASES, quiet, standin

LATER = datetime(2026, 11, 25, tzinfo=UTC)


def recomposed(one: Explanation) -> tuple[dict[str, Any], dict[str, Any]]:
    """Meta and components as the traced rules have them."""
    meta: dict[str, Any] = {}
    components: dict[str, Any] = {}
    for rule in one.rules:
        kind, _, name = rule.name.partition(" ")
        if rule.counts and "*" in name:
            meta |= {name.replace("*", key): value for key, value in rule.value.items()}
        elif rule.counts and kind == "meta":
            meta[name] = rule.value
        elif rule.counts and kind == "component":
            components[name] = round(rule.value)
    return meta, components


def agree(source: Source) -> int:
    """Explains every job of a source, and compares with what is stored; says how many there are."""
    plugin = type(source)
    mapped = MappedSource(source, mapping_of(source.section, plugin))
    config = Config(sources=[source.section])
    number = 0
    for batch in source.poll(None):
        reads: list[Read] = [*batch.unreadable, *batch.jobs]
        for read in reads:
            (entry,) = entries_of([read], mapped)
            one = explain(read, mapped, config)
            number += 1
            if not isinstance(entry, NewRecord):
                assert entry.reason in (one.left_out, one.rejected)
                assert one.record is None
                continue
            assert one.record == msgspec.Raw(entry.body)
            record = decode(entry.body)
            meta, components = recomposed(one)
            assert {one.name: one.amount for one in record.components} == components
            assert set(meta) == set(record.meta or ())
            assert len(one.raw) > 0
            assert any("start" in witness.agrees for witness in one.witnesses), one.witnesses
    return number


@pytest.mark.parametrize("case", NAMES)
def test_every_htcondor_case_is_explained_as_it_is_stored(case: str):
    """The record, the rules that made it, or the reason why there is none."""
    fields = mapping_of(source_of(case).section, find_plugin("htcondor")).fields
    agree(source_of(case, frozenset(fields)))


@pytest.mark.parametrize("case", ["sacct", "jobcomp", "22.05", "24.11", "26.05"])
def test_every_slurm_case_is_explained_as_it_is_stored(case: str, tmp_path: Path):
    """Likewise."""
    text = (CASES / case / "config.yaml").read_text()
    program = standin(tmp_path, CASES / case / "rows.jsonl")
    text = text.replace("{folder}", str(CASES / case)).replace("{sacct}", program)
    section = parse(text, find_plugin).sources[0]
    fields = frozenset(mapping_of(section, SlurmSource).fields)
    assert agree(SlurmSource(section, quiet(LATER, fields))) > 0


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    made = Site(tmp_path, auditor.url)
    text = made.config.read_text()
    rules = "{meta: {vo: {field: user, matches: '^(.)', optional: true}}}"
    made.config.write_text(
        text.replace("plugin: jsonlines", f"plugin: jsonlines, mapping: {rules}")
    )
    return made


def lately(hours: int) -> int:
    return int((datetime.now(UTC) - FIRST_START - timedelta(hours=hours)).total_seconds())


def explained(site: Site, *arguments: str) -> list[dict[str, Any]]:
    done = site.run("explain", "--format", "json", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_job_is_followed_from_its_text_into_the_auditor(site: Site):
    """Before it is read, after it is sent, and when the Auditor has something else."""
    number = lately(2)
    site.log(number, user="bob")
    (before,) = explained(site, str(number))
    assert before["auditor"] == "not there"
    assert before["record"]["meta"]["vo"] == ["b"]
    rule = next(one for one in before["rules"] if one["name"] == "meta vo")
    assert [step["key"] for step in rule["steps"]] == ["field: user", "matches: ^(.)"]
    assert [step["value"] for step in rule["steps"]] == ["bob", "b"]
    period = ("--since", "2026-01-01", "--until", "2100-01-01")
    assert site.run("backfill", *period).returncode == 0
    (after,) = explained(site, f"jobs-{number}")
    assert after["auditor"] == "there, and equal"
    assert after["outbox"]["sent_at"] is not None
    said = site.run("explain", str(number)).stdout
    assert "outbox    sent at 20" in said
    assert "Auditor   there, and equal" in said
    (site.folder / "jobs.jsonl").write_bytes(b"")
    site.log(number, user="bob", cores=7)
    (other,) = explained(site, str(number))
    assert other["auditor"].startswith("there, and different: components {'Cores': 2")


def test_a_rejected_job_is_explained_by_its_kept_text(site: Site):
    """Also when its log is gone; the exit status says that no record can be made of it."""
    number = lately(2)
    site.log(number, cores="many")
    assert site.run("backfill", "--since", "2026-01-01", "--until", "2100-01-01").returncode == 1
    (site.folder / "jobs.jsonl").unlink()
    done = site.run("explain", str(number))
    assert done.returncode == 1
    assert "rejected  component Cores: cores = 'many': expected a number" in done.stdout
    assert "outbox    rejected as unmappable" in done.stdout


def test_the_newest_jobs_and_the_text_of_one(site: Site):
    """`--last`, and `--file` for writing a mapping."""
    site.log(lately(3), lately(2), lately(1))
    found = explained(site, "--last", "2", "--offline")
    assert len(found) == 2
    text = site.folder / "job.json"
    text.write_text(found[0]["raw"])
    (again,) = explained(site, "--file", str(text), "--source", "jobs", "--offline")
    assert again["record"] == found[0]["record"]
    text.write_text("no job")
    done = site.run("explain", "--file", str(text), "--source", "jobs", "--offline")
    assert done.returncode == 1
    assert "rejected  JSON is malformed" in done.stdout, (done.stdout, done.stderr)


def test_a_job_that_is_nowhere_is_said_to_be(site: Site):
    """What outbox and Auditor know of the record id is said too."""
    site.log(lately(1))
    done = site.run("explain", "jobs-5")
    assert done.returncode == 1
    assert "jobs-5: no source shows it; Auditor: not there" in done.stderr
    for wrong in ((), ("5", "--last", "1"), ("--last", "1", "--source", "nobody")):
        assert site.run("explain", *wrong).returncode == 2


def test_why_a_rule_gives_nothing_is_said():
    """By its condition, by what a pattern did not find, or since an earlier one counts."""
    from collector.mapping.trace import trace

    text = """
    sources: [{name: s, plugin: slurm, record_prefix: s, mapping: {meta: {
      a: [{field: User, matches: '^x', optional: true}, User, Account],
      b: {value: gpu, only_if: {field: Partition, matches: '^gpu$'}}}, components: {
      Cores: {field: AllocCPUS, factor: 2, scores: {HS23: {value: 10}}}}}}]
    """
    section = parse(text, find_plugin).sources[0]
    found = trace(
        rules_of(section, find_plugin("slurm")),
        {"User": "alice", "Account": "p", "Partition": "batch", "AllocCPUS": "4"},
        MappingSite(str, Path()),
    )
    said: dict[str, list[Any]] = {}
    for rule in found:
        said.setdefault(rule.name, []).append((rule.counts, rule.value, rule.left_out))
    assert said["meta a"] == [
        (False, None, "optional, and no value"),
        (True, "alice", ""),
        (False, "p", "an earlier rule has a value"),
    ]
    assert said["meta b"] == [(False, None, "only_if Partition does not match ^gpu$")]
    assert said["component Cores"] == [(True, 8, "")]
    assert said["score HS23 of component Cores"] == [(True, 10, "")]
