"""Clean Debian systems for tests: a folder to chroot into, or booted with a systemd as PID 1."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.helpers.site import LIMIT_S, eventually

SUITE = "bookworm"
"""Debian's release that services are tried on; its Python is a 3.11."""

MISSING = [
    reason
    for holds, reason in (
        (os.getuid() == 0, "not root, which chroot needs"),
        (shutil.which("debootstrap"), "debootstrap is not installed"),
        (shutil.which("dpkg-deb"), "dpkg-deb is not installed"),
    )
    if not holds
]
marks = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # debootstrap and pip fetch a system and a dozen wheels
    pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING) or "nothing is missing"),
]


def tell(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command with nothing of this environment, as a root does at a terminal."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        },
    )


def run(*command: str | Path) -> str:
    """Runs a command that has to succeed, and gives what it prints."""
    said = tell(*command)
    assert said.returncode == 0, f"{command}: {said.returncode}: {said.stdout}{said.stderr}"
    return said.stdout


class Machine:
    """A Debian, in a folder."""

    def __init__(self, root: Path, enter: Sequence[str]) -> None:
        self.root, self._enter = root, enter

    def tell(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, whatever comes of it."""
        return tell(*self._enter, *command)

    def run(self, *command: str) -> str:
        """Runs a command in it that has to succeed."""
        return run(*self._enter, *command)

    def run_alone(self, *command: str) -> str:
        """Runs a command in it without any network."""
        return self.run("unshare", "--net", *command)


@contextlib.contextmanager
def folder_for_a_system() -> Iterator[Path]:
    """An empty folder that any user gets through, as through every system's root."""
    folder = Path(tempfile.mkdtemp(prefix="auditor-collector-machine-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        # A debootstrap that was cut off leaves its /proc.
        subprocess.run(["umount", "--recursive", "--quiet", folder / "proc"], check=False)
        shutil.rmtree(folder)


@contextlib.contextmanager
def copied(system: Path) -> Iterator[Machine]:
    """A copy of a system, to work in."""
    with folder_for_a_system() as root:
        run("cp", "--archive", "--reflink=auto", f"{system}/.", root)
        yield Machine(root, ("chroot", str(root)))


class Container(Machine):
    """A system that runs, with a systemd of its own as PID 1 and the network of this machine."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, ())
        self._nspawn: subprocess.Popen[bytes] | None = None

    def switch_on(self) -> None:
        """Boots; skips the test, with what the console said, where no container can run."""
        if shutil.which("systemd-nspawn") is None:
            pytest.skip("systemd-nspawn (Debian: systemd-container) is not installed")
        # Without a systemd here there is nobody to ask for a unit of its own.
        alone = [] if Path("/run/systemd/system").exists() else ["--keep-unit"]
        with tempfile.TemporaryFile("w+") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--boot", "--directory", str(self.root), *alone),
                    *("--register=no", "--link-journal=no", "--console=read-only"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
            try:
                eventually(self._is_up, 60)
            except AssertionError:
                self.switch_off()
                console.seek(0)
                pytest.skip(f"no system boots in a container here: {console.read()[-2000:]!r}")

    def switch_off(self) -> None:
        """Ends in good order, as after a press of the power button."""
        assert self._nspawn is not None
        self._nspawn.terminate()
        try:
            self._nspawn.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()

    def cut_off(self) -> None:
        """Every process is gone at once."""
        assert self._nspawn is not None
        os.kill(int(self._init()), signal.SIGKILL)
        self._nspawn.wait(LIMIT_S)

    def _init(self) -> str:
        """The number of its PID 1, as it is here; nothing before there is one."""
        assert self._nspawn is not None
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return "".join(children.read_text().split()[:1]) if children.exists() else ""

    def _is_up(self) -> bool:
        self._enter = ("nsenter", "--target", self._init(), "--all")
        said = self.tell("systemctl", "is-system-running", "--wait")
        return said.stdout.strip() in {"running", "degraded"}
