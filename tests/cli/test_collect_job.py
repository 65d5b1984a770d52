"""`collect-job` puts one ended job into the outbox, and never fails the epilog that calls it."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose Auditor is not there."""
    return Site(tmp_path, "http://127.0.0.1:9")


def slurm(site: Site, tmp_path: Path) -> None:
    """Replaces its source by a Slurm cluster, of captured rows."""
    from tests.slurm.standin import standin

    sacct = standin(tmp_path)
    text = site.config.read_text()
    source = f"  - {{name: lab, plugin: slurm, record_prefix: lab, sacct: {sacct}}}\n"
    site.config.write_text("sources:\n" + source + text.partition("\n")[2].partition("\n")[2])


def test_an_ended_job_waits_in_the_outbox(site: Site, tmp_path: Path):
    """Once, however often it is told; nothing is sent."""
    slurm(site, tmp_path)
    for _ in range(2):
        process = site.run("collect-job", "--source", "lab", "1")
        assert (process.returncode, process.stderr) == (0, "")
    status = json.loads(site.run("status", "--json").stdout)
    assert status["waiting"] == 1
    assert status["sources"] == {}


@pytest.mark.slow
def test_an_outbox_that_is_locked_does_not_hold_up_the_epilog(site: Site, tmp_path: Path):
    """A backup, say: the epilog gives up long before the daemon would."""
    slurm(site, tmp_path)
    assert site.run("collect-job", "--source", "lab", "1").returncode == 0
    with contextlib.closing(sqlite3.connect(site.folder / "outbox.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        process = site.run("collect-job", "--source", "lab", "2")
    assert process.returncode == 0
    assert "locked by another process" in process.stderr
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--source", "lab", "a;b"), "not a job id"),
        (("--source", "bal", "1"), "no source 'bal'"),
    ],
)
def test_whatever_is_wrong_does_not_fail_the_epilog(
    site: Site, tmp_path: Path, args: tuple[str, ...], words: str
):
    """Exit status 0, and the reason on standard error."""
    slurm(site, tmp_path)
    process = site.run("collect-job", *args)
    assert process.returncode == 0
    assert words in process.stderr


def test_a_plugin_without_single_jobs_says_so(site: Site):
    """The job is left to the polls."""
    site.log(1)
    process = site.run("collect-job", "--source", "jobs", "1")
    assert process.returncode == 0
    assert "cannot read a single job" in process.stderr


def test_a_broken_configuration_does_not_fail_the_epilog_either(site: Site):
    """The mistakes stand on standard error."""
    site.config.write_text("sources: 1")
    process = site.run("collect-job", "--source", "jobs", "1")
    assert process.returncode == 0
    assert "expected a list" in process.stderr


def test_an_epilog_does_not_wait_for_what_only_the_daemon_needs():
    """Neither the HTTP client nor the scheduler is loaded: they would double the time it takes."""
    loaded = "import sys, collector.cli.collect_job; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loaded], check=True, capture_output=True, text=True, timeout=60
    )
    modules = set(done.stdout.split())
    assert "collector.outbox" in modules
    assert not modules & {"httpcore", "apscheduler", "prometheus_client", "starlette", "uvicorn"}
