"""Embedded Auditors for tests: as a process of its own, which can be killed."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder

START_LIMIT_S = 30


@dataclass
class RunningAuditor:
    """An embedded Auditor that runs."""

    url: str
    process: subprocess.Popen[str]
    db: Path

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    def client(self, timeout_s: float = 10) -> AuditorClientBlocking:
        """A client of ours for it; the caller closes it."""
        return (
            AuditorClientBuilder().connection_string(self.url).timeout(timeout_s).build_blocking()
        )

    def kill(self) -> None:
        """Kills it at whatever instruction it is."""
        self.process.send_signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """Asks it to end, and waits."""
        self.process.send_signal(signal.SIGTERM)
        self._wait()

    def _wait(self) -> None:
        self.process.wait(timeout=START_LIMIT_S)
        if self.process.stdout:
            self.process.stdout.close()


def start_auditor(
    db: Path, *extra_args: str, listen: str = "127.0.0.1:0", stderr: Path | None = None
) -> RunningAuditor:
    """Starts `serve-auditor` and waits until it listens.

    Args:
        db: its file; an existing one is served again.
        extra_args: more options of the command.
        listen: `HOST:PORT`; give the port of a killed one to bring it back at the same address.
        stderr: file for its log; None lets it through.
    """
    with contextlib.ExitStack() as stack:
        log = None if stderr is None else stack.enter_context(stderr.open("ab"))
        process = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "from collector.cli.serve_auditor import command; command()",
                *("--db", str(db), "--listen", listen),
                *extra_args,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"the Auditor did not start; it said {line!r}")
    return RunningAuditor(line.removeprefix("listening on ").strip(), process, db)


@contextlib.contextmanager
def running_auditor(db: Path, *extra_args: str) -> Iterator[RunningAuditor]:
    """An embedded Auditor that is stopped at the end, whatever happens."""
    auditor = start_auditor(db, *extra_args)
    try:
        yield auditor
    finally:
        if auditor.process.poll() is None:
            auditor.kill()  # quicker
        elif auditor.process.stdout:
            auditor.process.stdout.close()
