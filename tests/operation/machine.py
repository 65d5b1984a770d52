"""Clean Debian systems for tests: a folder to chroot into, or booted with a systemd as PID 1."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.site import LIMIT_S, eventually

SUITE = "bookworm"
"""Debian's release whose Python is a 3.11, as the one that builds the package here has to be."""

MISSING = [
    reason
    for holds, reason in (
        (os.getuid() == 0, "not root, which chroot needs"),
        (shutil.which("debootstrap"), "debootstrap is not installed"),
        (shutil.which("dpkg-deb"), "dpkg-deb is not installed"),
        (sys.version_info[:2] == (3, 11), f"this Python is not {SUITE}'s"),
    )
    if not holds
]
marks = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # debootstrap and pip fetch a system and a dozen wheels
    pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING) or "nothing is missing"),
    pytest.mark.xdist_group("machine"),  # one process makes the system and the package, once
]


def tell(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command with nothing of this environment, as a root does at a terminal."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
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
        shutil.rmtree(folder)


@contextlib.contextmanager
def copied(system: Path) -> Iterator[Machine]:
    """A copy of a system, to work in."""
    with folder_for_a_system() as root:
        run("cp", "--archive", "--reflink=auto", f"{system}/.", root)
        yield Machine(root, ("chroot", str(root)))


@contextlib.contextmanager
def booted(machine: Machine) -> Iterator[Machine]:
    """A system that runs, in a container with the network of this machine; ends in good order.

    Skips the test, with what the console said, where such a container cannot run.
    """
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not installed (Debian's systemd-container)")
    # Without a systemd here there is nobody to ask for a unit of its own.
    alone = [] if Path("/run/systemd/system").exists() else ["--keep-unit"]
    with tempfile.TemporaryFile("w+") as console:
        container = subprocess.Popen(
            [
                *("systemd-nspawn", "--boot", "--directory", str(machine.root), *alone),
                *("--register=no", "--link-journal=no", "--console=read-only"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _running(container.pid, machine.root)
        except _DoesNotBootError:
            console.seek(0)
            pytest.skip(f"no system boots in a container here: {console.read()[-2000:]!r}")
        finally:
            container.terminate()  # which is its power button
            try:
                container.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                container.kill()
                container.wait()


class _DoesNotBootError(Exception):
    pass


def _running(container: int, root: Path) -> Machine:
    """The system of a container, once it is up."""
    children = Path(f"/proc/{container}/task/{container}/children")
    found: list[Machine] = []

    def up() -> bool:
        first = children.read_text().split() if children.exists() else []
        if not first:
            return False
        enter = ("nsenter", "--target", first[0], "--all")
        found[:] = [Machine(root, enter)]
        said = found[0].tell("systemctl", "is-system-running", "--wait")
        return said.stdout.strip() in {"running", "degraded"}

    try:
        eventually(up, 60)
    except AssertionError as error:
        raise _DoesNotBootError from error
    return found[0]
