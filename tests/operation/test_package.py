"""The packages: install on clean systems without a network, work, are upgraded, keep the state.

One Debian package and one RPM for every Python that they name; Debian 12, 13 and unstable are tried
here, the RPM by Debian's rpm, whose scripts it runs.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.operation.machine import Machine, copied, folder_for_a_system, marks, run, tell

ROOT = Path(__file__).parents[2]
pytestmark = marks

HISTORY = ROOT / "tests" / "demo" / "spool" / "history"
CONFIG = """\
sources:
  - {name: ap1, plugin: htcondor, record_prefix: htcondor-ap1, history: /var/lib/condor/history}
outbox: {min_free_bytes: 0}
"""
OURS = ("chroot", "--userspec=auditor-collector:auditor-collector", "/", "auditor-collector")
PERIOD = ("--since", "2000-01-01", "--until", "2100-01-01")
LIB = "usr/lib/auditor-collector"


@pytest.fixture(scope="module", params=["bookworm", "trixie", "sid"])
def system(request: pytest.FixtureRequest, clean_system: Path) -> Iterator[Path]:
    """Debian's smallest system with Python, of three releases: Python 3.11, 3.13 and the newest."""
    if request.param == "bookworm":
        yield clean_system
        return
    with folder_for_a_system() as folder:
        done = tell("debootstrap", "--variant=minbase", "--include=python3", request.param, folder)
        if done.returncode:
            pytest.skip(f"no {request.param}: {done.stdout[-300:]}{done.stderr[-300:]}")
        yield folder


@pytest.fixture
def machine(system: Path) -> Iterator[Machine]:
    with copied(system) as machine:
        yield machine


def configure(machine: Machine, url: str) -> Path:
    """A source and an Auditor, as an administrator writes them into the file that is there."""
    config = machine.root / "etc/auditor-collector/config.yaml"
    config.write_text(CONFIG + f"auditor: {{url: '{url}'}}\n")
    (machine.root / "var/lib/condor").mkdir(parents=True)
    shutil.copy(HISTORY, machine.root / "var/lib/condor/history")
    return config


def bring_all(machine: Machine, auditor: RunningAuditor) -> None:
    """A backfill from the package brings records into the Auditor."""
    assert "1 source" in machine.run(*OURS, "check", "--offline")
    machine.run("auditor-collector", "backfill", *PERIOD, "--dry-run")  # leaves nothing of root's
    machine.run(*OURS, "backfill", *PERIOD)
    with auditor.client() as client:
        records = list(client.stream_query())
    assert records
    assert all(record.record_id.startswith("htcondor-ap1-") for record in records)


def test_a_node_without_network_installs_runs_upgrades_and_removes(
    machine: Machine, packages: Path, auditor: RunningAuditor
):
    """From nothing to records in the Auditor; what is removed leaves the outbox."""
    package = next(packages.glob("*_amd64.deb"))
    shutil.copy(package, machine.root / "root")
    machine.run_alone("dpkg", "--install", f"/root/{package.name}")
    assert "version" in machine.run("auditor-collector", "--version")
    assert "auditor-collector" in machine.run("id", "auditor-collector")
    assert not machine.run("dpkg", "--verify", "auditor-collector")
    assert list((machine.root / LIB / "collector/__pycache__").glob("*.pyc"))
    unedited = machine.tell("auditor-collector", "check")
    assert unedited.returncode == 78
    assert "empty" in unedited.stderr
    config = configure(machine, auditor.url)
    edited = config.read_text()
    bring_all(machine, auditor)

    outbox = machine.root / "var/lib/auditor-collector/outbox.db"
    before = outbox.stat()
    machine.run_alone("dpkg", "--install", f"/root/{package.name}")  # as an upgrade does
    assert config.read_text() == edited
    assert "waiting" in machine.run(*OURS, "status")
    machine.run_alone("dpkg", "--remove", "auditor-collector")
    assert config.read_text() == edited
    assert not (machine.root / LIB).exists()
    machine.run_alone("dpkg", "--install", f"/root/{package.name}")
    assert config.read_text() == edited
    machine.run_alone("dpkg", "--purge", "auditor-collector")
    after = outbox.stat()
    assert (after.st_ino, after.st_uid) == (before.st_ino, before.st_uid)
    for gone in (LIB, "usr/bin/auditor-collector", "etc/auditor-collector/config.yaml"):
        assert not (machine.root / gone).exists()


def test_the_rpm_installs_runs_verifies_and_is_erased(
    machine: Machine, packages: Path, auditor: RunningAuditor
):
    """With its scripts, in a root of its own; the database of packages is this machine's rpm's."""
    if shutil.which("rpm") is None:
        pytest.skip("rpm is not installed")
    package = next(packages.glob("*.x86_64.rpm"))
    rpm = ("rpm", f"--root={machine.root}", "--dbpath=/var/lib/rpm")
    # The needs of the package name packages of EL and SUSE, which this Debian has by other names.
    run(*rpm, "--install", "--nodeps", package)
    assert "version" in machine.run("auditor-collector", "--version")
    assert not tell(*rpm, "--verify", "--nodeps", "auditor-collector").stdout
    configure(machine, auditor.url)
    bring_all(machine, auditor)
    run(*rpm, "--upgrade", "--nodeps", "--replacepkgs", "--replacefiles", package)
    assert auditor.url in (machine.root / "etc/auditor-collector/config.yaml").read_text()
    run(*rpm, "--erase", "--nodeps", "auditor-collector")
    assert not (machine.root / LIB).exists()
    assert (machine.root / "var/lib/auditor-collector/outbox.db").exists()


