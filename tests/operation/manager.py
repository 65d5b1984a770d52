"""A service manager for tests: the other end of sd_notify(3)'s socket."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers.site import LIMIT_S, Site


class Manager:
    """Listens for what a service says of itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def hear(self, limit_s: float = LIMIT_S) -> dict[str, str] | None:
        """The next message; None if there is none in time."""
        self._socket.settimeout(limit_s)
        try:
            text = self._socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def hear_until(self, wanted: Callable[[dict[str, str]], object]) -> list[dict[str, str]]:
        """The messages up to the one that is wanted; fails if it does not come in time."""
        heard: list[dict[str, str]] = []
        while True:
            message = self.hear()
            assert message is not None, f"it never came; heard were {heard[-20:]}"
            heard.append(message)
            if wanted(message):
                return heard

    def forget(self) -> None:
        """Drops what was said so far."""
        with contextlib.suppress(BlockingIOError):
            self._socket.setblocking(False)
            while True:
                self._socket.recv(4096)

    def close(self) -> None:
        self._socket.close()
        self.path.unlink()


@contextlib.contextmanager
def service(site: Site, **environ: str) -> Iterator[tuple[subprocess.Popen[str], Manager]]:
    """The daemon as systemd runs it; killed at the end, if it still lives."""
    manager = Manager(site.folder / "notify")
    process = site.start("run", NOTIFY_SOCKET=str(manager.path), **environ)
    try:
        yield process, manager
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        with process:
            process.wait(timeout=LIMIT_S)
        manager.close()
