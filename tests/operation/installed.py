"""The service of a booted system: its configuration, what it says, what the Auditor holds of it."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import eventually
from tests.operation.machine import Container

CASES = Path(__file__).parents[1] / "testcases"

UNIT = "auditor-collector.service"
CONFIG = """\
sources:
  - {name: ap1, plugin: htcondor, record_prefix: condor, interval_s: 1, history: /var/spool/history}
  - name: lab
    plugin: slurm
    record_prefix: slurm
    interval_s: 1
    mode: jobcomp
    jobcomp_path: /var/log/jobcomp.log
    time_zone: UTC
    mapping: {meta: {name: {field: JobName, optional: true}}}
outbox: {min_free_bytes: 0}
metrics: {free_limit_bytes: 0}
sender: {interval_s: 0.5, backoff_cap_s: 1}
"""
LOGS = {
    "var/spool/history": (CASES / "htcondor/endings/input/history").read_bytes(),
    "var/log/jobcomp.log": (CASES / "slurm/jobcomp/jobcomp.log").read_bytes(),
}
RECORDS = [
    json.loads(line)
    for case in ("htcondor/endings", "slurm/jobcomp")
    for line in (CASES / case / "expected.jsonl").read_text().splitlines()
]


class Service:
    """The service of a node."""

    def __init__(self, node: Container, auditor: RunningAuditor) -> None:
        self.node, self.auditor = node, auditor
        self.begun_at = time.time()
        self._drop_ins = node.root / f"etc/systemd/system/{UNIT}.d"

    def configure(self, more: str = "", config: str = CONFIG, tls: str = "") -> None:
        (self.node.root / "etc/auditor-collector/config.yaml").write_text(
            f"{config}auditor: {{url: '{self.auditor.url}', timeout_s: 5, tls: {{{tls}}}}}\n{more}"
        )

    def drop_in(self, text: str) -> None:
        """As `systemctl edit` does, for the unit's section [Service]."""
        self._drop_ins.mkdir(exist_ok=True)
        (self._drop_ins / "override.conf").write_text(f"[Service]\n{text}\n")
        self.ctl("daemon-reload")

    def ctl(self, *words: str) -> None:
        self.node.run("systemctl", *words)

    def show(self, name: str) -> str:
        return self.node.run("systemctl", "show", "--value", f"--property={name}", UNIT).strip()

    def await_(self, name: str, holds: Callable[[str], object]) -> None:
        eventually(lambda: bool(holds(self.show(name))))

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def kill(self, name: str) -> None:
        self.node.run("sh", "-c", f"kill -{name} {self.pid}")

    def process(self) -> dict[str, str]:
        """/proc/PID/status of the main process."""
        lines = self.node.run("cat", f"/proc/{self.pid}/status").splitlines()
        return {name: value.strip() for name, _, value in (one.partition(":") for one in lines)}

    def journal(self) -> list[dict[str, Any]]:
        """The unit's entries of this test."""
        since = f"--since=@{self.begun_at:.6f}"
        said = self.node.run("journalctl", f"--unit={UNIT}", since, "--output=json")
        return [json.loads(line) for line in said.splitlines()]

    def said(self) -> str:
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal())

    def logged(self, priority: int) -> list[str]:
        """The messages of this test that are as grave as this, or graver."""
        entries = self.journal()
        return [str(one["MESSAGE"]) for one in entries if int(one["PRIORITY"]) <= priority]

    def log(self, part: int) -> None:
        """Lets the schedulers write the first (0) or the second (1) half of their logs."""
        for name, whole in LOGS.items():
            ends = b"\n***" if name.endswith("history") else b"\n"
            middle = whole.index(b"\n", whole.index(ends, len(whole) // 2) + 1) + 1
            path = self.node.root / name
            with path.open("ab") as log:
                log.write((whole[:middle], whole[middle:])[part])
            path.chmod(0o644)

    def held(self) -> list[dict[str, Any]]:
        """What the Auditor holds."""
        with self.auditor.client() as client:
            found = [json.loads(record.encode()) for record in client.stream_query()]
        for record in found:
            assert record["meta"].pop("collector")[0] == "auditor-collector"
            assert record["meta"].pop("collector_type")
        return sorted(found, key=lambda record: str(record["record_id"]))

    def await_all(self) -> None:
        """Waits for the last record, and holds all of them against what is expected."""
        eventually(lambda: len(self.held()) >= len(RECORDS))
        assert self.held() == sorted(RECORDS, key=lambda record: str(record["record_id"]))

    def remove(self) -> None:
        """Leaves the node as after the installation."""
        self.node.tell("systemctl", "disable", "--now", UNIT)
        self.node.tell("systemctl", "reset-failed", UNIT)
        shutil.rmtree(self._drop_ins, ignore_errors=True)
        state = self.node.root / "var/lib/auditor-collector"
        for path in state.rglob("*.db*"):
            path.unlink()
        for name in LOGS:
            (self.node.root / name).unlink(missing_ok=True)
        self.ctl("daemon-reload")
