"""The configurations of AUDITOR's own collectors become ours, and are ours."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from collector.cli import import_config
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


TESTCASES = Path(__file__).parents[1] / "testcases"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The old Slurm collector's, as it leaves it; it keeps it in WAL mode."""
    (tmp_path / "old.yml").write_text(f"{SLURM}database_path: sqlite://their.db\n")
    with contextlib.closing(sqlite3.connect(tmp_path / "their.db")) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.executescript((TESTCASES / "slurm_import" / "database.sql").read_text())
    return tmp_path / "their.db"


def imported(folder: Path, *options: str) -> str:
    result = CliRunner().invoke(command, [str(folder / "old.yml"), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_old_collectors_database_says_since_when_and_is_not_touched(
    database: Path, tmp_path: Path
):
    """Not a byte of it, nor a file beside it, which would belong to whoever ran the command."""
    before = database.read_bytes()
    (source,) = parse(imported(tmp_path), find_plugin).sources
    assert source.since == datetime(2026, 11, 13, 9, 30, tzinfo=UTC)
    assert database.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.yml", "their.db"]
    moved = database.rename(tmp_path / "moved.db")
    assert "2026-11-13T09:30" in imported(tmp_path, "--database", str(moved))


def test_a_database_that_is_in_use_is_read_as_it_is_now(database: Path, tmp_path: Path):
    """With what is in its WAL only."""
    with contextlib.closing(sqlite3.connect(database)) as theirs:
        theirs.execute("DELETE FROM records")
        theirs.commit()
        assert "2026-11-17T02:00" in imported(tmp_path)


def test_a_database_that_cannot_be_read_is_told(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not there, no database, another program's, being written: with what to do instead."""
    monkeypatch.setattr(import_config, "_LOCK_TIMEOUT_S", 0.1)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as theirs:
        theirs.execute("PRAGMA journal_mode = DELETE")
        theirs.execute("PRAGMA cache_size = 1")
        theirs.execute("BEGIN EXCLUSIVE")
        theirs.execute("CREATE TABLE large AS SELECT zeroblob(1000000)")
        assert "could not be read (database is locked)" in imported(tmp_path)
    with contextlib.closing(sqlite3.connect(database)) as theirs:
        theirs.execute("DROP TABLE lastcheck")
    assert "could not be read (no such table: lastcheck)" in imported(tmp_path)
    database.write_bytes(b"no database" * 100)
    assert "could not be read (file is not a database)" in imported(tmp_path)
    database.unlink()
    told = imported(tmp_path)
    assert "could not be read (No such file or directory)" in told
    assert "set `since` by hand" in told


KUBERNETES = """
auditor_addr: localhost
auditor_port: 8000
prometheus_addr: localhost
prometheus_port: 31000
record_prefix: KUBE_
job_filter: {namespace: [default], labels: [app==test]}
collect_interval: 30
"""
EPILOG = """
addr: auditor.example.org
port: 8001
record_prefix: slurm
site_id: SITE
components:
  - name: Memory
    key: MinMemoryNode
  - name: Cores
    key: NumCPUs
    only_if: {key: Partition, matches: '^batch'}
    scores: [{name: HEPSPEC, value: 1.1, only_if: {key: UserId, matches: alice}}]
"""


def test_a_kubernetes_collectors_file_is_refused_by_name(tmp_path: Path):
    """It has filters as the Slurm collector's has, and would give a configuration of nothing."""
    old = tmp_path / "old.yml"
    old.write_text(KUBERNETES)
    result = CliRunner().invoke(command, [str(old)])
    assert result.exit_code == 1
    assert "auditor-kubernetes-collector" in result.output


def test_an_epilog_collectors_file_becomes_a_source_of_sacct(tmp_path: Path):
    """scontrol's names become sacct's columns; what has none is named, as is the time to set."""
    old = tmp_path / "old.yml"
    old.write_text(EPILOG)
    result = CliRunner().invoke(command, [str(old)])
    assert result.exit_code == 0, result.output
    config = parse(result.stdout, find_plugin)
    (source,) = config.sources
    assert (config.auditor.url, source.record_prefix) == (
        "http://auditor.example.org:8001",
        "slurm",
    )
    given = yaml.safe_load(result.stdout)["sources"][0]["mapping"]
    assert given["meta"]["site_id"] == {"value": "SITE"}
    assert list(given["components"])[:2] == ["Memory", "Cores"]
    cores = given["components"]["Cores"]
    assert (cores["field"], cores["only_if"]["field"]) == ("AllocCPUS", "Partition")
    assert cores["scores"]["HEPSPEC"][0]["only_if"]["field"] == "User"
    assert "# - MinMemoryNode: of scontrol" in result.stdout
    assert "set `since`" in result.stdout


@pytest.mark.parametrize("text", [HTCONDOR, SLURM, EPILOG], ids=["htcondor", "slurm", "epilog"])
def test_the_output_is_the_same_in_every_run(text: str, tmp_path: Path):
    """So that it can be compared, and kept under version control."""
    old = tmp_path / "old.yml"
    old.write_text(text)
    program = [sys.executable, "-m", "collector", "import-config", str(old)]
    outputs = {
        subprocess.run(
            program, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
