"""A small, real HTCondor pool: master, collector, negotiator, startd and one schedd or two.

Its daemons live in mount, PID and UTS namespaces of their own, chrooted to an overlay above a
release of Debian, and talk on loopback only. Ending the first process of the namespace ends them
all, and nothing stays mounted. The folders that a collector beside the schedd reads (SPOOL), and
those that jobs write to (LAB), are plain folders of this machine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.htcondor.pool_root import UnavailableError, condor_root
from tests.slurm.cluster import free_ports

__all__ = ["LAB", "USERS", "Pool", "UnavailableError", "eventually", "running_pool"]

USERS = ("alice", "bob", "carol")
HOST = "ap1.lab.example"
LAB = Path("/lab")
"""Where jobs find their programs, and write to, as they see it."""
COMMANDS = ("condor_history", "condor_q", "condor_config_val", "condor_status")
"""HTCondor's commands that programs outside of the pool may call, see `Pool.commands`."""
CPUS = 24
_START_LIMIT_S = 180
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
Found = TypeVar("Found")

CONFIG = """\
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
USE_SHARED_PORT = True
SHARED_PORT_PORT = {port}
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NO_DNS = True
DEFAULT_DOMAIN_NAME = lab.example
NETWORK_HOSTNAME = {host}
FULL_HOSTNAME = {host}
UID_DOMAIN = lab.example
FILESYSTEM_DOMAIN = lab.example
TRUST_UID_DOMAIN = True
SOFT_UID_DOMAIN = True
SEC_DEFAULT_AUTHENTICATION = OPTIONAL
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_CLIENT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_DEFAULT_ENCRYPTION = OPTIONAL
SEC_DEFAULT_INTEGRITY = OPTIONAL
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
ALLOW_CLIENT = *
ALLOW_ADVERTISE_MASTER = *
ALLOW_ADVERTISE_SCHEDD = *
ALLOW_ADVERTISE_STARTD = *
QUEUE_SUPER_USERS = root, condor
# soon
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
SCHEDD_INTERVAL_TIMESLICE = 1
UPDATE_INTERVAL = 5
COLLECTOR_UPDATE_INTERVAL = 10
MASTER_BACKOFF_CONSTANT = 1
MASTER_BACKOFF_CEILING = 3
PERIODIC_EXPR_INTERVAL = 2
PERIODIC_EXPR_TIMESLICE = 1
SHADOW_QUEUE_UPDATE_INTERVAL = 5
STARTER_UPDATE_INTERVAL = 3
STARTER_INITIAL_UPDATE_INTERVAL = 2
JOB_START_COUNT = 3
JOB_START_DELAY = 1
JOB_STOP_DELAY = 0
SHADOW_WORKLIFE = 0
KILLING_TIMEOUT = 4
MachineMaxVacateTime = 4
NEGOTIATOR_CONSIDER_PREEMPTION = True
PREEMPTION_REQUIREMENTS = False
# the machine
NUM_CPUS = {cpus}
MEMORY = 16384
DISK = 50000000
MACHINE_RESOURCE_GPUs = CUDA0, CUDA1
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%, GPUs=100%
SLOT_TYPE_1_PARTITIONABLE = True
START = True
SUSPEND = False
PREEMPT = False
KILL = False
RANK = TARGET.LabPreferred =?= True
DedicatedScheduler = "DedicatedScheduler@{host}"
STARTD_ATTRS = $(STARTD_ATTRS) DedicatedScheduler
# the accounting
HISTORY = $(SPOOL)/history
MAX_HISTORY_LOG = 200000
MAX_HISTORY_ROTATIONS = 30
JOB_EPOCH_HISTORY = $(SPOOL)/epoch_history
MAX_EPOCH_HISTORY_LOG = 300000
MAX_EPOCH_HISTORY_ROTATIONS = 30
PER_JOB_HISTORY_DIR = $(SPOOL)/per_job_history
CREDMON_OAUTH =
MAX_SCHEDD_LOG = 50000000
"""
_SECOND_SCHEDD = """\
DAEMON_LIST = $(DAEMON_LIST) SCHEDD_2
DC_DAEMON_LIST = + SCHEDD_2
SCHEDD_2 = $(SCHEDD)
SCHEDD_2_ARGS = -f -local-name SCHEDD_2 -n {name}
SCHEDD_2_ENVIRONMENT = "{settings}"
"""
_SPOOL_2 = "/var/spool/condor-ap2"
_OF_SECOND_SCHEDD = {
    "SPOOL": _SPOOL_2,
    "HISTORY": f"{_SPOOL_2}/history",
    "JOB_EPOCH_HISTORY": f"{_SPOOL_2}/epoch_history",
    "PER_JOB_HISTORY_DIR": f"{_SPOOL_2}/per_job_history",
    "JOB_QUEUE_LOG": f"{_SPOOL_2}/job_queue.log",
    "SCHEDD_LOG": "/var/log/condor/ScheddLog.2",
    "SCHEDD_ADDRESS_FILE": f"{_SPOOL_2}/.schedd_address",
    "SCHEDD_SUPER_ADDRESS_FILE": f"{_SPOOL_2}/.schedd_address.super",
    "SCHEDD_DAEMON_AD_FILE": f"{_SPOOL_2}/.schedd_classad",
}
"""By its environment: HTCondor 25 does not look most of these up under its local name."""
_FIRST_PROCESS = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mkdir -p lab var/spool/condor var/spool/condor-ap2
mount --bind "$2/lab" lab
mount --bind "$2/spool" var/spool/condor
mount --bind "$2/spool2" var/spool/condor-ap2
mount --bind "$2/log" var/log/condor
hostname "$3"
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""
"""Reaps what is orphaned in the namespace, and lives as long as the pool.

The overlay is a mount point, which the starter needs of its "/". The first process stays outside
of the chroot: daemons are started into it by `Pool.start`.
"""
_IN_FOLDER = 'cd "$1" && shift && exec "$@"'


