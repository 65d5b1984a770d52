"""What the runbook tells an administrator to do has the effect that it says."""

import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.certificates import Authority
from tests.helpers.site import Site, end, eventually
from tests.helpers.stored import ids

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()


@pytest.mark.parametrize(
    ("ended", "files"),
    [(signal.SIGTERM, {"outbox.db"}), (signal.SIGKILL, {"outbox.db", "outbox.db-wal"})],
)
def test_the_outbox_is_all_that_moves_to_another_host(
    tmp_path: Path, auditor: RunningAuditor, ended: signal.Signals, files: set[str]
):
    """There, reading goes on where it was: nothing is missing, and nothing is read once more."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = (Site(tmp_path / name, auditor.url) for name in ("old", "new"))
    old.log(*range(5))
    process = old.start("run")
    try:
        eventually(lambda: len(ids(auditor)) == 5)
        eventually(lambda: "waiting  0 record" in old.run("status").stdout)
    finally:
        end(process, ended)
    found = {path.name for path in old.folder.glob("outbox.db*") if path.suffix != ".lock"}
    assert files == found - {"outbox.db-shm"}
    for name in (*files, "jobs.jsonl"):
        shutil.copy(old.folder / name, new.folder / name)
    new.log(*range(5, 9))
    process = new.start("run")
    try:
        eventually(lambda: len(ids(auditor)) == 9)
    finally:
        assert end(process) == 0
    assert "records       9 sent" in new.run("status").stdout


def test_a_certificate_says_when_it_ends(tmp_path: Path):
    """The command as it stands in the runbook."""
    certificate, _ = Authority(tmp_path).issue("client", days=-1)
    [command] = re.findall(r"`(openssl x509 -enddate [^`]*) FILE`", RUNBOOK)
    said = subprocess.run(
        [*shlex.split(command), str(certificate)], check=True, capture_output=True, text=True
    ).stdout
    assert "notAfter=" in said
    assert "CN = client" in said or "CN=client" in said
    assert "CN = ca" in said or "CN=ca" in said
