"""The Debian package under a real systemd: installed, configured and run as the README says.

A clean system boots in a container. Its service reads real accounting of HTCondor and Slurm inside
the unit's sandbox, and an embedded Auditor outside of it tells what arrived.
"""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor, running_auditor, start_auditor
from tests.helpers.certificates import Authority
from tests.helpers.site import eventually
from tests.operation.installed import CONFIG, RECORDS, UNIT, Service
from tests.operation.machine import Container, copied, marks

ROOT = Path(__file__).parents[2]
pytestmark = marks


def readme() -> tuple[list[str], list[str]]:
    """What the README tells to do on a node: before and after the editor is opened."""
    text = (ROOT / "README.md").read_text().partition("## Installation on a batch node")[2]
    (block, *_) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line.partition("  #")[0].strip() for line in block.splitlines()]
    commands = [one for one in commands if not one.startswith("dnf ")]  # this node is a Debian
    assert commands.pop(0) == "make package"  # on any machine: the fixture has done it
    editor = commands.index("editor /etc/auditor-collector/config.yaml")
    return commands[:editor], commands[editor + 1 :]


@pytest.fixture(scope="module")
def node(clean_system: Path, packages: Path) -> Iterator[Container]:
    """A booted system on which the package was installed as the README says, without a network."""
    with copied(clean_system) as machine:
        machine.run("apt-get", "install", "--yes", "-qq", "--no-install-recommends", "systemd-sysv")
        shutil.copy(next(packages.glob("*_amd64.deb")), machine.root / "root")
        node = Container(machine.root)
        node.switch_on()
        try:
            for command in readme()[0]:
                answered = command.replace("apt install", "apt install --yes")
                node.run_alone("sh", "-c", f"cd /root && {answered}")
            yield node
        finally:
            node.switch_off()


@pytest.fixture
def service(node: Container, auditor: RunningAuditor) -> Iterator[Service]:
    """Configured and started as the README says; the Auditor holds the first half of the jobs."""
    service = Service(node, auditor)
    try:
        service.configure()
        service.log(0)
        for command in readme()[1]:
            node.run("sh", "-c", command)
        eventually(lambda: len(service.held()) > len(RECORDS) / 3)
        yield service
    finally:
        service.remove()


def test_the_readmes_steps_give_a_service_that_accounts_every_job(service: Service):
    """It runs, is enabled, says how it is, and has nothing to warn of; nor has systemd."""
    assert service.node.run("systemctl", "is-enabled", UNIT) == "enabled\n"
    assert service.node.run("systemctl", "is-active", UNIT) == "active\n"
    service.log(1)
    service.await_all()
    service.await_("StatusText", lambda text: text.startswith("idle: nothing waits"))
    assert "waiting  0 records" in service.node.run("auditor-collector", "status")
    # slurmctld cut one line of the log, and this machine has no sacct.
    warned = service.logged(4)
    assert any("cut after" in line for line in warned)
    known = ("jobs rejected", "release of Slurm not known")
    assert all(any(text in line for text in known) for line in warned), warned
    assert "mode is different" not in service.said()


def test_the_service_has_no_rights(service: Service):
    """Its own user, no capability, none to be had, and a filter of system calls."""
    process = service.process()
    number = service.node.run("id", "--user", "auditor-collector").strip()
    assert set(process["Uid"].split()) == {number}
    sets = {name: int(value, 16) for name, value in process.items() if name.startswith("Cap")}
    assert len(sets) == 5
    assert set(sets.values()) == {0}
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    state = service.node.run("stat", "--format=%U %G %a", "/var/lib/auditor-collector")
    assert state == "auditor-collector auditor-collector 750\n"
    outbox = service.node.run("stat", "--format=%U %a", "/var/lib/auditor-collector/outbox.db")
    assert outbox == "auditor-collector 600\n"


def test_the_sandbox_is_closed(service: Service):
    """Inside of it nothing but the state can be written; no home, device, or others' /tmp."""
    for folder in ("home/somebody", "tmp/of-others"):
        (service.node.root / folder).mkdir(exist_ok=True)
    probe = service.node.root / "usr/local/bin/probe"
    probe.write_text("""#!/bin/sh
for path in /etc /usr /var/spool /var/log /home /root /run /var/lib /etc/auditor-collector; do
    touch $path/written 2>/dev/null && echo "wrote $path"
done
ls /home /tmp /dev
unshare --user true 2>/dev/null && echo "a namespace of its own"
touch /var/lib/auditor-collector/written && echo "wrote its state"
""")
    probe.chmod(0o755)
    service.drop_in("ExecStartPre=/usr/local/bin/probe")
    service.ctl("restart", UNIT)
    said = set(service.said().splitlines())
    assert "wrote its state" in said
    assert {line for line in said if line.startswith("wrote")} == {"wrote its state"}
    assert not said & {"somebody", "of-others", "a namespace of its own", "vda", "mem", "kmsg"}


