"""The real samples of both schedulers, whole, through everything, and through kill -9."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import LIMIT_S, end

ROOT = Path(__file__).parents[2]
SPOOL = ROOT / "tests" / "demo" / "spool"
JOBCOMP = ROOT / "tests" / "testcases" / "slurm" / "jobcomp" / "jobcomp.log"
PERIOD = ("--since", "2026-11-23", "--until", "2026-11-24")


class Samples:
    """A configuration for the samples, under a prefix of its own."""

    def __init__(self, folder: Path, url: str, prefix: str) -> None:
        self.folder = folder
        self.folder.mkdir()
        (folder / "config.yaml").write_text(f"""
sources:
  - {{name: ap1, plugin: htcondor, record_prefix: {prefix}-c, history: {SPOOL / "history"}}}
  - name: lab
    plugin: slurm
    record_prefix: {prefix}-s
    mode: jobcomp
    jobcomp_path: {JOBCOMP}
    time_zone: UTC
outbox: {{path: {folder / "outbox.db"}, min_free_bytes: 0}}
sender: {{batch_records: 50, backoff_s: 0.05, backoff_cap_s: 0.1}}
auditor: {{url: '{url}'}}
log: {{format: json}}
""")

    def backfill(self) -> subprocess.Popen[str]:
        config = self.folder / "config.yaml"
        return subprocess.Popen(
            [sys.executable, "-m", "collector", "backfill", *PERIOD, "--config", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def backfill_to_the_end(self) -> dict[str, int]:
        with self.backfill() as process:
            said, _ = process.communicate(timeout=LIMIT_S)
        lines = (line.split(None, 1) for line in said.splitlines())
        return {name: int(count) for count, name in lines}


def held(auditor: RunningAuditor, prefix: str) -> dict[str, tuple[object, ...]]:
    """What the Auditor holds under a prefix, by id without it."""
    found: dict[str, tuple[object, ...]] = {}
    with auditor.client() as client:
        for record in client.stream_query():
            if record.record_id.startswith(prefix + "-"):
                key = record.record_id.removeprefix(prefix + "-")
                assert key not in found
                amounts = [(one.name, one.amount) for one in record.components]
                found[key] = (record.start_time, record.stop_time, tuple(amounts))
    return found


def test_every_job_of_the_samples_is_accounted_for(tmp_path: Path, auditor: RunningAuditor):
    """Read = filtered + stored + known before + rejected, and the Auditor holds what was stored.

    HTCondor wrote one job twice; slurmctld too, of which the last word is read; one line was cut.
    Jobs of the local and scheduler universe are filtered.
    """
    samples = Samples(tmp_path / "once", auditor.url, "once")
    counts = samples.backfill_to_the_end()
    assert counts["rejected"] == 1
    assert counts["waiting"] == 0
    assert counts["stored"] == len(held(auditor, "once")) == 249
    told = ("filtered", "stored", "already there", "rejected")
    assert counts["read"] == sum(counts[name] for name in told)


def kill_and_repeat(
    folder: Path, auditor: RunningAuditor, rounds: int, dice: random.Random
) -> None:
    whole = Samples(folder / "whole", auditor.url, "whole")
    whole.backfill_to_the_end()
    expected = held(auditor, "whole")
    assert expected
    for number in range(rounds):
        samples = Samples(folder / f"r{number}", auditor.url, f"r{number}")
        for _ in range(3):
            process = samples.backfill()
            time.sleep(dice.uniform(0.3, 0.9))
            end(process, signal.SIGKILL)
        samples.backfill_to_the_end()
        assert held(auditor, f"r{number}") == expected, number


@pytest.mark.slow
def test_a_killed_backfill_of_the_samples_counts_every_job_once(
    tmp_path: Path, auditor: RunningAuditor
):
    """kill -9 at random moments, repeated until done: the same records as without."""
    kill_and_repeat(tmp_path, auditor, 1, random.Random())


@pytest.mark.slow
def test_many_killed_backfills_count_every_job_once(tmp_path: Path, auditor: RunningAuditor):
    """The same, thirty times."""
    kill_and_repeat(tmp_path, auditor, 30, random.Random())