def test_without_a_python_it_says_which_it_wants(packages: Path, tmp_path: Path):
    """Instead of a traceback, or of nothing."""
    run("dpkg-deb", "--extract", next(packages.glob("*_amd64.deb")), tmp_path)
    launcher = (tmp_path / LIB / "python").read_text()
    for folder in ("/usr/bin", "/usr/local/bin"):
        launcher = launcher.replace(folder, str(tmp_path / "none"))
    (tmp_path / LIB / "python").write_text(launcher)
    said = tell(tmp_path / "usr/bin/auditor-collector", "--version")
    assert said.returncode == 69
    assert "no Python 3.11 to 3.14" in said.stderr
    assert "dnf install python3.12" in said.stderr


def pythons() -> list[str]:
    """Every Python of this machine that the package has modules for."""
    found = []
    for minor in (11, 12, 13, 14):
        for python in (f"/usr/bin/python3.{minor}", shutil.which(f"python3.{minor}")):
            check = f"import sys; sys.exit(sys.version_info[1] != {minor})"
            if python and Path(python).exists() and tell(python, "-c", check).returncode == 0:
                found.append(python)
                break
    return found


def test_one_archive_runs_under_every_python_here(packages: Path, tmp_path: Path):
    """Unpacked anywhere, called over a link: the same records of the same history."""
    archive = next(packages.glob("*-x86_64.tar.gz"))
    run("tar", "--extract", "--file", archive, "--directory", tmp_path)
    folder = next(tmp_path.glob("auditor-collector-*"))
    (tmp_path / "collector").symlink_to(folder / "bin" / "auditor-collector")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("/var/lib/condor/history", str(HISTORY)))
    outputs = set()
    for python in pythons():
        done = subprocess.run(
            [tmp_path / "collector", "backfill", *PERIOD, "--dry-run", "--config", config],
            env={"PYTHON": python, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        outputs.add((done.returncode, done.stdout))
    assert len(outputs) == 1
    assert (folder / "systemd/auditor-collector.service").exists()


def test_the_package_brings_what_it_needs_and_no_more(packages: Path):
    """No pip, no rich, no builder's paths; pages, completion, modules for four Pythons."""
    listing = run("dpkg-deb", "--contents", next(packages.glob("*_amd64.deb")))
    files = {line.split()[5] for line in listing.splitlines()}
    for wanted in (
        "/bin/auditor-collector",
        "/collector/py.typed",
        "/collector_slurm/mapping.yaml",
        "/man1/auditor-collector-backfill.1.gz",
        "/man5/auditor-collector.yaml.5.gz",
        "/bash-completion/completions/auditor-collector",
        *(f"/msgspec/_core.cpython-3{minor}-x86_64-linux-gnu.so" for minor in (11, 12, 13, 14)),
    ):
        assert any(file.endswith(wanted) for file in files), wanted
    for unwanted in ("/pip/", "/rich/", f"./{LIB}/tests/", "direct_url.json", "__pycache__"):
        assert not any(unwanted in file for file in files), unwanted
    assert all(line.split()[1] == "root/root" for line in listing.splitlines())
    lines = (packages / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert listed.keys() == {file.name for file in packages.iterdir()} - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((packages / name).read_bytes()).hexdigest() == digest


def test_lintian_finds_nothing_that_is_not_explained(packages: Path):
    """Each exception stands in the package with its reason."""
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    said = tell("lintian", "--fail-on=error,warning", next(packages.glob("*_amd64.deb")))
    assert said.returncode == 0, said.stdout


def test_rpmlint_finds_nothing_that_is_not_explained(packages: Path):
    """Each exception is in `.ci/packaging/rpmlint.toml` with its reason."""
    if shutil.which("rpmlint") is None:
        pytest.skip("rpmlint is not installed")
    reasons = packages.parent / ".ci/packaging/rpmlint.toml"
    said = tell("rpmlint", "--config", reasons, next(packages.glob("*.x86_64.rpm")))
    assert "0 errors, 0 warnings" in said.stdout, said.stdout


def test_a_signed_repository_serves_apt(packages: Path, clean_system: Path, tmp_path: Path):
    """A site serves one folder; apt checks its signature, and installs by name."""
    lacking = [name for name in ("apt-ftparchive", "createrepo_c", "gpg") if not shutil.which(name)]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("env", f"GNUPGHOME={home}")
    key = "site@example.org"
    run(*gpg, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", key, "rsa2048")
    script = packages.parent / ".ci" / "repository"
    with copied(clean_system) as machine:
        served = machine.root / "srv/repository"
        run(*gpg, "bash", script, served, key)
        assert (served / "rpm/repodata/repomd.xml.asc").exists()
        shutil.copy(served / "auditor-collector.asc", machine.root / "etc/apt/keyrings/")
        (machine.root / "etc/apt/sources.list").write_text(
            "deb [signed-by=/etc/apt/keyrings/auditor-collector.asc] file:/srv/repository/deb ./\n"
        )
        machine.run_alone("apt-get", "update")
        machine.run_alone("apt-get", "install", "--yes", "auditor-collector")
        assert "version" in machine.run("auditor-collector", "--version")
        installed = machine.root / "srv/repository/deb/InRelease"
        installed.write_text(installed.read_text().replace("Origin: auditor", "Origin: another"))
        forged = machine.tell("apt-get", "update", "-o", "APT::Update::Error-Mode=any")
        assert forged.returncode != 0
