"""A backfill brings a past period into the Auditor, once, and says what became of it."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import Site, end, eventually
from tests.helpers.stored import ids, names

PERIOD = ("--since", "2026-01-01", "--until", "2026-01-02")


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    return Site(tmp_path, auditor.url)


def counts(text: str) -> dict[str, int]:
    return {name: int(count) for count, name in (line.split(None, 1) for line in text.splitlines())}


def test_a_period_is_accounted_and_summed_up(site: Site, auditor: RunningAuditor):
    """Only the runs that ended in it; exit status 0 when all of them are in the Auditor."""
    site.log(*range(100), 90_000)
    process = site.run("backfill", *PERIOD)
    assert process.returncode == 0
    assert counts(process.stdout) == {
        "read": 100,
        "filtered": 0,
        "stored": 100,
        "already there": 0,
        "rejected": 0,
        "waiting": 0,
    }
    assert ids(auditor) == names(*range(100))


def test_repeating_it_is_harmless(site: Site, auditor: RunningAuditor):
    """Everything is already there: by the ledger, and without it by the Auditor."""
    site.log(*range(100))
    assert site.run("backfill", *PERIOD).returncode == 0
    again = site.run("backfill", *PERIOD)
    assert (again.returncode, counts(again.stdout)["already there"]) == (0, 100)
    for path in site.folder.glob("outbox.db*"):
        path.unlink()
    without = site.run("backfill", *PERIOD)
    assert (without.returncode, counts(without.stdout)["already there"]) == (0, 100)
    assert ids(auditor) == names(*range(100))


def test_a_dry_run_stores_nothing(site: Site, auditor: RunningAuditor):
    """It says what would become of the jobs, and why some would be rejected; exit status 1 then."""
    site.log(*range(10))
    site.log(11, cores="many")
    process = site.run("backfill", *PERIOD, "--dry-run")
    assert process.returncode == 1
    assert counts(process.stdout)["would be stored"] == 10
    assert "component Cores: cores = 'many': expected a number" in process.stdout
    assert ids(auditor) == []
    assert json.loads(site.run("status", "--json").stdout)["waiting"] == 0


def test_what_is_not_delivered_makes_it_fail(site: Site, auditor: RunningAuditor):
    """A rejected job is exit status 1, and the others are stored."""
    site.log(*range(10))
    site.log(11, cores="many")
    process = site.run("backfill", *PERIOD)
    assert process.returncode == 1
    assert counts(process.stdout)["rejected"] == 1
    assert ids(auditor) == names(*range(10))


def test_without_waiting_it_leaves_the_sending_to_the_daemon(site: Site, auditor: RunningAuditor):
    """The records wait in the outbox; the exit status is 0."""
    site.log(*range(10))
    process = site.run("backfill", *PERIOD, "--no-wait")
    assert (process.returncode, counts(process.stdout)["waiting"]) == (0, 10)
    assert ids(auditor) == []


def test_beside_a_daemon_it_moves_no_checkpoint(site: Site, auditor: RunningAuditor):
    """Both work on one outbox: every job arrives once, and the daemon goes on where it was."""
    site.log(*range(1000))
    daemon = site.start("run")
    eventually(lambda: len(ids(auditor)) == 1000)
    before = json.loads(site.run("status", "--json").stdout)["sources"]["jobs"]["checkpoint"]
    assert site.run("backfill", *PERIOD).returncode == 0
    after = json.loads(site.run("status", "--json").stdout)["sources"]["jobs"]["checkpoint"]
    assert before == after
    site.log(1000)
    eventually(lambda: ids(auditor) == names(*range(1001)))
    assert end(daemon) == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--since", "2026-01-02", "--until", "2026-01-01"), "is not before"),
        (("--since", "2026-01-01T00:00", "--until", "2026-01-02"), "no time zone"),
        ((*PERIOD, "--source", "jbos"), 'did you mean "jobs"'),
        (("--since", "2026-01-01"), "--until"),
    ],
)
def test_a_mistake_in_the_command_is_told(site: Site, args: tuple[str, ...], words: str):
    """With what was expected; exit status 2, as for every wrong command."""
    process = site.run("backfill", *args)
    assert process.returncode == 2
    assert words in process.stderr


def test_killed_at_any_moment_and_repeated_it_counts_every_job_once(
    site: Site, auditor: RunningAuditor
):
    """kill -9 again and again, until one run gets to its end."""
    site.log(*range(20_000))
    dice = random.Random()
    for _ in range(6):
        killed = site.start("backfill", *PERIOD)
        time.sleep(dice.uniform(0.2, 1.2))
        end(killed, signal.SIGKILL)
    process = site.run("backfill", *PERIOD)
    assert process.returncode == 0
    assert counts(process.stdout)["read"] == 20_000
    found = ids(auditor)
    assert len(found) == len(set(found)) == 20_000
