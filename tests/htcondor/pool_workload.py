"""Jobs of every kind for a real pool, and what is done to them while they are there."""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.htcondor.pool import Pool, Schedd
from tests.htcondor.pool_witness import JOB

COMMON = """\
transfer_executable = false
request_memory = 64
request_disk = 1024
"""
IN_PLACE = "should_transfer_files = NO"
TRANSFERRED = "should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT"
GROUPS = {"atlas": "group_atlas.prod", "cms": "group_cms"}
FOREVER_S = 300
_STATES = {
    "1": "idle",
    "2": "running",
    "3": "removed",
    "4": "completed",
    "5": "held",
    "6": "running",
    "7": "suspended",
}


@dataclass(frozen=True)
class Action:
    """What is done to a cluster, some seconds after it was first seen in a state."""

    state: str
    after_s: float
    command: tuple[str, ...]
    """`{c}` is the cluster."""


@dataclass(frozen=True)
class Kind:
    """A kind of job, submitted once."""

    name: str
    user: str = "alice"
    seconds: int = 3
    """How long it wants to run."""
    end: str = "0"
    """Its exit status, or the signal that it sends itself."""
    burners: int = 0
    """Processes of it that use CPU."""
    count: int = 1
    group: str = ""
    cores: int = 1
    submit: str = ""
    """Further lines of the submit file."""
    actions: tuple[Action, ...] = ()
    program: str = "/lab/job"
    arguments: tuple[str, ...] = ()
    """Further ones, before those of the program `JOB`."""
    transfer: str = IN_PLACE
    universe: str = "vanilla"
    executes: bool = True
    """False: a slot is taken, but the program cannot be started there."""
    nodes: int = 1
    hostile: bool = False
    """Whether its owner edits its ad."""
    exact_total: bool = True
    """False: HTCondor's RemoteWallClockTime of the job is not the sum of its runs."""
    exact_ends: bool = True
    """False: its slot may be held for seconds after its end, until a schedd is there to hear it."""
    attempts: bool = False
    """Whether a shadow may have begun runs of no length beside those that the job saw."""
    lost_runs: tuple[int, ...] = ()
    """Those of its runs (0: the first, -1: the last) whose shadow is killed, and writes no ad."""


def when(state: str, after_s: float, *command: str) -> Action:
    return Action(state, after_s, command)


def remove(state: str, after_s: float, *options: str) -> Action:
    return Action(state, after_s, ("condor_rm", *options, "{c}"))


