"""The configurations of AUDITOR's own collectors become ours, and are ours."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from collector.cli.import_config import command
from collector.config import parse
from collector.source import find_plugin

HTCONDOR = """
addr: auditor.example.org
port: 8000
state_db: state.db
record_prefix: htcondor
interval: 900
schedd_names: [ap1.example.org]
earliest_datetime: '2026-01-01 00:00:00+00:00'
tls_config: {use_tls: false}
meta:
  user: {key: Owner}
  site:
    - {name: SITE1, key: LastRemoteHost, matches: '^slot.+@site1-.+$'}
    - {name: UNDEF}
components:
  - name: Cores
    key: CpusProvisioned
    scores: [{name: HEPSPEC, key: MachineAttrApelSpecs0, matches: 'HEPSPEC\\D+(\\d+(\\.\\d+)?)'}]
"""
SLURM = """
addr: auditor.example.org
port: 8000
record_prefix: slurm
job_filter: {status: [completed, failed], partition: [batch]}
sites:
  - name: SITE1
    only_if: {key: Partition, matches: '^batch'}
  - name: SITE2
components:
  - {name: Cores, key: NCPUS, scores: [{name: HEPSPEC, value: 1.1}]}
"""


@pytest.mark.parametrize(("text", "plugin"), [(HTCONDOR, "htcondor"), (SLURM, "slurm")])
def test_a_configuration_becomes_one_of_ours(text: str, plugin: str, tmp_path: Path):
    """The plugin is found by what stands in it; prefix and address stay; what differs is told."""
    old = tmp_path / "old.yml"
    old.write_text(text)
    result = CliRunner().invoke(command, [str(old)])
    assert result.exit_code == 0, result.output
    config = parse(result.stdout, find_plugin)
    (source,) = config.sources
    assert source.plugin == plugin
    assert source.record_prefix == yaml.safe_load(text)["record_prefix"]
    assert config.auditor.url == "http://auditor.example.org:8000"
    assert "Cores" in source.mapping.components
    assert result.stdout.startswith("# Made from old.yml. What is different:\n# - ")


@pytest.mark.parametrize("text", ["a: 1", "[]", "{", "sources: []"])
def test_another_file_is_refused_with_the_reasons(text: str, tmp_path: Path):
    """Each collector's reason why it is not one of its configurations."""
    old = tmp_path / "old.yml"
    old.write_text(text)
    result = CliRunner().invoke(command, [str(old)])
    assert result.exit_code == 1
    assert "old.yml" in result.output
