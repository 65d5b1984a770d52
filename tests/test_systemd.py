"""systemd is told how the service is, over its real protocol; the unit is one it accepts."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from collector.systemd import notify

UNITS = Path(__file__).parents[1] / "systemd"


def test_a_state_reaches_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One datagram, one variable a line; a line end in a value cannot forge another variable."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify(READY=1, STATUS="a\nREADY=0")
        assert manager.recv(4096) == b"READY=1\nSTATUS=a READY=0"


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


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path):
    """`systemd-analyze verify` has nothing to say, and its exposure is at most 1.5."""
    text = unit.read_text().replace("/usr/bin/auditor-collector", shutil.which("true") or "")
    (tmp_path / unit.name).write_text(text)
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    said = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", verify[-1]]
    subprocess.run(security, capture_output=True, timeout=60, check=True)