def ordinary() -> list[Kind]:
    """Jobs that end by themselves, by their owner or by a policy, in a pool that works."""
    hold = when("running", 4, "condor_hold", "{c}")
    release = when("held", 9, "condor_release", "{c}")
    removed_held = remove("held", 4)
    started = "(JobStatus == 2) && (time() - EnteredCurrentStatus > 4)"
    return [
        Kind("completed", count=4, group="atlas"),
        Kind("completed_cms", "bob", count=3, group="cms"),
        Kind("completed_no_group", "carol", count=3),
        Kind("failed", end="3"),
        Kind("failed_255", "bob", end="255"),
        *(Kind(f"signal_{name}", "bob", end=name) for name in ("KILL", "SEGV")),
        Kind("burn", "bob", 4, burners=1, group="cms", count=2),
        Kind("burn_multicore", "alice", 4, burners=2, cores=4, group="atlas"),
        Kind("multicore", "carol", 5, cores=4, count=2),
        Kind("gpu", "bob", submit="request_gpus = 1", count=2),
        Kind("removed_idle", submit="requirements = false", actions=(remove("idle", 3),)),
        Kind("removed_running", "bob", FOREVER_S, actions=(remove("running", 5),), count=2),
        Kind("held_by_owner", "carol", 10, actions=(hold, release), count=2),
        Kind("held_then_removed", "bob", FOREVER_S, actions=(hold, remove("held", 8))),
        Kind("held_never_ran", submit="hold = true", actions=(removed_held,)),
        Kind(
            "periodic_hold",
            "carol",
            10,
            submit=f"periodic_hold = {started} && (NumJobStarts < 2)\n"
            "periodic_release = (time() - EnteredCurrentStatus > 8) && (HoldReasonCode == 3)",
        ),
        Kind("periodic_remove", seconds=FOREVER_S, submit=f"periodic_remove = {started}"),
        Kind("retried", "bob", 7, end="7", submit="max_retries = 2"),
        Kind(
            "held_on_exit", end="9", submit="on_exit_hold = ExitCode == 9", actions=(removed_held,)
        ),
        Kind(
            "vacated",
            "bob",
            12,
            actions=(when("running", 5, "condor_vacate_job", "{c}"),),
            group="cms",
        ),
        Kind(
            "vacated_fast",
            "carol",
            10,
            actions=(when("running", 5, "condor_vacate_job", "-fast", "{c}"),),
        ),
        Kind(
            "suspended",
            "carol",
            10,
            actions=(
                when("running", 3, "condor_suspend", "{c}"),
                when("suspended", 10, "condor_continue", "{c}"),
            ),
        ),
        Kind(
            "suspended_then_removed",
            "alice",
            FOREVER_S,
            actions=(when("running", 3, "condor_suspend", "{c}"), remove("suspended", 6)),
        ),
        Kind("late", "carol", 2, submit="max_idle = 2", count=6),
        Kind("leave_in_queue", "bob", submit="leave_in_queue = time() - CompletionDate < 20"),
        Kind(
            "leave_then_removed",
            "bob",
            submit="leave_in_queue = true",
            actions=(remove("completed", 10), remove("removed", 2, "-forcex")),
        ),
        Kind("noop", "carol", submit="noop_job = true"),
        # These do not heed the signal of the removal: the slot is theirs until they are killed.
        Kind(
            "removed_slowly",
            "bob",
            FOREVER_S,
            submit="remove_kill_sig = SIGWINCH",
            actions=(remove("running", 5),),
        ),
        Kind(
            "forced_while_running",
            "alice",
            FOREVER_S,
            submit="remove_kill_sig = SIGWINCH",
            actions=(remove("running", 5), remove("removed", 1, "-forcex")),
            lost_runs=(-1,),
        ),
        # Stays in the queue after its removal, and is forced out of it much later.
        Kind(
            "removed_then_forced",
            "carol",
            FOREVER_S,
            submit="leave_in_queue = true",
            actions=(remove("running", 5), remove("removed", 12, "-forcex")),
        ),
        Kind(
            "allowed_duration",
            seconds=FOREVER_S,
            submit="allowed_job_duration = 4",
            actions=(removed_held,),
        ),
        Kind(
            "checkpointing",
            "bob",
            3,
            program="/lab/checkpointing",
            submit="checkpoint_exit_code = 85",
            transfer=TRANSFERRED,
        ),
        Kind(
            "transferred", "bob", submit="transfer_input_files = /etc/hosts", transfer=TRANSFERRED
        ),
        Kind(
            "no_input",
            "bob",
            submit="transfer_input_files = /nonexistent/file",
            transfer=TRANSFERRED,
            actions=(removed_held,),
            executes=False,
        ),
        Kind("no_program", program="/nonexistent/program", actions=(removed_held,), executes=False),
        Kind("local", "carol", 4, universe="local"),
        Kind("scheduler", "carol", 4, universe="scheduler"),
        Kind("parallel", "alice", 5, universe="parallel", nodes=2),
    ]


def label_of(schedd: Schedd) -> str:
    """What the witness calls a schedd: `ap2` of `ap2@ap1.lab.example`."""
    return schedd.name.partition("@")[0].partition(".")[0]


@dataclass
class Submitted:
    """A cluster that was submitted."""

    kind: Kind
    schedd: Schedd
    cluster: str
    pending: list[Action]
    seen: dict[str, float] = field(default_factory=dict)
    """State → when it was first seen."""
    is_over: bool = False
    """Whether it was in the queue once, and is not any more."""