def eventually(look: Callable[[], Found], limit_s: float, what: str, pause_s: float = 0.5) -> Found:
    """Waits until something is found.

    Raises:
        AssertionError: when it is not, in time.
    """
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        time.sleep(pause_s)
    return found


@dataclass
class Schedd:
    """One of the pool's schedds."""

    name: str
    """As condor_status names it."""
    spool: Path
    """Where this machine finds its SPOOL."""


class Pool:
    """A running pool; made by `running_pool`."""

    def __init__(self, suite: str, folder: Path, settings: str, schedds: int) -> None:
        """Prepares.

        Args:
            suite: the release of Debian whose HTCondor it is.
            folder: an empty folder for it.
            settings: further lines of configuration.
            schedds: how many, 1 or 2.
        """
        self._base, self.folder = condor_root(suite), folder
        self.lab, self.log, self.root = folder / "lab", folder / "log", folder / "root"
        self.schedds = [Schedd(HOST, folder / "spool")]
        port = free_ports(1)[0]
        self.address = f"127.0.0.1:{port}"
        config = CONFIG.format(port=port, host=HOST, cpus=CPUS)
        if schedds > 1:
            self.schedds.append(Schedd(f"ap2@{HOST}", folder / "spool2"))
            pairs = (f"_CONDOR_{name}={value}" for name, value in _OF_SECOND_SCHEDD.items())
            name = self.schedds[1].name
            config += _SECOND_SCHEDD.format(name=name, settings=" ".join(pairs))
        self._config = config + settings
        self._namespace: subprocess.Popen[bytes] | None = None
        self._init = 0

    # --- its life

    def start(self) -> None:
        """Brings the pool up, and waits until it takes jobs."""
        for name in ("upper", "work", "root", "lab", "spool", "spool2", "log"):
            (self.folder / name).mkdir()
        arguments = ["sh", str(self._base), str(self.folder), HOST]
        alone = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
        with (self.folder / "namespace.log").open("ab") as log:
            self._namespace = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *alone, "sh", "-c", _FIRST_PROCESS, *arguments],
                env={**_ENVIRONMENT, "PATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pid = self._namespace.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        self._init = int(eventually(lambda: children.read_text().split(), 10, "the namespace")[0])
        try:
            eventually(lambda: self._output("test", "-d", "/lab/..").returncode == 0, 10, "mounts")
        except AssertionError:
            said = (self.folder / "namespace.log").read_text()
            raise UnavailableError(f"no namespace or no overlay here: {said[-300:]}") from None
        self._configure()
        self.run("sh", "-c", "condor_master -f >>/var/log/condor/master.out 2>&1 &")
        try:
            eventually(self._is_up, _START_LIMIT_S, "the pool", 1)
        except AssertionError as error:
            said = (self.log / "MasterLog").read_text(errors="replace")[-2000:]
            raise AssertionError(f"{error}: {said}") from None

    def _configure(self) -> None:
        for user in USERS:
            self.run("sh", "-c", f"id {user} >/dev/null 2>&1 || useradd -m -s /bin/sh {user}")
        hosts = f"127.0.0.1 localhost\n127.0.0.1 {HOST} ap1\n"
        self.write("/etc/hosts", hosts)
        self.write("/etc/condor/config.d/99-pool.config", self._config)
        made = (
            "/run/condor /var/spool/condor /var/spool/condor-ap2 /var/log/condor /var/lock/condor"
        )
        made += " $(condor_config_val EXECUTE)"
        made += " /var/spool/condor/per_job_history /var/spool/condor-ap2/per_job_history"
        self.run("sh", "-c", f"mkdir -p {made}; chown condor:condor {made}; chmod 755 {made}")
        self.lab.chmod(0o1777)

    def _is_up(self) -> bool:
        slots = self.run("condor_status", "-af", "Name", check=False)
        schedds = self.run("condor_status", "-schedd", "-af", "Name", check=False).split()
        return "slot1" in slots and {one.name for one in self.schedds} <= set(schedds)

    def stop(self) -> None:
        """Ends every process of it at once."""
        if self._namespace is not None:
            self._namespace.kill()
            self._namespace.wait()

    # --- what is done in it

    def _output(
        self, *command: str, user: str | None = None, folder: str = "/", timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        home = f"/home/{user}" if user else "/root"
        return subprocess.run(
            [*self._entered(user), "sh", "-c", _IN_FOLDER, "sh", folder, *command],
            env={**_ENVIRONMENT, "HOME": home, "USER": user or "root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )

    def _entered(self, user: str | None = None) -> list[str]:
        """What a command begins with, to be run in the pool."""
        as_user = [f"--userspec={user}:{user}"] if user else []
        spaces = ["nsenter", "-t", str(self._init), "-m", "-p", "-u"]
        return [*spaces, "chroot", *as_user, str(self.root)]

    def run(
        self, *command: str, user: str | None = None, check: bool = True, folder: str | None = None
    ) -> str:
        """Runs a command in the pool and gives what it prints.

        Args:
            command: program and arguments.
            user: who runs it; None: root.
            check: whether it has to succeed; what it says on stderr is given, too, if it does not.
            folder: where; None: the user's home.
        """
        folder = folder or (f"/home/{user}" if user else "/")
        done = self._output(*command, user=user, folder=folder)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of the pool's system."""
        done = subprocess.run(
            [*self._entered(), "sh", "-c", f'cat >"$1" && chmod {mode:o} "$1"', "sh", path],
            env=_ENVIRONMENT,
            input=text.encode(errors="surrogateescape"),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def configure(self, name: str, settings: str) -> None:
        """Sets further lines of configuration while it runs.

        Args:
            name: of their file; the same name replaces them.
            settings: empty: none.
        """
        self.write(f"/etc/condor/config.d/99-{name}.config", settings)
        self.run("condor_reconfig", "-all", check=False)
        self.run("condor_reconfig", check=False)
        time.sleep(3)

    def commands(self) -> Path:
        """A folder with programs that are the pool's own, for programs outside of it."""
        folder = self.folder / "bin"
        if not folder.exists():
            folder.mkdir()
            for name in COMMANDS:
                path = folder / name
                entered = " ".join(self._entered())
                path.write_text(f'#!/bin/sh\nPATH={_PATH}\nexec {entered} {name} "$@"\n')
                path.chmod(0o755)
        return folder

    @property
    def version(self) -> tuple[int, ...]:
        """The release of HTCondor."""
        return tuple(map(int, self.run("condor_version").split()[1].split(".")))

    def pids(self, name: str, argument: str = "") -> list[int]:
        """Pids, as this machine counts, of the pool's processes of a name; the oldest first.

        Args:
            name: as `condor_schedd`.
            argument: what one of its arguments has to begin with.
        """
        space, found = (Path(f"/proc/{self._init}/ns/pid").readlink()), []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "ns/pid").readlink() != space:
                    continue
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if (entry / "comm").read_text().strip() == name[:15] and any(
                    word.startswith(argument.encode()) for word in words
                ):
                    found.append(int(entry.name))
        return sorted(found)

    def kill(self, name: str, argument: str = "") -> None:
        """Kills the oldest process of a name; waits for there to be one."""
        found = eventually(lambda: self.pids(name, argument), 60, f"{name} {argument}")
        os.kill(found[0], signal.SIGKILL)

    def until_empty(self, limit_s: float) -> None:
        """Waits until no queue holds a job."""
        eventually(lambda: not any(map(self.queue, self.schedds)), limit_s, "empty queues", 1)

    def queue(self, schedd: Schedd) -> list[str]:
        """The jobs of a schedd's queue: "cluster.proc status", or the error in one line."""
        query = ("condor_q", "-name", schedd.name, "-allusers", "-af", "ClusterId", "JobStatus")
        return self.run(*query, check=False).splitlines()


@contextlib.contextmanager
def running_pool(suite: str, settings: str = "", schedds: int = 1) -> Iterator[Pool]:
    """A pool of its own, gone at the end.

    Args:
        suite: the release of Debian whose HTCondor it is.
        settings: further lines of configuration.
        schedds: how many, 1 or 2.

    Raises:
        UnavailableError: when there cannot be one here.
    """
    folder = Path(tempfile.mkdtemp(prefix="condor-"))
    folder.chmod(0o755)
    try:
        pool = Pool(suite, folder, settings, schedds)
        try:
            pool.start()
            yield pool
        finally:
            pool.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
