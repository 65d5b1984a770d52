"""A small, real Slurm cluster on this machine: slurmctld, slurmd, slurmdbd, MariaDB and munge.

It needs root, and Debian's packages: either those of this machine, which it installs when they are
missing, or those of another release of Debian, which it fetches into a folder; its daemons and
commands then run with that folder as their root, each in a mount namespace of its own, so that
nothing stays mounted. The cluster lives in one folder, talks on loopback only, and uses neither
systemd nor the system's own Slurm, munge or MariaDB, and cgroups only when asked to. Jobs are run
as users that every Debian has. All daemons are children of this process and end with it.

Debian's suites and their Slurm: bullseye 20.11, bookworm 22.05, trixie 24.11, testing 26.05. With
`SLURM_TEST_SYSTEMS=/a/folder`, fetched systems are kept there, and used again.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from tests.operation.machine import folder_for_a_system, tell

PACKAGES = ("slurm-client", "slurmctld", "slurmd", "slurmdbd", "munge", "mariadb-server")
MYSQL_PLUGIN = "slurm-wlm-mysql-plugin"
MYSQL_PLUGIN_OF = {"bullseye": "slurm-wlm-basic-plugins"}
"""Debian's package with slurmdbd's plugin for MariaDB, where it has another name."""
COMMANDS = ("sacct", "sbatch", "slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")
USERS = {"daemon": "physics", "games": "atlas", "mail": "biology"}
"""Unix user → account."""
NODES = ("node1", "node2", "spare")
KEPT_SYSTEMS = "SLURM_TEST_SYSTEMS"
"""Variable: a folder where fetched systems are kept, each under the name of its suite."""
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_START_LIMIT_S = 60
_STOP_LIMIT_S = 15
Found = TypeVar("Found")

_MOUNT = """\
mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" &&
mkdir -p "$1$2" && mount --bind "$2" "$1$2" && shift 2 && exec "$@"
"""
"""What a system in a folder needs of this one: also the cluster's folder, at the same place."""

SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={accounting}/munge/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool/%n
JobAcctGatherFrequency=task=1
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=64
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
PreemptType=preempt/qos
PreemptMode=REQUEUE
KillWait=2
RequeueExit=77
OverTimeLimit=0
CompleteWait=0
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={accounting}/munge/socket
AccountingStorageTRES=gres/gpu
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
GresTypes=gpu
EpilogSlurmctld={folder}/epilog
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports[0]} Gres=gpu:4 \\
  CPUs=64 RealMemory=65536
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports[1]} \\
  CPUs=64 RealMemory=65536
NodeName=spare NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports[2]} \\
  CPUs=64 RealMemory=65536
PartitionName=batch Nodes=node1,node2 Default=YES MaxTime=UNLIMITED DefaultTime=10 State=UP
PartitionName=spare Nodes=spare MaxTime=UNLIMITED DefaultTime=10 State=UP
"""

WITHOUT_CGROUPS = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
"""

WITH_CGROUPS = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup
"""

SLURMDBD_CONF = """\
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoInAddrAny
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""


class UnavailableError(Exception):
    """Raised where no cluster can be brought up; says why."""


def require_packages() -> None:
    """Installs what is missing.

    Raises:
        UnavailableError: when it is missing and cannot be installed.
    """
    if os.geteuid() != 0:
        raise UnavailableError("needs root: Slurm's daemons run jobs as other users")
    if all(shutil.which(command, path=_PATH) for command in COMMANDS):
        return
    if shutil.which("apt-get") is None:
        raise UnavailableError("Slurm is not installed, and there is no apt-get to install it")
    guard = Path("/usr/sbin/policy-rc.d")
    guarded = guard.exists()
    if not guarded:  # keeps apt from starting the packaged daemons
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    try:
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
        install += [*PACKAGES, MYSQL_PLUGIN]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            install, env=environment, check=False, capture_output=True, text=True, timeout=600
        )
    finally:
        if not guarded:
            guard.unlink()
    if done.returncode:
        raise UnavailableError(f"Slurm cannot be installed: {done.stderr.strip()[-300:]}")