def test_a_wrong_configuration_stays_stopped(service: Service):
    """The mistakes are in the journal, the exit status is 78, and there is no second start."""
    service.drop_in("RestartSec=100ms")
    service.configure("senders: {}\n")
    assert service.node.tell("systemctl", "restart", UNIT).returncode != 0
    time.sleep(2)
    assert service.show("ActiveState") == "failed"
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("78", "0")
    assert any("senders: unknown key" in line for line in service.logged(3))
    service.configure()
    service.ctl("start", UNIT)
    service.log(1)
    service.await_all()


def test_a_killed_service_goes_on_with_nothing_lost_or_doubled(service: Service):
    """kill -9 three times while it works; systemd starts it again each time."""
    service.drop_in("RestartSec=100ms")
    service.log(1)
    for count in range(1, 4):
        before = service.pid
        service.kill("KILL")
        service.await_("NRestarts", lambda number, count=count: int(number) == count)  # type: ignore[misc]
        service.await_("ActiveState", lambda state: state == "active")
        assert service.pid not in (0, before)
    service.await_all()


def test_a_service_that_hangs_is_started_anew(service: Service):
    """SIGSTOP: nobody feeds the watchdog, and systemd does what the unit says."""
    service.drop_in("WatchdogSec=2s\nTimeoutStopSec=2s\nRestartSec=100ms")
    service.ctl("restart", UNIT)
    time.sleep(4)  # it is fed meanwhile
    assert service.show("NRestarts") == "0"
    before = service.pid
    service.kill("STOP")
    service.log(1)
    service.await_("NRestarts", lambda number: int(number) == 1)
    assert "Watchdog timeout" in service.said()
    service.await_all()
    assert service.pid != before


def test_a_reload_takes_over_or_keeps(service: Service):
    """`systemctl reload` waits for the answer; a wrong configuration changes nothing."""
    before = service.pid
    service.configure("senders: {}\n")
    assert service.node.tell("systemctl", "reload", UNIT).returncode != 0
    eventually(lambda: "configuration refused; the old one stays" in service.said())
    assert "senders: unknown key" in service.said()
    (service.node.root / "var/spool/history").rename(service.node.root / "var/spool/moved")
    service.configure(config=CONFIG.replace("/var/spool/history", "/var/spool/moved"))
    service.ctl("reload", UNIT)
    eventually(lambda: service.said().count("configuration changed") == 1)
    (service.node.root / "var/spool/moved").rename(service.node.root / "var/spool/history")
    service.configure()
    service.ctl("reload", UNIT)
    eventually(lambda: service.said().count("configuration changed") == 2)
    service.log(1)
    service.await_all()
    assert (service.pid, service.show("NRestarts")) == (before, "0")


def test_a_stop_is_a_success_and_the_next_start_goes_on(service: Service):
    """Exit status 0, well within the unit's time-out."""
    service.log(1)
    started = time.monotonic()
    service.ctl("stop", UNIT)
    assert time.monotonic() - started < 30
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0")
    assert service.show("ActiveState") == "inactive"
    service.ctl("start", UNIT)
    service.await_all()


def test_the_key_of_a_certificate_comes_by_credential(service: Service, tmp_path: Path):
    """The example for TLS, as it is: root keeps the key, and records arrive over mutual TLS."""
    ca = Authority(tmp_path)
    server, client = ca.issue("server"), ca.issue("node")
    etc = service.node.root / "etc/auditor-collector"
    shutil.copy(ca.certificate, etc / "ca.pem")
    shutil.copy(client[0], etc / "auditor.pem")
    shutil.copy(client[1], etc / "auditor.key")
    service.node.run("chown", "root:root", "/etc/auditor-collector/auditor.key")
    (etc / "auditor.key").chmod(0o600)
    (etc / "auditor.pem").chmod(0o644)
    (etc / "ca.pem").chmod(0o644)
    example = service.node.root / "usr/share/doc/auditor-collector/examples/tls.conf"
    service.drop_in(example.read_text().replace("[Service]", ""))
    tls = ("--tls-cert", str(server[0]), "--tls-key", str(server[1]))
    with running_auditor(
        tmp_path / "tls.db", *tls, "--tls-ca", str(ca.certificate)
    ) as service.auditor:
        service.configure(
            tls="ca: /etc/auditor-collector/ca.pem, "
            "certificate: /etc/auditor-collector/auditor.pem, "
            f"key: /run/credentials/{UNIT}/auditor.key"
        )
        service.ctl("restart", UNIT)
        service.log(1)
        service.await_("StatusText", lambda text: text.startswith("idle: nothing waits"))


