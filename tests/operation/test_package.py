"""The Debian package: installs on a clean machine without a network, works, keeps the state."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.operation.machine import Machine, copied, marks, run

ROOT = Path(__file__).parents[2]
pytestmark = marks

HISTORY = ROOT / "tests" / "demo" / "spool" / "history"
CONFIG = """\
sources:
  - {name: ap1, plugin: htcondor, record_prefix: htcondor-ap1, history: /var/lib/condor/history}
outbox: {min_free_bytes: 0}
"""


@pytest.fixture(scope="module")
def machine(clean_system: Path) -> Iterator[Machine]:
    with copied(clean_system) as machine:
        yield machine


def test_a_node_without_network_installs_runs_upgrades_and_removes(
    machine: Machine, packages: Path, auditor: RunningAuditor
):
    """From nothing to records in the Auditor; what is removed leaves outbox and configuration."""
    package = next(packages.glob("*.deb"))
    shutil.copy(package, machine.root / "root")
    machine.run_alone("dpkg", "--install", f"/root/{package.name}")
    assert "version" in machine.run("auditor-collector", "--version")
    assert "auditor-collector" in machine.run("id", "auditor-collector")
    config = machine.root / "etc/auditor-collector/config.yaml"
    config.write_text(CONFIG + f"auditor: {{url: '{auditor.url}'}}\n")
    config.chmod(0o644)
    (machine.root / "var/lib/condor").mkdir()
    shutil.copy(HISTORY, machine.root / "var/lib/condor/history")

    ours = ("chroot", "--userspec=auditor-collector:auditor-collector", "/", "auditor-collector")
    assert "1 source" in machine.run(*ours, "check", "--offline")
    period = ("--since", "2000-01-01", "--until", "2100-01-01")
    machine.run(
        "auditor-collector", "backfill", *period, "--dry-run"
    )  # root's leave nothing of root's
    machine.run(*ours, "backfill", *period)
    with auditor.client() as client:
        records = list(client.stream_query())
    assert records
    assert all(record.record_id.startswith("htcondor-ap1-") for record in records)

    outbox = machine.root / "var/lib/auditor-collector/outbox.db"
    before = outbox.stat()
    machine.run_alone("dpkg", "--install", f"/root/{package.name}")  # as an upgrade does
    assert "waiting  0 record(s)" in machine.run(*ours, "status")
    machine.run_alone("dpkg", "--remove", "auditor-collector")
    machine.run_alone("dpkg", "--purge", "auditor-collector")
    after = outbox.stat()
    assert (after.st_ino, after.st_uid) == (before.st_ino, before.st_uid)
    assert config.exists()
    assert not (machine.root / "usr/lib/auditor-collector").exists()
    assert not (machine.root / "usr/bin/auditor-collector").exists()


def test_the_archive_runs_from_wherever_it_lies(machine: Machine, packages: Path):
    """Unpacked, called over a link, without a network or an installation."""
    archive = next(packages.glob("*.tar.gz"))
    run("tar", "--extract", "--file", archive, "--directory", machine.root / "opt")
    folder = next((machine.root / "opt").glob("auditor-collector-*"))
    (machine.root / "usr/local/bin/collector").symlink_to(
        f"/opt/{folder.name}/bin/auditor-collector"
    )
    assert "version" in machine.run_alone("collector", "--version")
    assert "backfill" in machine.run_alone("collector", "--help")
    assert (folder / "systemd/auditor-collector.service").exists()


def test_the_package_brings_what_it_needs_and_no_more(packages: Path):
    """No pip, no rich, no caches of a builder's paths; owned by root."""
    listing = run("dpkg-deb", "--contents", next(packages.glob("*.deb")))
    files = {line.split()[5] for line in listing.splitlines()}
    for wanted in (
        "/bin/auditor-collector",
        "/collector/py.typed",
        "/collector_slurm/mapping.yaml",
    ):
        assert any(file.endswith(wanted) for file in files), wanted
    for unwanted in ("/pip/", "/rich/", "./usr/lib/auditor-collector/tests/", "direct_url.json"):
        assert not any(unwanted in file for file in files), unwanted
    assert all(line.split()[1] == "root/root" for line in listing.splitlines())
