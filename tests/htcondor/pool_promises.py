"""What holds on every real HTCondor pool: jobs of every kind, hostile owners, clocks, sums.

A test module gives the fixture `pool`, and takes all of this in with `import *`.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.source import Checkpoint, SourceError
from collector.source.testing import context
from collector_htcondor.source import HTCondorSection, HTCondorSource
from tests.helpers.auditor_server import running_auditor
from tests.htcondor.both_condors import differences
from tests.htcondor.hostile import attack, harm
from tests.htcondor.pool import Pool, eventually
from tests.htcondor.pool_collecting import POLL_S, Collecting
from tests.htcondor.pool_comparison import compare
from tests.htcondor.pool_disturbances import run_all
from tests.htcondor.pool_workload import Kind, Submitted, Workload
from tests.htcondor.verify import NEWEST

PROTECTED = "PROTECTED_JOB_ATTRS = GlobalJobId, RoutedToJobId, AcctGroup\n"


@dataclass
class Collected:
    """What a daemon has collected."""

    collecting: Collecting
    workload: Workload
    attackers: list[Submitted]


@pytest.fixture(scope="module")
def collected(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    """A daemon that collected everything, was killed now and then, and has ended."""
    folder = tmp_path_factory.mktemp("collecting")
    with running_auditor(folder / "auditor.db") as auditor:
        collecting = Collecting(pool, auditor, folder)
        try:
            workload = run_all(pool, collecting)
            attackers = attack(workload)
            time.sleep(4 * POLL_S)
        finally:
            collecting.stop()
        yield Collected(collecting, workload, attackers)


def test_the_sums_are_those_of_the_jobs_themselves(collected: Collected):
    """In every mode: runs, wall-clock, cores and CPU time, of each run, within a second."""
    assert not "\n".join(compare(collected.collecting, collected.workload))


def test_every_job_can_be_accounted(collected: Collected):
    """Nothing is in the table of rejected entries, whatever owners wrote into their ads."""
    assert not "\n".join(collected.collecting.rejected())


def test_a_backfill_accounts_the_same(collected: Collected):
    """It reads the same period once more, for other record ids."""
    collected.collecting.backfill()
    assert not "\n".join(compare(collected.collecting, collected.workload, "b-"))


def test_no_owner_lowers_his_bill_unseen(collected: Collected):
    """No run is lost or doubled; none has another length or fewer cores without being flagged."""
    assert len(collected.attackers) > 80
    assert not "\n".join(harm(collected.collecting, collected.workload, collected.attackers))


def test_the_stand_ins_answer_as_the_real_commands(collected: Collected, tmp_path: Path):
    """Windows, limits, names, columns and refusals: the same ads and exit status."""
    pool, workload = collected.workload.pool, collected.workload
    held = workload.submit(Kind("held", submit="hold = true", count=3))
    middle = int(time.time()) - 120
    ends = ("EnteredCurrentStatus", "LastJobLeaseRenewal")
    constraints = (
        "true",
        " || ".join(f"({name} >= {middle - 60} && {name} < {middle})" for name in ends),
        f"EnteredCurrentStatus < {middle}",
        "JobStatus == 3 && JobUniverse == 5",
        'Owner == "bob"',
        "NoSuchAttribute == 1",
    )
    try:
        count, differing = differences(pool, tmp_path, constraints)
    finally:
        workload.act(held, "condor_rm", "{c}")
    assert not "\n".join(differing)
    assert count > 100


def test_an_owner_cannot_edit_what_the_schedd_protects(pool: Pool, collected: Collected):
    """With the advice of docs/security.md his edits are refused, and jobs end as before."""
    workload = collected.workload
    pool.configure("90-protected", PROTECTED)
    kind = Kind("protected", "carol", 6, submit="leave_in_queue = LabStays =!= False")
    job = workload.submit(kind)
    eventually(lambda: _shown(pool, job, "JobStatus") == "2", 60, "the job runs")
    for name in ("GlobalJobId", "RoutedToJobId", "AcctGroup"):
        before = _shown(pool, job, name)
        said = workload.act(job, "condor_qedit", "{c}", name, '"other"')
        assert "Set attribute" not in said
        assert _shown(pool, job, name) == before
    eventually(lambda: _shown(pool, job, "JobStatus") == "4", 60, "the job is over")
    workload.act(job, "condor_qedit", "{c}", "LabStays", "False")
    workload.run(60)
    pool.configure("90-protected", "")


def test_a_clock_that_was_wrong_costs_nothing(pool: Pool, collected: Collected, tmp_path: Path):
    """A poll in the year 2000 and one days ahead: nothing is lost after, and not asked again."""
    asking = Asking(pool, tmp_path)
    asking.poll(datetime.now(UTC))
    for wrong in (datetime(2000, 1, 1, 0, 5, tzinfo=UTC), datetime.now(UTC) + timedelta(5)):
        asking.poll(wrong)
        job = collected.workload.submit(Kind("after_a_wrong_clock", "bob", 2))
        collected.workload.run(60)
        time.sleep(2)
        calls = asking.calls()
        found = asking.poll(datetime.now(UTC))
        assert any(f"#{job.cluster}.0#" in job_id for job_id in found)
        assert asking.calls() - calls < 40  # of 26 years in windows of hours: some 39,000


def test_a_schedd_that_refuses_to_be_read_is_an_outage(pool: Pool, tmp_path: Path):
    """No right to read: the poll fails, its checkpoint stays, and the job is found afterwards."""
    asking = Asking(pool, tmp_path)
    asking.poll(datetime.now(UTC))
    workload = Workload(pool)
    job = workload.submit(Kind("unread", "bob", 2))
    workload.run(60)
    time.sleep(2)
    refused = "SCHEDD.DENY_READ = *\nSCHEDD.ALLOW_READ = nobody@nowhere.example\n"
    pool.configure("91-refused", refused + "SEC_READ_AUTHENTICATION = REQUIRED\n")
    try:
        with pytest.raises(SourceError):
            asking.poll(datetime.now(UTC))
    finally:
        pool.configure("91-refused", "")
    found = asking.poll(datetime.now(UTC))
    assert any(f"#{job.cluster}.0#" in job_id for job_id in found)


def test_the_release_is_reported(pool: Pool, record_testsuite_property: Callable[..., None]):
    """One that is newer than those that this was made with is no failure."""
    shown = ".".join(map(str, pool.version))
    newer = " (newer than those this was made with)" if pool.version[:2] > NEWEST else ""
    record_testsuite_property("HTCondor", shown + newer)
    assert pool.version >= (23, 9)


def _shown(pool: Pool, job: Submitted, name: str) -> str:
    return pool.run("condor_q", job.cluster, "-af", name, check=False)


class Asking:
    """A source of mode condor_history, with a clock of its own."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._called = folder / "called"
        self._checkpoint: Checkpoint | None = None
        command = folder / "condor_history"
        real = pool.commands() / "condor_history"
        command.write_text(f'#!/bin/sh\necho x >>{self._called}\nexec {real} "$@"\n')
        command.chmod(0o755)
        section: dict[str, Any] = {
            "name": "ce",
            "plugin": "htcondor",
            "record_prefix": "ce",
            "mode": "condor_history",
            "condor_history": str(command),
            "schedd_names": [pool.schedds[0].name],
            "pool": pool.address,
            "settle_s": 1,
            "pause_s": 0,
        }
        self._context = context()
        self._source = HTCondorSource(HTCondorSection(**section), self._context)

    def poll(self, now: datetime) -> set[str]:
        """The ids of the jobs that a poll at that time finds."""
        self._context.now = lambda: now
        found = set()
        for batch in self._source.poll(self._checkpoint):
            self._checkpoint = json.loads(json.dumps(batch.checkpoint))
            found |= {job.id for job in batch.jobs}
        return found

    def calls(self) -> int:
        """How often condor_history was called."""
        return len(self._called.read_text().split())
