"""systemd is told how the service is, over its real protocol; the unit is one it accepts."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from collector.daemon.systemd import notify
from collector_slurm.section import SlurmSection

UNITS = Path(__file__).parents[2] / "systemd"


def test_a_state_reaches_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One datagram, one variable a line; a line end in a value cannot forge another variable."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify(READY=1, STATUS="a\nREADY=0")
        assert manager.recv(4096) == b"READY=1\nSTATUS=a\\nREADY=0"


def test_an_abstract_socket_is_one_too(monkeypatch: pytest.MonkeyPatch):
    """Its name begins with @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0auditor-collector-test")
        monkeypatch.setenv("NOTIFY_SOCKET", "@auditor-collector-test")
        assert notify(READY=1)
        assert manager.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here"])
def test_without_a_service_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch):
    """No error, and False."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert notify(READY=1) is False


ANALYZE = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)
EXAMPLES = sorted((UNITS / "examples").glob("*.conf"))


def verify(unit: Path, name: str, folder: Path, *drop_ins: Path) -> Path:
    """Lets systemd look at a unit as it is installed; fails if it has anything to say."""
    text = unit.read_text().replace("/usr/bin/auditor-collector", shutil.which("true") or "")
    (folder / name).write_text(text)
    for drop_in in drop_ins:
        (folder / f"{name}.d").mkdir(exist_ok=True)
        shutil.copy(drop_in, folder / f"{name}.d")
    command = ["systemd-analyze", "verify", "--man=no", str(folder / name)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    return folder / name


@ANALYZE
@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("auditor-collector.service", "auditor-collector.service"),
        ("auditor-collector@.service", "auditor-collector@ap1.service"),
    ],
)
def test_systemd_accepts_the_unit(unit: str, name: str, tmp_path: Path):
    """`systemd-analyze verify` has nothing to say, and its exposure is at most 1.5."""
    path = verify(UNITS / unit, name, tmp_path)
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(path)]
    subprocess.run(security, capture_output=True, timeout=60, check=True)


@ANALYZE
@pytest.mark.parametrize("drop_in", EXAMPLES, ids=lambda path: path.stem)
def test_systemd_accepts_the_drop_ins(drop_in: Path, tmp_path: Path):
    """Each of the examples, as it is and with what it offers in comments."""
    verify(UNITS / "auditor-collector.service", "auditor-collector.service", tmp_path, drop_in)
    whole = tmp_path / drop_in.name
    whole.write_text(re.sub(r"^#(?=[A-Z]\w+=)", "", drop_in.read_text(), flags=re.MULTILINE))
    assert len(EXAMPLES) == 5
    verify(UNITS / "auditor-collector.service", "auditor-collector.service", tmp_path, whole)


def test_the_template_is_the_unit_with_a_name():
    """They differ in description, configuration and state only."""
    one, many = (
        (UNITS / f"auditor-collector{at}.service").read_text().splitlines() for at in ("", "@")
    )
    differing = [(a, b) for a, b in zip(one, many, strict=True) if a != b]
    assert [b for _, b in differing] == [
        "Description=Batch-system accounting into an Auditor (%i)",
        "Environment=CONFIG=/etc/auditor-collector/%i.yaml",
        "StateDirectory=auditor-collector/%i",
    ]


def test_what_is_in_flight_has_time_before_systemd_gives_up():
    """The watchdog waits longer than the slowest thing that is allowed: a call of sacct."""
    text = (UNITS / "auditor-collector.service").read_text()
    assert "WatchdogSec=30min" in text
    slowest_s = next(one for one in msgspec.structs.fields(SlurmSection) if one.name == "timeout_s")
    assert 2 * slowest_s.default < 30 * 60 / 2


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd is not installed")
def test_user_and_folders_are_made(tmp_path: Path):
    """systemd-sysusers and systemd-tmpfiles take the files, in an empty root."""
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    for command in ("sysusers", "tmpfiles"):
        file = str(UNITS / f"auditor-collector.{command}")
        create = ["--create"] if command == "tmpfiles" else []
        subprocess.run([f"systemd-{command}", root, *create, file], timeout=60, check=True)
    assert "auditor-collector:" in (tmp_path / "etc/passwd").read_text()
    if os.getuid() == 0:
        assert (tmp_path / "var/lib/auditor-collector").stat().st_mode & 0o777 == 0o750