def test_the_journal_knows_how_grave_each_line_is(service: Service):
    """An Auditor that goes is a warning, a wrong configuration an error; no line names a user."""
    url = service.auditor
    service.auditor.stop()
    service.log(1)
    eventually(lambda: "sending interrupted" in service.said())
    service.auditor = start_auditor(url.db, listen=f"127.0.0.1:{url.port}")
    service.await_all()
    service.auditor.stop()
    service.configure("senders: {}\n")
    assert service.node.tell("systemctl", "reload", UNIT).returncode != 0
    eventually(lambda: any("configuration refused" in line for line in service.logged(3)))
    graver = [line.split(";")[0] for line in service.logged(4)]  # systemd's own are among them
    ours = [line for line in graver if line.startswith(("sending", "configuration"))]
    assert ours == ["sending interrupted", "configuration refused"]
    assert "sending again" in service.said()
    assert not re.search("labalice|labbob", service.said())


def test_the_running_unit_is_as_closed_as_the_docs_say(service: Service):
    """`systemd-analyze security` of the node itself: 1.5 at most; its examples are accepted."""
    service.node.run("systemd-analyze", "security", "--threshold=15", UNIT)
    for example in sorted(service.node.root.glob("usr/share/doc/auditor-collector/examples/*")):
        service.drop_in(example.read_text().replace("[Service]", ""))
        said = service.node.tell("systemd-analyze", "verify", "--man=no", UNIT)
        assert (said.returncode, said.stderr) == (0, ""), (example.name, said.stderr)


def test_instances_run_side_by_side(service: Service, tmp_path: Path):
    """`auditor-collector@NAME` has a configuration, an outbox and a state of its own."""
    etc, instance = service.node.root / "etc/auditor-collector", "auditor-collector@other"
    with running_auditor(tmp_path / "other.db") as other:
        text = (etc / "config.yaml").read_text().replace(service.auditor.url, other.url)
        own = "path: /var/lib/auditor-collector/other/outbox.db, min_free_bytes: 0"
        (etc / "other.yaml").write_text(text.replace("min_free_bytes: 0", own))
        service.log(1)
        service.ctl("enable", "--now", instance)
        try:
            service.await_all()
            service.auditor = other
            service.await_all()
        finally:
            service.ctl("disable", "--now", instance)
    state = service.node.run("stat", "--format=%U %a", "/var/lib/auditor-collector/other")
    assert state == "auditor-collector 750\n"


def test_an_idle_service_is_small_and_sleeps(service: Service):
    """Under 45 MiB, and between polls and passes only the watchdog wakes it."""
    service.configure(config=re.sub(r"interval_s: [\d.]+", "interval_s: 86400", CONFIG))
    service.log(1)
    service.ctl("restart", UNIT)
    time.sleep(5)

    def switches() -> int:
        said = service.node.run("sh", "-c", f"cat /proc/{service.pid}/task/*/status")
        return sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", said)))

    before = switches()
    time.sleep(40)
    woken, resident_kb = switches() - before, int(service.process()["VmRSS"].split()[0])
    print(f"{resident_kb} kB resident, {woken} context switches in 40 s")
    assert resident_kb < 45 * 1024
    assert woken <= 6  # the main thread looks at the clock every 30 s


def test_an_upgrade_keeps_the_state_and_goes_on(service: Service):
    """Installing again restarts it, removal stops it; outbox and configuration stay."""
    node, before = service.node, service.pid
    package = next((node.root / "root").glob("*.deb"))
    outbox = node.root / "var/lib/auditor-collector/outbox.db"
    file = outbox.stat().st_ino
    service.log(1)
    node.run_alone("dpkg", "--install", f"/root/{package.name}")
    service.await_("ActiveState", lambda state: state == "active")
    assert service.pid not in (0, before)
    service.await_all()
    try:
        node.run_alone("apt-get", "remove", "--yes", "auditor-collector")
        assert node.tell("systemctl", "is-active", UNIT).stdout.strip() == "inactive"
        assert not node.tell("pgrep", "--full", "auditor-collector run").stdout
        assert outbox.stat().st_ino == file
        assert (node.root / "etc/auditor-collector/config.yaml").exists()
    finally:
        node.run_alone("apt-get", "install", "--yes", f"/root/{package.name}")
    service.ctl("start", UNIT)
    service.ctl("is-active", UNIT)


def test_a_node_that_loses_power_accounts_what_it_did_not(service: Service):
    """All is gone at once; after the boot the service runs without anybody's doing."""
    service.log(1)
    service.node.cut_off()
    service.node.switch_on()
    service.await_("ActiveState", lambda state: state == "active")
    service.await_all()
