"""A site for tests: a folder with a configuration, a source's log, and the real command line."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.example_plugin import install, job

ROOT = Path(__file__).parents[2]
LIMIT_S = 30
NOBODY = "http://127.0.0.1:9"
"""Where no Auditor is: the discard port."""


def open_to_all(path: str | Path) -> bool:
    """Whether every user gets through to a file."""
    return all(folder.stat().st_mode & 0o001 for folder in (Path(path) / "x").parents)


def python_of_all() -> str | None:
    """A Python with which every user can run this checkout and what it needs."""
    if not (open_to_all(ROOT) and open_to_all(sysconfig.get_path("purelib"))):
        return None
    systems = "/usr/bin/python{}.{}".format(*sys.version_info[:2])
    if open_to_all(sys.base_prefix):
        return sys.executable
    return systems if Path(systems).exists() else None


PATHS = [str(ROOT), str(ROOT / "plugins"), sysconfig.get_path("purelib")]
"""What such a Python has to import from."""


@dataclass
class Site:
    """Runs `auditor-collector` as its users do, on sources of the example plugin."""

    folder: Path
    url: str
    logs: list[str] = field(default_factory=lambda: ["jobs"])
    more: str = ""

    def __post_init__(self) -> None:
        install(self.folder)
        self.write_config()

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    def write_config(self) -> None:
        sources = "".join(
            f"  - {{name: {name}, plugin: jsonlines, record_prefix: {name}, interval_s: 0.1,"
            f" log: {self.folder / name}.jsonl}}\n"
            for name in self.logs
        )
        self.config.write_text(
            f"sources:\n{sources}"
            f"outbox: {{path: {self.folder / 'outbox.db'}, min_free_bytes: 0}}\n"
            "sender: {interval_s: 0.1, backoff_s: 0.05, backoff_cap_s: 0.2}\n"
            f"auditor: {{url: '{self.url}', timeout_s: 5}}\nlog: {{format: json}}\n{self.more}"
        )

    def log(self, *numbers: int, name: str = "jobs", **fields: str | int) -> None:
        """Lets the scheduler write jobs."""
        with (self.folder / f"{name}.jsonl").open("ab") as log:
            for number in numbers:
                log.write(job(number, **fields))

    def start(self, *args: str, **environ: str) -> subprocess.Popen[str]:
        """Starts a command; stderr goes to the file `log`."""
        path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "collector", *args, "--config", str(self.config)],
                env={**os.environ, "PYTHONPATH": path, **environ},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        with self.start(*args, **environ) as process:
            out, _ = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(args, process.returncode, out, self.said())

    def said(self) -> str:
        """Everything that was written to standard error so far."""
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    """Signals a process and gives its exit status."""
    process.send_signal(number)
    with process:
        return process.wait(timeout=LIMIT_S)


def eventually(holds: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Waits until something holds; fails if it does not in time."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.05)
