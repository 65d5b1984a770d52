"""The public HTCondor collector collects a part, then ours goes on: every job once."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.record import Record
from collector_htcondor.import_config import DONE, go_on
from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.site import Site, end, eventually
from tests.htcondor.schedd import START, Schedd, ad
from tests.htcondor.standin import Pool

PEER = Path(sys.executable).with_name("auditor-htcondor-collector")
TESTCASES = Path(__file__).parents[1] / "testcases"
DAY_S = 86400
NOW_S = int(time.time())
THEIRS = """
addr: 127.0.0.1
port: {port}
timeout: 60
state_db: state.db
earliest_datetime: "2020-01-01"
record_prefix: site
interval: 900
schedd_names: [here]
query_type: exec
tls_config: {{use_tls: false}}
meta:
  user: {{key: Owner}}
  site: [{{name: site1}}]
components:
- {{name: Cores, key: CpusProvisioned}}
"""


def ran(cluster: int, ago_s: int, **more: Any) -> bytes:
    """The ad of a job that ended some time ago."""
    start = NOW_S - ago_s - 60
    times = {"made": start - 10, "QDate": start - 10, "JobStartDate": start}
    times |= {"JobCurrentStartDate": start, "LastMatchTime": start, "CompletionDate": start + 60}
    return ad(cluster, 0, **{**times, "EnteredCurrentStatus": start + 60, **more})


class Switching(Site):
    """The old collector's folder, with its configuration, and a site that ours takes over."""

    def __init__(self, folder: Path, auditor: RunningAuditor, **theirs: Any) -> None:
        super().__init__(folder, auditor.url)
        self.auditor, self.pool = auditor, Pool(folder)
        self.schedd: Schedd = self.pool.schedd()
        self.old = folder / "old.yml"
        keys = yaml.safe_load(THEIRS.format(port=auditor.port)) | theirs
        self.old.write_text(yaml.safe_dump(keys))
        path = os.pathsep.join([str(folder), os.environ["PATH"]])
        self.environ = {**os.environ, "PATH": path}

    def write_config(self) -> None:
        """It is made of theirs."""

    def let_theirs_collect(self) -> None:
        done = subprocess.run(
            [PEER, "-c", self.old, "-1"],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Collector run finished" in done.stderr, done.stderr

    def switch(self) -> str:
        """Makes our configuration of theirs, as an administrator does; gives what it says."""
        made = subprocess.run(
            [sys.executable, "-m", "collector", "import-config", self.old],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        self.config.write_text(
            made
            + f"outbox: {{path: '{self.folder / 'outbox.db'}', min_free_bytes: 0}}\n"
            + "sender: {interval_s: 0.1, backoff_s: 0.05, backoff_cap_s: 0.2}\n"
        )
        return made

    def collect(self, until: int) -> None:
        """Lets our daemon run until the Auditor has so many jobs."""
        daemon = self.start("run", PATH=self.environ["PATH"])
        eventually(lambda: len(self.held()) >= until)
        assert end(daemon) == 0

    def held(self) -> dict[str, Record]:
        """What the Auditor holds, by the number of the job."""
        with self.auditor.client() as client:
            records = list(client.stream_query())
        assert len({record.record_id for record in records}) == len(records)
        return {record.record_id.split("#")[1]: record for record in records}


@pytest.mark.slow
@pytest.mark.skipif(not PEER.exists(), reason="auditor-htcondor-collector is not installed")
@pytest.mark.parametrize("asks", ["files", "condor_history"])
def test_ours_goes_on_where_theirs_ended(tmp_path: Path, auditor: RunningAuditor, asks: str):
    """Also with jobs that had ended long before, but left the queue after it was stopped."""
    where: dict[str, Any] = {"pool": "cm.example.org"}
    if asks == "files":
        where = {"history_file": str(tmp_path / "here" / "history")}
    site = Switching(tmp_path, auditor, **where)
    site.schedd.append(ran(1, 40 * DAY_S))
    for cluster in (7, 3, 4, 5):
        site.schedd.append(ran(cluster, 3 * DAY_S - cluster))
    site.let_theirs_collect()
    assert set(site.held()) == {"1.0", "7.0", "3.0", "4.0", "5.0"}
    site.schedd.append(ran(2, 10 * DAY_S))  # spooled: it left the queue 10 days after its end
    site.schedd.append(ran(6, 3 * DAY_S))
    site.schedd.append(ran(8, 3600, LastMatchTime=None))  # theirs would pass over it
    theirs = site.held()

    said = site.switch()
    ended = datetime.fromtimestamp(NOW_S - 3 * DAY_S + 5, UTC)
    assert yaml.safe_load(said)["sources"][0]["since"] == (ended - timedelta(days=11)).isoformat()
    site.collect(8)
    site.schedd.append(ran(9, 60))
    site.collect(9)
    held = site.held()
    assert set(held) == {f"{cluster}.0" for cluster in range(1, 10)}
    assert {number: held[number] for number in theirs} == theirs
    assert "rejected nothing" in site.run("status").stdout


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    pool = Pool(tmp_path)
    for name, cluster in (("here", 5), ("there", 3)):
        pool.schedd(name).append(ad(cluster, EnteredCurrentStatus=START + 86400 * cluster))
        pool.schedd(name).append(ad(9, EnteredCurrentStatus=START + 86400 * 9))
    return pool


def went_on(**keys: Any) -> tuple[datetime | None, str]:
    """`since`, and what is told, with the database of `testcases/htcondor_import`."""
    keys = {"record_prefix": "site", "schedd_names": ["here", "there"], "pool": "cm", **keys}
    with contextlib.closing(sqlite3.connect(":memory:")) as opened:
        opened.executescript((TESTCASES / "htcondor_import" / "state_db.sql").read_text())
        since, told = go_on(keys, opened.execute(DONE))
    return since, "\n".join(told)


def test_since_lies_before_the_end_of_the_job_that_theirs_took_last(pool: Pool):
    """At the schedd that is furthest behind; by as long as jobs stay in the queue at their end."""
    assert went_on()[0] == datetime.fromtimestamp(START + (3 - 11) * 86400, UTC)
    assert went_on(schedd_names=["here"])[0] == datetime.fromtimestamp(START - 6 * 86400, UTC)
    assert pool.called()[-1] == [
        *("condor_history", "-pool", "cm", "-name", "here", "-limit", "1", "-long", "5.0")
    ]


def test_since_is_never_before_the_old_collector_began(pool: Pool):
    """What ended before was not its business."""
    assert pool
    began = datetime.fromtimestamp(START - 86400, UTC)
    assert went_on(earliest_datetime=began.isoformat())[0] == began


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"schedd_names": ["here", "elsewhere"]}, "elsewhere: its database has no job of prefix"),
        ({"record_prefix": "new"}, "here: its database has no job of prefix new"),
        ({"record_prefix": "test", "schedd_names": ["here"]}, "cannot be run"),
        ({"schedd_names": ["there"]}, "there: 3.0, the last job that it collected, is no longer"),
    ],
)
def test_where_that_job_is_not_known_all_is_read_from_where_theirs_began(
    pool: Pool, keys: dict[str, Any], told: str
):
    """A schedd never collected, another prefix, no command here, a job that was rotated away."""
    (pool.folder / "there" / "history").unlink()
    if "cannot" in told:
        (pool.folder / "condor_history").unlink()
    since, said = went_on(earliest_datetime="2026-01-01", **keys)
    assert since is None
    assert told in said
    assert "so `since` is 2026-01-01" in said
    assert "set it by hand" in went_on(**keys)[1]