@contextlib.contextmanager
def _system(suite: str) -> Iterator[Path]:
    """Another release of Debian with Slurm, in a folder; gone at the end, unless it is kept.

    Raises:
        UnavailableError: when it cannot be had.
    """
    if os.geteuid() != 0:
        raise UnavailableError("needs root: debootstrap makes devices and users")
    if shutil.which("debootstrap", path=_PATH) is None:
        raise UnavailableError("debootstrap is not installed")
    if kept := os.environ.get(KEPT_SYSTEMS):
        root = Path(kept) / suite
        if not (root / "usr" / "sbin" / "slurmctld").exists():
            _fetch(suite, root)
        yield root
        return
    with folder_for_a_system() as root:
        _fetch(suite, root)
        yield root


def _fetch(suite: str, root: Path) -> None:
    """Fetches a release of Debian with Slurm into a folder.

    Raises:
        UnavailableError: when it cannot be had.
    """
    packages = (*PACKAGES, MYSQL_PLUGIN_OF.get(suite, MYSQL_PLUGIN))
    include = f"--include={','.join(packages)}"
    said = tell("debootstrap", "--variant=minbase", include, suite, root)
    if said.returncode:
        raise UnavailableError(f"no Debian {suite}: {(said.stdout + said.stderr)[-300:]}")
    shutil.copy("/etc/hosts", root / "etc")


def eventually(look: Callable[[], Found], limit_s: float, what: str) -> Found:
    """Waits until something is found.

    Raises:
        AssertionError: when it is not, in time.
    """
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        time.sleep(0.2)
    return found


