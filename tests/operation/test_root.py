"""Called by root, every command goes on as the user that the outbox's folder belongs to."""

import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.site import NOBODY, PATHS, Site, end, eventually, python_of_all
from tests.operation.machine import folder_for_a_system

USER = "nobody"
PYTHON = python_of_all()

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="not root"),
    pytest.mark.skipif(PYTHON is None, reason="only root gets through to Python or the checkout"),
]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site whose outbox has a folder of another user's, and was never there."""
    if sys.executable != PYTHON:
        monkeypatch.setattr(sys, "executable", PYTHON)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(PATHS))
    with folder_for_a_system() as folder:
        state = folder / "state"
        state.mkdir(mode=0o755)
        shutil.chown(state, USER)
        site = Site(folder, NOBODY)
        site.log(1)
        keep_outbox_in(site, "state")
        yield site
        assert {path.owner() for path in (state, *state.rglob("*"))} == {USER}


def keep_outbox_in(site: Site, folder: str) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace("/outbox.db", f"/{folder}/outbox.db"))


def test_a_backfill_before_the_first_start(site: Site):
    """What it stores is the service's."""
    period = ("--since", "2000-01-01", "--until", "2100-01-01")
    assert site.run("backfill", *period, "--no-wait").returncode == 0
    assert "waiting  1 record" in site.run("status").stdout


def test_a_job_from_an_epilog_before_the_first_start(site: Site):
    """The example plugin reads no single job; the outbox that was made for it is the service's."""
    assert site.run("collect-job", "--source", "jobs", "1").returncode == 0
    assert (site.folder / "state/outbox.db").exists()


def test_the_daemon_by_hand(site: Site):
    """One that root runs to see what it says leaves nothing that the service cannot open."""
    process = site.start("run")
    try:
        eventually(lambda: '"polled"' in site.said())
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        assert end(process) == 0
    assert status.partition("Uid:\t")[2].split()[:4] == 4 * [str(pwd.getpwnam(USER).pw_uid)]


def test_an_instance_whose_folder_systemd_has_not_made_yet(site: Site):
    """The nearest folder that is there decides."""
    keep_outbox_in(site, "other")
    period = ("--since", "2000-01-01", "--until", "2100-01-01")
    assert site.run("backfill", *period, "--no-wait").returncode == 0
    assert (site.folder / "state/other/outbox.db").owner() == USER
