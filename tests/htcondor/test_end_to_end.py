"""From the schedd's file to what the Auditor then holds, with the real command."""

import json
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from collector.record import Record
from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import Site, end, eventually
from tests.htcondor.cases import CASES
from tests.htcondor.schedd import Schedd, ad


class CondorSite(Site):
    """A site with a schedd."""

    def __post_init__(self) -> None:
        self.write_config()

    def write_config(self) -> None:
        self.config.write_text(
            "sources:\n"
            "  - {name: ap1, plugin: htcondor, record_prefix: ap1, interval_s: 0.05,"
            f" history: '{self.folder / 'history'}'}}\n"
            f"outbox: {{path: '{self.folder / 'outbox.db'}', min_free_bytes: 0}}\n"
            "sender: {interval_s: 0.05, backoff_s: 0.05, backoff_cap_s: 0.2}\n"
            f"auditor: {{url: '{self.url}'}}\nlog: {{format: json}}\n"
        )


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> CondorSite:
    return CondorSite(tmp_path, auditor.url)


def held(auditor: RunningAuditor) -> dict[str, Record]:
    """What the Auditor holds, by the number of the job."""
    with auditor.client() as client:
        return {record.record_id.split("#")[1]: record for record in client.stream_query()}


def test_a_job_that_was_written_twice_is_accounted_as_first_written(
    site: CondorSite, auditor: RunningAuditor
):
    """After a crash the schedd repeats a job, later and without wall-clock (102.0: 2 s)."""
    text = (CASES / "crashes" / "input" / "history").read_bytes()
    (site.folder / "history").write_bytes(text)
    assert site.run("backfill", "--since", "2026-11-23", "--until", "2026-11-24").returncode == 0
    records = held(auditor)
    assert records["102.0"].runtime == 2
    assert len(records) == 9


@pytest.mark.parametrize("reject", [False, True])
def test_jobs_with_impossible_values_are_flagged_or_rejected_and_counted(
    site: CondorSite, auditor: RunningAuditor, reject: bool
):
    """As configured; once, however often they are read. (65.0 ran; 125.0 never did.)

    Also when they were rejected, and are admitted by `retry` after the configuration was changed.
    """
    shutil.copy(CASES / "spoofed" / "input" / "history", site.folder / "history")
    keys = site.config.read_text().replace("interval_s: 0.05,", "suspicious: reject,", int(reject))
    site.config.write_text(keys)
    daemon = site.start("run")
    eventually(lambda: "1.0" in held(auditor))
    assert end(daemon) == 0
    site.run("backfill", "--since", "2026-11-23", "--until", "2026-11-24")
    suspicious = [
        number for number, one in held(auditor).items() if one.meta and "suspicious" in one.meta
    ]

    def counted() -> dict[str, int]:
        counts: dict[str, int] = json.loads(site.run("status", "--json").stdout)["sources"]["ap1"][
            "counts"
        ]
        return counts

    counts = counted()
    if reject:
        assert suspicious == []
        assert counts["unmappable"] == 2  # by the poll, and by the backfill
        assert "suspicious" not in counts
        site.config.write_text(keys.replace("suspicious: reject,", ""))
        site.run("rejected", "retry", "--all")
        assert counted()["suspicious"] == 1
    else:
        assert suspicious == ["65.0"]
        assert counts["suspicious"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_schedd_at_full_speed_and_a_daemon_that_is_killed(
    site: CondorSite, auditor: RunningAuditor, seed: int
):
    """Tiny rotations, torn writes, kill -9 at random moments: every job once, none twice."""
    rng, jobs, done = random.Random(seed), 4000, threading.Event()

    def write() -> None:
        schedd = Schedd(site.folder, limit_bytes=30_000, rotations=10_000)
        for cluster in range(1, jobs + 1):
            lines = ad(cluster, Args=f'"{"x" * rng.randrange(6000)}"')
            if rng.random() < 0.02:
                schedd.append(lines, torn_at=rng.randrange(40, len(lines)))
            schedd.append(lines)
            time.sleep(0.001)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    kills = 0
    while not done.is_set():
        daemon = site.start("run")
        time.sleep(rng.uniform(0.4, 2))
        end(daemon, signal.SIGKILL)
        kills += 1
    writer.join()
    starts = site.said().count('"started"')
    daemon = site.start("run")
    eventually(lambda: site.said().count('"started"') > starts)  # from then on SIGTERM is heard
    eventually(lambda: len(held(auditor)) >= jobs, limit_s=120)
    assert end(daemon) == 0
    assert set(held(auditor)) == {f"{cluster}.0" for cluster in range(1, jobs + 1)}
    assert kills > 3
    assert "rotated away" not in site.said()