class Cluster:
    """A running cluster; made by `running_cluster`."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        *,
        name: str = "lab",
        accounting: "Cluster | None" = None,
        private: bool = False,
        cgroups: bool = False,
    ) -> None:
        self.folder, self.root, self.name = folder, root, name
        self.conf = folder / "etc" / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._accounting = accounting or self
        """The cluster whose munge, MariaDB and slurmdbd this one uses."""
        self._private, self._cgroups = private, cgroups

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need, ours included."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        return {**kept, "SLURM_CONF": str(self.conf), "TZ": "UTC", "PATH": _PATH}

    def _entered(self, user: str | None = None) -> tuple[str, ...]:
        """What a command begins with, to be run in the cluster's system as one of its users."""
        chroot = ("chroot", *([f"--userspec={user}"] if user else []), str(self.root))
        if self.root == Path("/"):
            return chroot
        mount = ("unshare", "--mount", "sh", "-c", _MOUNT, "sh")
        return (*mount, str(self.root), str(self._accounting.folder), *chroot)

    @property
    def sacct(self) -> str:
        """A program that is the cluster's `sacct`, wherever it is called."""
        path = self.folder / "sacct"
        if not path.exists():
            command = shlex.join((*self._entered(), "sacct"))
            path.write_text(f'#!/bin/sh\nSLURM_CONF={self.conf} exec {command} "$@"\n')
            path.chmod(0o755)
        return str(path)

    def sacct_of(self, user: str) -> str:
        """A program that is the cluster's `sacct`, called by one of its users."""
        path = self.folder / f"sacct-{user}"
        command = shlex.join((*self._entered(user), "sacct"))
        path.write_text(f'#!/bin/sh\nSLURM_CONF={self.conf} exec {command} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def run(
        self, *command: str | bytes, user: str | None = None, check: bool = True, **more: str
    ) -> str:
        """Runs a command and gives what it prints."""
        given: Mapping[str, str] = {**self.environment, **more}
        done = subprocess.run(
            [*self._entered(user), *command],
            env=given,
            check=False,
            capture_output=True,
            timeout=60,
        )
        output = done.stdout.decode(errors="replace")
        assert not check or done.returncode == 0, f"{command!r}: {done.stderr!r}"
        return output.strip()

    def sql(self, statements: str) -> str:
        """Runs SQL in slurmdbd's database."""
        return self.run("mariadb", *self._sql_options, "-N", "-e", statements)

    @property
    def _sql_options(self) -> tuple[str, ...]:
        return ("--no-defaults", f"--socket={self._accounting.folder}/mysql/socket", "-u", "root")

    def start(self, name: str) -> None:
        """Starts one of `munged`, `mariadbd`, `slurmdbd`, `slurmctld` and the nodes, and waits."""
        folder, conf = self.folder, str(self.conf)
        command, answers = {
            "munged": (
                [
                    *("munged", "--foreground", f"--socket={folder}/munge/socket"),
                    *(f"--key-file={folder}/munge/key", f"--pid-file={folder}/munge/pid"),
                    *(f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed"),
                ],
                ["munge", "-n", "-S", f"{folder}/munge/socket"],
            ),
            "mariadbd": (
                [
                    *("mariadbd", "--no-defaults", f"--datadir={folder}/mysql/data"),
                    *(f"--socket={folder}/mysql/socket", f"--port={self.ports[0]}"),
                    *("--bind-address=127.0.0.1", "--skip-name-resolve"),
                    *("--innodb-buffer-pool-size=128M", "--innodb-lock-wait-timeout=900"),
                ],
                ["mariadb-admin", *self._sql_options, "ping"],
            ),
            "slurmdbd": (["slurmdbd", "-D"], ["sacctmgr", "-n", "list", "cluster"]),
            "slurmctld": (["slurmctld", "-D", "-f", conf], ["scontrol", "ping"]),
        }.get(name, (["slurmd", "-D", "-N", name, "-f", conf], ["true"]))
        user = {"munged": "munge", "mariadbd": "mysql"}.get(name)
        with (folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [*self._entered(user), *command],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(lambda: self._answers(answers), _START_LIMIT_S, name)

    def _answers(self, command: list[str]) -> bool:
        done = subprocess.run(
            [*self._entered(), *command],
            env=self.environment,
            check=False,
            capture_output=True,
            timeout=60,
        )
        return done.returncode == 0

    def stop(self, name: str) -> None:
        """Ends one of the daemons, as its administrator would."""
        process = self._daemons.pop(name)
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop_all(self) -> None:
        """Ends all daemons, and what jobs left behind."""
        for name in reversed(list(self._daemons)):
            self.stop(name)
        mine = f"SLURM_CONF={self.conf}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mine in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
        if self._cgroups:
            self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        """Removes what slurmd leaves in the kernel's tree, if no process is in it any more."""
        for tree in Path("/sys/fs/cgroup").glob("*/slurm_*"):
            for folder, _, _ in os.walk(tree, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()

    def configure(self) -> None:
        """Writes the configuration, and brings everything up."""
        folder = self.folder
        for name, user in (
            ("etc", "root"),
            ("run", "slurm"),
            ("state", "slurm"),
            ("munge", "munge"),
            ("mysql", "mysql"),
            *((f"spool/{node}", "root") for node in NODES),
        ):
            (folder / name).mkdir(parents=True)
            self._give(folder / name, user)
        for name in ("spool", *(f"spool/{node}" for node in NODES)):
            (folder / name).chmod(0o755)
        self.ports = free_ports(3 + len(NODES))
        values = {
            "name": self.name,
            "folder": str(folder),
            "accounting": str(self._accounting.folder),
            "host": socket.gethostname().partition(".")[0],
            "sql_port": self.ports[0],
            "dbd_port": self._accounting.ports[1],
            "ctld_port": self.ports[2],
            "node_ports": self.ports[3:],
            "password": secrets.token_hex(16),
        }
        self.conf.write_text(
            SLURM_CONF.format(**values)
            + (WITH_CGROUPS if self._cgroups else WITHOUT_CGROUPS)
            + self._comments_are_stored()
        )
        for number in range(4):
            (folder / f"gpu{number}").touch()
        gres = f"NodeName=node1 Name=gpu File={folder}/gpu[0-3]\n"
        self.conf.with_name("gres.conf").write_text(gres)
        self.conf.with_name("cgroup.conf").write_text(self._cgroup_conf())
        (folder / "jobcomp.log").touch()
        self._give(folder / "jobcomp.log", "slurm")
        self.write_epilog("exit 0")
        if self._accounting is self:
            self._configure_accounting(values)
        self.populate()
        for name in ("slurmctld", *NODES):
            self.start(name)
        eventually(self._nodes_idle, _START_LIMIT_S, "the nodes")

    def _configure_accounting(self, values: Mapping[str, object]) -> None:
        """Brings up munge, MariaDB and slurmdbd."""
        folder = self.folder
        dbd_conf = self.conf.with_name("slurmdbd.conf")
        dbd_conf.touch(0o600)
        private = "PrivateData=jobs,users,accounts,usage\n" if self._private else ""
        dbd_conf.write_text(SLURMDBD_CONF.format(**values) + private)
        self._give(dbd_conf, "slurm")
        key = folder / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._give(key, "munge")
        self.run(
            *("mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db"),
            *(f"--datadir={folder}/mysql/data", "--auth-root-authentication-method=socket"),
            "--auth-root-socket-user=root",
        )
        self.start("munged")
        self.start("mariadbd")
        self.sql(
            "CREATE DATABASE slurm_acct_db;"
            f"CREATE USER slurm@'127.0.0.1' IDENTIFIED BY '{values['password']}';"
            "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'"
        )
        self.start("slurmdbd")

    def _comments_are_stored(self) -> str:
        """The line of slurm.conf that makes slurmdbd keep the comments of jobs."""
        if self.version < (21, 8):
            return "AccountingStoreJobComment=YES\n"
        return "AccountingStoreFlags=job_comment\n"

    def _cgroup_conf(self) -> str:
        """What keeps slurmd from cgroups; without it newer ones need a cgroup of their own."""
        if self._cgroups:
            return "CgroupAutomount=yes\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"
        if self.version < (21, 8):
            return ""
        return f"CgroupPlugin={'autodetect' if self.version < (23, 11) else 'disabled'}\n"

    @property
    def version(self) -> tuple[int, ...]:
        """The release of Slurm."""
        return tuple(map(int, self.run("slurmctld", "-V").split()[-1].split(".")))

    def _give(self, path: Path, user: str) -> None:
        """Makes a file one of the users' of the cluster's system."""
        self.run("chown", f"{user}:{user}", str(path))

    def write_epilog(self, script: str) -> None:
        """Sets what slurmctld runs when a job has ended."""
        epilog = self.folder / "epilog"
        epilog.write_text(f"#!/bin/sh\n{script}\n")
        epilog.chmod(0o755)

    def populate(self) -> None:
        """Makes the cluster, accounts, users and QOS known to slurmdbd."""
        add = ("sacctmgr", "-i", "add")
        cluster = f"cluster={self.name}"
        self.run(*add, "cluster", self.name)
        if self._accounting is self:
            self.run(*add, "qos", "high", "priority=1000")
            self.run(*add, "qos", "low", "preemptmode=requeue")
            self.run("sacctmgr", "-i", "modify", "qos", "high", "set", "preempt=low")
        for user, account in USERS.items():
            self.run(*add, "account", account, cluster)
            self.run(*add, "user", user, f"account={account}", cluster, "qos=high,low,normal")

    def _nodes_idle(self) -> bool:
        states = self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split()
        return states == ["idle"] * len(NODES)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running_cluster(
    suite: str | None = None, *, private: bool = False, cgroups: bool = False
) -> Iterator[Cluster]:
    """A cluster of its own, gone at the end.

    Args:
        suite: the release of Debian whose Slurm it is; None: this machine's.
        private: whether slurmdbd shows users their own jobs only (`PrivateData`).
        cgroups: whether jobs run in cgroups, as on most sites.

    Raises:
        UnavailableError: when there cannot be one here.
    """
    with contextlib.ExitStack() as stack:
        root = Path("/")
        if suite is None:
            require_packages()
        else:
            root = stack.enter_context(_system(suite))
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = Cluster(folder, root, private=private, cgroups=cgroups)
        stack.callback(cluster.stop_all)
        cluster.configure()
        yield cluster


@contextlib.contextmanager
def cluster_beside(first: Cluster, name: str = "far") -> Iterator[Cluster]:
    """A second cluster of the same slurmdbd, in a federation with the first, gone at the end.

    Their commands show the jobs of both (`fed_display`), unless asked for one.
    """
    second = Cluster(first.folder / name, first.root, name=name, accounting=first)
    try:
        second.configure()
        first.run(*("sacctmgr", "-i", "add", "federation", "both"), f"clusters={first.name},{name}")
        for cluster in (first, second):
            with cluster.conf.open("a") as conf:
                conf.write("FederationParameters=fed_display\n")
            cluster.run("scontrol", "reconfigure")
        yield second
    finally:
        second.stop_all()