class Workload:
    """Submits jobs, and does to them what their kinds say."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.jobs = pool, list[Submitted]()
        self.log: list[str] = []
        (pool.lab / "witness").mkdir(exist_ok=True)
        (pool.lab / "witness").chmod(0o1777)
        pool.write("/lab/job", JOB, 0o755)
        pool.write("/lab/checkpointing", CHECKPOINTING, 0o755)

    def submit(self, kind: Kind, schedd: Schedd | None = None) -> Submitted:
        """Submits the jobs of a kind."""
        schedd = schedd or self.pool.schedds[0]
        path = f"/home/{kind.user}/{kind.name.replace(' ', '_')}.sub"
        self.pool.write(path, self.submit_text(kind, label_of(schedd)))
        said = self.pool.run("condor_submit", "-name", schedd.name, "-terse", path, user=kind.user)
        job = Submitted(kind, schedd, said.split(".")[0].split()[-1], list(kind.actions))
        self.jobs.append(job)
        self._note(job, "submitted")
        return job

    def submit_text(self, kind: Kind, label: str) -> str:
        """The submit file of a kind.

        Args:
            kind: of job.
            label: what the witness calls the schedd.
        """
        words = [label, "$(Cluster).$(Process)", str(kind.seconds), kind.end, str(kind.burners)]
        lines = [
            f"universe = {kind.universe}",
            f"executable = {kind.program}",
            f"arguments = {' '.join([*kind.arguments, *words])}",
            COMMON + kind.transfer,
            f"request_cpus = {kind.cores}",
            *([f"machine_count = {kind.nodes}"] if kind.universe == "parallel" else []),
            kind.submit.replace("{now}", str(int(time.time()))),
        ]
        if kind.group:
            lines.append(f"accounting_group = {GROUPS[kind.group]}")
            lines.append(f"accounting_group_user = {kind.user}")
        return "\n".join([*lines, f"queue {kind.count}", ""])

    def run(
        self,
        limit_s: float,
        meanwhile: Iterator[None] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> None:
        """Looks at the queues each second and acts, until no queue holds a job.

        Args:
            limit_s: fails when it lasts longer.
            meanwhile: is gone on with at each look.
            until: ends it earlier.
        """
        deadline = time.monotonic() + limit_s
        while True:
            held = [row for schedd in self.pool.schedds for row in self._look(schedd)]
            if not held or (until is not None and until()):
                return
            if meanwhile is not None:
                next(meanwhile, None)
            self._act()
            assert time.monotonic() < deadline, f"still in the queue: {held}; {self.log}"
            time.sleep(1)

    def _look(self, schedd: Schedd) -> list[str]:
        rows = self.pool.queue(schedd)
        now = time.time()
        for row in rows:
            cluster, _, status = row.partition(" ")
            for job in self.jobs:
                if job.cluster == cluster and job.schedd is schedd:
                    job.seen.setdefault(_STATES.get(status, status), now)
        there = {row.partition(" ")[0] for row in rows}
        if all(cluster.isdigit() for cluster in there):
            for job in self.jobs:
                job.is_over |= job.schedd is schedd and job.cluster not in there
        return rows

    def _act(self) -> None:
        for job in self.jobs:
            while job.pending:
                action, seen = job.pending[0], job.seen.get(job.pending[0].state)
                if seen is None or time.time() < seen + action.after_s:
                    break
                job.pending.pop(0)
                self.act(job, *action.command)

    def act(self, job: Submitted, *command: str) -> str:
        """Does something to a cluster, as its owner, or as root where only root may."""
        now = int(time.time())
        places = {"{c}": job.cluster, "{now}": str(now), "{past}": str(now - 6)}
        words = [
            functools.reduce(lambda text, place: text.replace(*place), places.items(), word)
            for word in command
        ]
        words[1:1] = ["-name", job.schedd.name]
        if "suspended" in job.seen and command[0] == "condor_rm":
            self._mark_alive(job)
        user = None if "-forcex" in words else job.kind.user
        said = self.pool.run(*words, user=user, check=False)
        self._note(job, " ".join(words), said)
        return said

    def _mark_alive(self, job: Submitted) -> None:
        """A suspended job holds its slot, but cannot write that it does."""
        for path in (self.pool.lab / "witness").glob(f"*,{job.cluster}.*"):
            with path.open("a") as file:
                file.write(f"alive {time.time()}\n")

    def kind_of(self, label: str, job: str) -> Kind | None:
        """The kind of a job; None for one that nobody submitted here, as a node of a DAG.

        Args:
            label: what the witness calls its schedd, or the name of that.
            job: "cluster.proc".
        """
        for one in self.jobs:
            if one.cluster == job.partition(".")[0] and label in {
                label_of(one.schedd),
                one.schedd.name,
            }:
                return one.kind
        return None

    def _note(self, job: Submitted, *what: str) -> None:
        self.log.append(f"{time.time():.1f} {job.kind.name} {job.cluster} {' '.join(what)}")


CHECKPOINTING = """#!/bin/sh
# exits 85, "a checkpoint was made", the first two times
n=$(($(cat checkpoint 2>/dev/null) + 1))
echo $n >checkpoint
end=0
[ $n -lt 3 ] && end=85
exec /lab/job "$1" "$2" "$3" $end
"""
