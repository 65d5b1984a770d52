"""The ecosystem's own programs work on the embedded Auditor: a collector, and a reader.

They need Python packages of their own; put their commands on the PATH to run these tests:
`pip install auditor-apel-plugin auditor-htcondor-collector` in any environment.
"""

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.auditor import Component, Meta, Record, Score
from tests.helpers.auditor_server import RunningAuditor

pytestmark = pytest.mark.slow


def needs(command: str) -> pytest.MarkDecorator:
    """Skips a test where a command is missing."""
    return pytest.mark.skipif(
        shutil.which(command) is None,
        reason=f"{command} is not on the PATH; install the package of its name elsewhere",
    )


def run(*command: str, path: Path | None = None, modules: Path | None = None) -> str:
    """Runs a command; returns all that it wrote.

    Args:
        command: and its arguments.
        path: a folder with commands that come first.
        modules: a folder with Python modules that come first.
    """
    search = os.environ["PATH"] if path is None else f"{path}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PATH": search, "PYTHONPATH": str(modules or "")},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def exchanged(folder: Path) -> Path:
    """A folder in which `pyauditor` is our client."""
    package = folder / "modules" / "pyauditor"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from collector.auditor import *\n")
    return package.parent


@needs("auditor-htcondor-collector")
def test_the_public_htcondor_collector_pushes_into_it(
    auditor: RunningAuditor, tmp_path: Path
) -> None:
    """Its records arrive, as a stand-in for `condor_history` tells them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    history = folder / "condor_history"
    history.write_text(
        "#!/usr/bin/env python3\n"
        "import sys\n"
        "names = sys.argv[sys.argv.index('-af:,') + 1:sys.argv.index('-pool')]\n"
        "for n in (3, 2, 1):\n"
        "    job = {'GlobalJobId': f'schedd#{n}.0#1769860800', 'ClusterId': n, 'ProcId': 0,\n"
        "           'LastMatchTime': 1769860800, 'CompletionDate': 1769864400 + n,\n"
        "           'EpochWriteDate': 'undefined', 'EnteredCurrentStatus': 1769864400,\n"
        "           'CpusProvisioned': 8, 'Owner': f'user{n}'}\n"
        "    values = [job.get(name, 'undefined') for name in names]\n"
        "    print(', '.join(map(str, values)))\n"
    )
    history.chmod(0o755)
    config = tmp_path / "collector.yml"
    config.write_text(
        f"addr: 127.0.0.1\nport: {auditor.port}\ntimeout: 10\nstate_db: {tmp_path / 'state.db'}\n"
        "record_prefix: htcondor\ninterval: 900\npool: pool\nschedd_names: [schedd]\n"
        "job_status: [4]\nquery_type: exec\nmeta:\n  user:\n    key: Owner\n  site:\n"
        "  - name: site1\n    key: Owner\n    matches: ^user.*\n"
        "components:\n- name: Cores\n  key: CpusProvisioned\n  scores: []\n"
        "tls_config:\n  use_tls: false\n"
    )
    said = run("auditor-htcondor-collector", "-c", str(config), "-1", path=folder)
    assert "Added 3 records." in said
    with auditor.client() as client:
        stored = client.advanced_query("sort_by[asc]=record_id")
    assert [record.record_id for record in stored] == [
        f"htcondor-schedd#{n}.0#1769860800" for n in (1, 2, 3)
    ]
    assert [record.runtime for record in stored] == [3601, 3602, 3603]
    assert stored[0].meta is not None
    assert stored[0].meta["user"] == ["user1"]
    assert stored[0].components == [Component("Cores", 8)]


@needs("auditor-apel-publish")
@needs("openssl")
@pytest.mark.parametrize("module", ["pyauditor", "collector.auditor"])
def test_the_public_apel_plugin_reports_a_month_of_it(
    module: str, auditor: RunningAuditor, tmp_path: Path
) -> None:
    """A dry run reads the month day by day and adds up what was stored, with either client."""
    modules = None if module == "pyauditor" else exchanged(tmp_path)
    now = datetime.now(UTC)
    start = now.replace(day=1, hour=0, minute=0, second=1, microsecond=0)
    with auditor.client() as client:
        client.bulk_insert(
            Record(f"r{number}", start)
            .with_component(Component("Cores", 8).with_score(Score("HEPscore23", 10.0)))
            .with_component(Component("TotalCPU", 60))
            .with_meta(
                Meta()
                .insert("site_id", ["site1"])
                .insert("submithost", ["https://ce.example.org:8443/queue"])
                .insert("voms", ["/atlas/Role=production"])
                .insert("subject", ["/DC=org/CN=robot"])
            )
            .with_stop_time(start + timedelta(seconds=1 + number % 40))
            for number in range(100)
        )
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site"),
        *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
    )
    config = tmp_path / "apel.yml"
    config.write_text(
        "!Config\n"
        f"plugin: {{log_level: INFO, time_json_path: {tmp_path / 'time.json'}, "
        "report_interval: 86400}\n"
        "site: {sites_to_report: {SITE: [site1]}, benchmark_type: HEPscore23}\n"
        f"auditor: {{ip: 127.0.0.1, port: {auditor.port}, timeout: 30, "
        "site_meta_field: site_id, use_tls: false}\n"
        f"messaging: {{host: localhost, port: 1, client_cert: {tmp_path / 'cert.pem'}, "
        f"client_key: {tmp_path / 'key.pem'}, project: p, topic: t, timeout: 1, retry: 0}}\n"
        "summary_fields:\n"
        "  mandatory:\n"
        "    Processors: !ComponentField {name: Cores}\n"
        "    VO: !MetaField {name: voms, regex: '(?<=/)atlas'}\n"
        "    SubmitHost: !MetaField {name: submithost}\n"
        "    CpuDuration: !ComponentField {name: TotalCPU}\n"
        "    NormalisedCpuDuration: !NormalisedField\n"
        "      base_value: !ComponentField {name: TotalCPU}\n"
        "      score: !ScoreField {name: HEPscore23, component_name: Cores}\n"
        "    NormalisedWallDuration: !NormalisedField\n"
        "      score: !ScoreField {name: HEPscore23, component_name: Cores}\n"
        "  optional:\n"
        "    GlobalUserName: !MetaField {name: subject}\n"
    )
    said = run("auditor-apel-publish", "-c", str(config), "--dry-run", modules=modules)
    assert "One-shot dry-run finished!" in said
    for figure in ("WallDuration: 1850", "CpuDuration: 6000", "NumberOfJobs: 100"):
        assert figure in said
