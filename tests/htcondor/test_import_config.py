"""A site that comes from the existing collector gets the same records from its own rules."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.config import mapping_of, parse
from collector.job import Job
from collector.record import Record
from collector.source import find_plugin
from collector_htcondor.import_config import convert, differences
from collector_htcondor.section import HTCondorSection
from tests.htcondor.cases import source_of

THEIRS = Path(__file__).parents[1] / "testcases" / "htcondor_import" / "theirs.yml"


@pytest.fixture
def old() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(THEIRS.read_text())
    return loaded


def records(old: dict[str, Any]) -> dict[str, Record]:
    """What the converted rules make of the captured ads, by the number of the job."""
    section = parse(yaml.safe_dump(convert(old), sort_keys=False), find_plugin).sources[0]
    mapping = mapping_of(section, find_plugin("htcondor"))
    source = source_of("texts", frozenset(mapping.fields))
    jobs = [job for batch in source.poll(None) for job in batch.jobs]
    return {job.id.split("#")[1]: mapping.record(job) for job in jobs if not mapping.refuses(job)}


def test_the_result_is_a_configuration_of_ours(old: dict[str, Any]):
    """It loads, and says where, how often and since when."""
    config = parse(yaml.safe_dump(convert(old), sort_keys=False), find_plugin)
    assert config.auditor.url == "https://auditor.example:8443"
    assert config.auditor.timeout_s == 10
    assert config.auditor.tls.key == Path("/etc/auditor/client-key.pem")
    assert config.log.level == "error"
    [source] = config.sources
    assert (source.name, source.record_prefix, source.interval_s) == (
        "ap1.lab.example",
        "htcondor",
        900,
    )
    assert source.since is not None
    assert source.since.isoformat() == "2026-11-23T00:00:00+00:00"


def test_the_records_are_those_of_their_rules(old: dict[str, Any]):
    """Ids, meta and components as their collector makes them, and nothing of our defaults."""
    record = records(old)["18.0"]
    assert record.record_id == "htcondor-ap1.lab.example#18.0#1795459562"
    assert record.meta is not None
    del record.meta["collector"], record.meta["collector_type"]
    assert record.meta == {
        "user": ["labalice"],
        "group": ["atlas"],
        "submithost": ["ap1.lab.example"],
        "voms": ["/atlas/Role=production"],
        "site": ["ap1"],
    }
    amounts = {component.name: component.amount for component in record.components}
    assert list(amounts.items()) == [("Cores", 8), ("Memory", 16000), ("CPUTime", 0)]
    [score] = record.components[0].scores
    assert (score.name, score.value) == ("HEPSPEC", 10.45)


def test_an_entry_without_a_group_stands_for_its_name(old: dict[str, Any]):
    """`matches` without a group decides whether `name` is the value."""
    old["meta"]["site"][0]["matches"] = "^slot"
    meta = records(old)["18.0"].meta
    assert meta is not None
    assert meta["site"] == ["site1"]


def test_their_filter_of_states_is_kept(old: dict[str, Any]):
    """Completed jobs only, if they said so; both ended states are everything."""
    assert convert(old)["sources"][0]["only_if"] == [{"field": "JobStatus", "matches": "^(4)$"}]
    old["job_status"] = [3, 4]
    assert "only_if" not in convert(old)["sources"][0]


def test_what_does_not_carry_over_is_told(old: dict[str, Any]):
    """Nothing is dropped silently."""
    old |= {"constraint": "Owner != 'x'", "log_file": "x.log", "speed": 9}
    old["history_file"] = "/var/lib/condor/spool/history"
    old["meta"]["user"] = [old["meta"]["user"], {"key": "User"}]
    told = "\n".join(differences(old))
    for word in ("constraint", "log_file", "speed", "meta user"):
        assert word in told
    assert "state_db" not in told


def test_schedds_elsewhere_are_asked_as_before(old: dict[str, Any]):
    """Several schedds, a pool, a constraint: by condor_history."""
    old.pop("history_file", None)
    old["schedd_names"] = ["ap1.lab.example", "ap2.lab.example"]
    old |= {"pool": "cm.lab.example", "constraint": 'Owner != "x"'}
    [section] = parse(yaml.safe_dump(convert(old), sort_keys=False), find_plugin).sources
    assert isinstance(section, HTCondorSection)
    assert section.mode == "condor_history"
    assert section.schedd_names == ["ap1.lab.example", "ap2.lab.example"]
    assert (section.pool, section.constraint) == ("cm.lab.example", 'Owner != "x"')
    assert "asked by condor_history" in "\n".join(differences(old))


def test_another_file_is_refused():
    """With what is missing."""
    with pytest.raises(ValueError, match="components and meta are missing"):
        convert({"record_prefix": "x"})


def test_a_job_without_a_slot_is_accounted_as_by_our_defaults(old: dict[str, Any]):
    """Local, parallel and grid universe have no CpusProvisioned; theirs drops them one by one."""
    section = parse(yaml.safe_dump(convert(old), sort_keys=False), find_plugin).sources[0]
    bare = HTCondorSection(name="x", plugin="htcondor", record_prefix="x")
    ours, default = (mapping_of(one, find_plugin("htcondor")) for one in (section, bare))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for more in ({}, {"RequestCpus": 4, "MaxHosts": 2, "RequestMemory": 100}):
        fields: dict[str, str | int | float] = {"Owner": "alice", "ScheddName": "ap1", **more}
        job = Job("a#1.0#1", start, start, fields, b"", "")
        found, expected = (
            {one.name: one.amount for one in mapping.record(job).components}
            for mapping in (ours, default)
        )
        assert found["Cores"] == expected["Cores"]
        assert found.get("Memory") == expected.get("Memory")
