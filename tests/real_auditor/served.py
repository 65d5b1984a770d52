"""Auditors to measure with: the embedded one, and the real one on a PostgreSQL of its own.

Both keep their address when they are killed and come back. The real one needs the command
`auditor` (`cargo install auditor`) on the PATH and PostgreSQL's programs, with its default
settings: each commit is on the disk before it is answered.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from collector.auditor.client import AuditorClientBuilder
from collector.auditor.protocol import AuditorError
from tests.helpers.auditor_server import RunningAuditor, start_auditor

START_LIMIT_S = 60
TABLE = (
    "CREATE TABLE auditor_accounting (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " record_id text NOT NULL UNIQUE, meta jsonb, components jsonb,"
    " start_time timestamptz NOT NULL, stop_time timestamptz, runtime bigint,"
    " updated_at timestamptz NOT NULL)\n"
)


class Served(Protocol):
    """An Auditor that can be killed and measured."""

    url: str

    def kill(self) -> None:
        """Kills it at whatever instruction it is."""

    def come_back(self) -> None:
        """Starts it again, at the same address, with what it held; waits until it is well."""

    def cpu_s(self) -> float:
        """CPU seconds that it, and its database, have used since it last started."""


class Embedded:
    """The embedded Auditor."""

    def __init__(self, db: Path) -> None:
        self._db = db
        self._running: RunningAuditor = start_auditor(db)
        self.url = self._running.url

    def kill(self) -> None:
        self._running.kill()

    def come_back(self) -> None:
        self._running = start_auditor(self._db, listen=f"127.0.0.1:{self._running.port}")

    def cpu_s(self) -> float:
        return _cpu_s(self._running.process.pid)


class Real:
    """The real Auditor; its PostgreSQL outlives it."""

    def __init__(self, folder: Path, port: int, postgres: int) -> None:
        self._folder = folder
        self._postgres = postgres
        self.url = f"http://127.0.0.1:{port}"
        self.come_back()

    def come_back(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["auditor", "auditor.yaml"], cwd=self._folder, stdout=log, stderr=log
            )
        try:
            _until_well(self.url, self._process)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def cpu_s(self) -> float:
        used_s = _cpu_s(self._process.pid) + _cpu_s(self._postgres)
        sessions = Path(f"/proc/{self._postgres}/task/{self._postgres}/children").read_text()
        for session in map(int, sessions.split()):
            with contextlib.suppress(FileNotFoundError):  # it ended
                used_s += _cpu_s(session)
        return used_s


@contextlib.contextmanager
def embedded() -> Iterator[Embedded]:
    """The embedded Auditor, with nothing in it, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        auditor = Embedded(Path(folder) / "auditor.db")
        try:
            yield auditor
        finally:
            auditor.kill()


def lacking() -> str | None:
    """What the real Auditor would need and is not there."""
    if shutil.which("auditor") is None:
        return "auditor is not on the PATH: cargo install auditor"
    if shutil.which("initdb", path=_postgres_path()) is None:
        return "PostgreSQL's initdb is not on the PATH"
    return None


@contextlib.contextmanager
def real() -> Iterator[Real]:
    """The real Auditor on a new PostgreSQL, both on 127.0.0.1, for as long as the context lasts."""
    # PostgreSQL does not run as root; whoever it runs as has to reach the folder.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if user is not None:
            shutil.chown(folder, user)
        data, port, auditor_port = folder / "data", _free_port(), _free_port()
        environ = {**os.environ, "PATH": _postgres_path(), "LC_ALL": "C.UTF-8"}

        def run(*command: str, text: str = "") -> None:
            subprocess.run(
                command, input=text, env=environ, user=user, cwd=folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
                timeout=START_LIMIT_S, check=True,
            )  # fmt: skip

        run("initdb", "-D", str(data), "-U", "auditor", "--auth=trust")
        run("postgres", "--single", "-D", str(data), "postgres", text=TABLE)
        configuration = {
            "application": {"addr": ["127.0.0.1"], "port": auditor_port},
            "database": {
                "host": "127.0.0.1", "port": port, "username": "auditor", "password": "-",
                "database_name": "postgres", "require_ssl": False,
            },
            "metrics": {"database": {"frequency": 30, "metrics": ["RecordCount"]}},
            "tls_config": {"use_tls": False},
            "log_level": "warn",
        }  # fmt: skip
        (folder / "auditor.yaml").write_bytes(msgspec.yaml.encode(configuration))
        postgres = subprocess.Popen(
            ["postgres", "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)],
            env=environ, user=user, cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        auditor = None
        try:
            auditor = Real(folder, auditor_port, postgres.pid)
            yield auditor
        finally:
            if auditor is not None:
                auditor.kill()
            postgres.send_signal(signal.SIGQUIT)  # at once, with all its sessions
            postgres.wait()


def _until_well(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_LIMIT_S
    with AuditorClientBuilder().connection_string(url).timeout(5).build_blocking() as client:
        while True:
            try:
                client.check()
            except AuditorError:
                assert process.poll() is None, "the Auditor did not start"
                assert time.monotonic() < until, "the Auditor did not become well in time"
                time.sleep(0.1)
            else:
                return


def _postgres_path() -> str:
    debian = map(str, Path("/usr/lib/postgresql").glob("*/bin"))
    return os.pathsep.join([os.environ["PATH"], *debian])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and of those of its children that have ended; proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
