"""A daemon that collects the jobs of a real pool in every mode at the same time."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collector.record import Record
from tests.helpers.auditor_server import RunningAuditor
from tests.htcondor.pool import Pool

ROOT = Path(__file__).parents[2]
LAST = ("last", "per_job", "elsewhere")
"""Sources that account the last run of each job."""
EVERY_RUN = ("epochs", "pair", "tracked", "tracked_epochs", "tracked_elsewhere")
"""Sources that account each run."""
TOTAL = ("total",)
"""Sources that account all runs of a job as one."""
ELSEWHERE = ("elsewhere", "tracked_elsewhere")
"""Sources that read more schedds than the first."""
SOURCES = """\
  - {{name: last, plugin: htcondor, record_prefix: last, history: {spool}/history, {often}}}
  - {{name: total, plugin: htcondor, record_prefix: total, history: {spool}/history, run: total,
     {often}}}
  - {{name: epochs, plugin: htcondor, record_prefix: epochs, mode: epochs,
     epoch_history: {spool}/epoch_history, {often}}}
  - {{name: pair_epochs, plugin: htcondor, record_prefix: pair, mode: epochs,
     epoch_history: {spool}/epoch_history, {often}}}
  - {{name: pair_history, plugin: htcondor, record_prefix: pair, run: named,
     history: {spool}/history, {often}}}
  - {{name: per_job, plugin: htcondor, record_prefix: per_job, mode: per_job, {remove}
     per_job_history: {spool}/per_job_history, {often}}}
  - {{name: elsewhere, plugin: htcondor, record_prefix: elsewhere, mode: condor_history,
     {elsewhere}}}
"""
TRACKING = """\
  - {{name: tracked, plugin: htcondor, record_prefix: tracked, track_running: true,
     history: {spool}/history, condor_q: {bin}/condor_q, interval_s: 2}}
  - {{name: tracked_epochs, plugin: htcondor, record_prefix: tracked_epochs, mode: epochs,
     track_running: true, epoch_history: {spool}/epoch_history, condor_q: {bin}/condor_q,
     interval_s: 2}}
  - {{name: tracked_elsewhere, plugin: htcondor, record_prefix: tracked_elsewhere,
     track_running: true, mode: condor_history, condor_q: {bin}/condor_q, {elsewhere}}}
"""
REST = """\
outbox: {{path: {outbox}, min_free_bytes: 0}}
sender: {{interval_s: 1}}
auditor: {{url: "{url}"}}
log: {{format: json}}
"""
POLL_S = 3
"""Longest time between two polls of any source."""


@dataclass
class Collecting:
    """A daemon, or a backfill, beside a pool."""

    pool: Pool
    auditor: RunningAuditor
    folder: Path

    def __post_init__(self) -> None:
        self.config = self._write("config.yaml", SOURCES + TRACKING, "remove: true,")
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self, name: str, sources: str, remove: str) -> Path:
        path = self.folder / name
        schedds = ", ".join(schedd.name for schedd in self.pool.schedds)
        commands = self.pool.commands()
        path.write_text(
            ("sources:\n" + sources + REST).format(
                spool=self.pool.schedds[0].spool,
                bin=commands,
                elsewhere=f"schedd_names: [{schedds}], pool: '{self.pool.address}',"
                f" condor_history: {commands}/condor_history, settle_s: 1, interval_s: {POLL_S}",
                often="interval_s: 1",
                remove=remove,
                outbox=path.with_suffix(".db"),
                url=self.auditor.url,
            )
        )
        return path

    def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            command = [sys.executable, "-m", "collector", "run", "--config", str(self.config)]
            self._process = subprocess.Popen(command, env=self._environment, stderr=log)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def kill_and_restart(self) -> None:
        """What a power cut does to it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    def stop(self) -> None:
        """Ends it in order."""
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.poll() is None, f"the daemon ended before: {self.log()[-2000:]}"
        process.terminate()
        assert process.wait(60) == 0, self.log()[-2000:]

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    def rejected(self, config: Path | None = None) -> list[str]:
        """What could not be accounted, as it is listed; a line each."""
        lines = self._run("rejected", "list", "--config", str(config or self.config)).splitlines()
        return [line for line in lines if line.lstrip()[:1].isdigit()]

    def backfill(self) -> list[str]:
        """Reads the whole time of the pool again, under record prefixes that begin with `b-`.

        Returns:
            What could not be accounted.
        """
        sources = SOURCES.replace("record_prefix: ", "record_prefix: b-")
        config = self._write("backfill.yaml", sources, "")
        now = datetime.now(UTC)
        since, until = (
            time.isoformat(timespec="seconds") for time in (now - timedelta(hours=2), now)
        )
        self._run("backfill", "--config", str(config), "--since", since, "--until", until)
        return self.rejected(config)

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "collector", *arguments]
        done = subprocess.run(
            command, env=self._environment, check=False, capture_output=True, text=True, timeout=300
        )
        assert done.returncode in {0, 1}, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def records(self, prefix: str) -> dict[tuple[str, str], list[Record]]:
        """What the Auditor holds of a source, by schedd and job; of a job the first run first."""
        found: dict[tuple[str, str], list[Record]] = defaultdict(list)
        with self.auditor.client() as client:
            for record in client.stream_query():
                if record.record_id.startswith(f"{prefix}-"):
                    schedd, job, *_ = record.record_id.removeprefix(f"{prefix}-").split("#")
                    found[schedd, job].append(record)
        for records in found.values():
            records.sort(key=lambda record: record.start_time)
        return found
