"""The system is upgraded to Debian's next release while the service runs: nothing is lost.

It fetches a few hundred packages and takes minutes: part of `make nightly`.
"""

import shutil
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.operation.installed import UNIT, Service
from tests.operation.machine import Container, copied, marks

pytestmark = [pytest.mark.nightly, *marks[1:]]

UPGRADE = """\
set -e
sed -i s/bookworm/trixie/g $(find /etc/apt/sources.list /etc/apt/sources.list.d -type f)
apt-get update -qq
apt-get full-upgrade --yes -qq -o Dpkg::Options::=--force-confold
apt-get autoremove --purge --yes -qq
"""


def test_the_service_runs_on_and_nothing_is_lost(
    clean_system: Path, packages: Path, auditor: RunningAuditor
):
    """Its Python is replaced under it: it is restarted with the new one, enabled as before."""
    package = next(packages.glob("*_amd64.deb"))
    with copied(clean_system) as machine:
        machine.run("apt-get", "install", "--yes", "-qq", "--no-install-recommends", "systemd-sysv")
        shutil.copy(package, machine.root / "root")
        node = Container(machine.root)
        node.switch_on()
        try:
            node.run("dpkg", "--install", f"/root/{package.name}")
            service = Service(node, auditor)
            service.configure()
            service.log(0)
            node.run("systemctl", "enable", "--now", UNIT)
            before = service.pid
            node.run("sh", "-c", UPGRADE)
            assert "3.13" in node.run("python3", "--version")
            assert service.show("ActiveState") == "active"
            assert service.pid != before
            assert "python3.13" in node.run("readlink", f"/proc/{service.pid}/exe")
            assert node.run("systemctl", "is-enabled", UNIT) == "enabled\n"
            service.log(1)
            service.await_all()
        finally:
            node.switch_off()
