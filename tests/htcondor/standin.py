"""Programs that stand in for HTCondor's commands, and sources that call them."""

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from collector.source import Context
from collector.source.testing import context
from collector_htcondor.source import HTCondorSection, HTCondorSource
from tests.htcondor.schedd import START, Schedd

NOW_S = START + 100_000


class Pool:
    """A folder of schedds, each a folder with its history, and the commands to ask them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = NOW_S
        for command in ("condor_history", "condor_q"):
            script = [
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).with_name("standin_condor.py")),
            ]
            path = folder / command
            path.write_text(f'#!/bin/sh\nexec {shlex.join([*script, str(folder), command])} "$@"\n')
            path.chmod(0o755)
        self.logs = structlog.testing.LogCapture()
        asked = f"{folder}/$2.$3.knob {folder}/$3.knob"
        failed = 'echo "Not defined: $3" >&2; exit 1'
        shell = f"cat {asked} 2>&- | head -n 1 | grep . || {{ {failed}; }}"
        (folder / "condor_config_val").write_text(f"#!/bin/sh\n{shell}\n")
        (folder / "condor_config_val").chmod(0o755)
        self.state: dict[str, dict[str, Any]] = {}
        self.set("here")

    def set(self, name: str, **state: Any) -> None:
        """Says how a schedd is from now on."""
        self.state[name] = state
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def configure(self, knob: str, value: object) -> None:
        """Sets what `condor_config_val` prints."""
        (self.folder / f"{knob}.knob").write_text(f"{value}\n")

    def schedd(self, name: str = "here") -> Schedd:
        (self.folder / name).mkdir(exist_ok=True)
        return Schedd(self.folder / name)

    def source(self, given: Context | None = None, **keys: Any) -> HTCondorSource:
        section = {
            "name": "ce",
            "plugin": "htcondor",
            "record_prefix": "ce",
            "mode": "condor_history",
            "condor_history": str(self.folder / "condor_history"),
            "timeout_s": 20,
            "window_s": 10**7,
            "rescan_s": 10**6,
            **keys,
        }
        given = given or context()
        given.log = structlog.wrap_logger(
            None, [self.logs], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        given.now = lambda: datetime.fromtimestamp(self.now_s, UTC)
        return HTCondorSource(HTCondorSection(**section), given)

    def called(self) -> list[list[str]]:
        """The calls so far: command and arguments."""
        return [json.loads(line) for line in (self.folder / "called").read_text().splitlines()]
