"""Jobs of every kind, for a real cluster: what users, administrators and failing nodes do."""

import functools
import time
from collections.abc import Iterable

from tests.slurm.cluster import Cluster, eventually

FORGED_ROW = "999|lab|999|COMPLETED|1|1|2000000000|00:00:00|node1|games|64".replace("|", "\x1f")
FORGED_LINE = (
    "JobId=999 UserId=root(0) GroupId=root(0) Name=x JobState=COMPLETED Partition=batch"
    " TimeLimit=10 StartTime=2026-01-01T00:00:00 EndTime=2026-01-02T00:00:00 NodeList=node1"
    " NodeCnt=1 ProcCnt=64 WorkDir=/ ReservationName= Tres=cpu=64 Account=atlas QOS=normal WcKey="
    " Cluster=lab SubmitTime=2026-01-01T00:00:00 EligibleTime=2026-01-01T00:00:00"
    " DerivedExitCode=0:0 ExitCode=0:0 "
)
AFTER_THE_CUT = "JobId=999 UserId=a(0) GroupId=b(0) Name="
"""What the line of another job would begin with, where 22.05 has cut this one's after 1023 bytes;
before this name stand 45. Slurm refuses names and comments of more than 1024 bytes."""
HOSTILE: tuple[str | bytes, ...] = (
    "a|b|c",
    "two\nlines",
    "ends with a newline\n",
    "\n1|1|lab|root|64|COMPLETED",
    f"\n{FORGED_ROW}\n",
    f"x\x1f\n{FORGED_ROW}\x1f\n",
    f"x\n{FORGED_LINE}\n",
    f"x JobState=FAILED Partition=batch{FORGED_LINE}",
    "'single' \"double\" `back` \\ $(id) ; rm",
    "--allusers",
    "%s %n {0} {x}",
    "作业-🚀-é\N{COMBINING ACUTE ACCENT}",
    b"latin-1 \xe9\xff",
    "tab\t cr\r vt\x0b esc\x1b[31m",
    " ",
    "L" * 900,
    "X" * (1023 - 45) + AFTER_THE_CUT,
)
SHORT = "sleep 1"
LONG = "sleep 600"
STUBBORN = "srun sh -c 'trap \"\" TERM; while :; do :; done'"
"""Cancelled, its processes go on until `KillWait` is over."""
REQUEUE_EXIT = 77
"""The exit code after which Slurm requeues a job by itself."""
FIRST_RUN_HANGS = '[ -n "$SLURM_RESTART_COUNT" ] || sleep 600; sleep 1'


class Workload:
    """Runs jobs on a cluster and waits for their end."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def submit(self, user: str, *options: str | bytes, script: str = SHORT) -> str:
        """Submits a batch job; gives its id."""
        command = ("sbatch", "--parsable", "-o", "/dev/null", "-D", "/tmp", *options)
        return self.cluster.run(*command, "--wrap", script, user=user)

    def states(self, job_id: str) -> set[str]:
        """The states of a job's tasks, components or itself; empty when it is gone."""
        return set(self.cluster.run("squeue", "-h", "-j", job_id, "-o", "%T", check=False).split())

    def running(self, *job_ids: str) -> None:
        """Waits until jobs run."""
        for job_id in job_ids:
            eventually(functools.partial(self._runs, job_id), 60, f"{job_id} runs")

    def _runs(self, job_id: str) -> bool:
        return self.states(job_id) == {"RUNNING"}

    def control(self, *arguments: str) -> None:
        """Runs `scontrol`."""
        self.cluster.run("scontrol", *arguments)

    def ended(self) -> None:
        """Waits until the queue is empty and slurmdbd knows of all ends."""
        eventually(
            lambda: not self.cluster.run("squeue", "-h", "-o", "%i %T", check=False),
            150,
            "the queue",
        )
        eventually(self._settled, 30, "slurmdbd")

    def _settled(self) -> bool:
        open_rows = self.cluster.sql(
            "SELECT COUNT(*) FROM slurm_acct_db.lab_job_table WHERE time_end = 0"
        )
        return open_rows == "0"

    def run(self) -> None:
        """Runs all kinds of jobs; takes about two minutes, for the one that times out."""
        self.submit("games", "-t", "1", script=LONG)
        self.plain()
        self.hostile()
        self.interrupted()
        self.ended()

    def interrupted(self) -> None:
        """Runs the jobs that something happens to while they wait or run."""
        self._cancelled()
        self._suspended()
        self._requeued()
        self._resized()
        self._preempted()
        self._node_failed()

    def plain(self) -> None:
        """Runs jobs that run to their end, well or not."""
        gpu = ("--gres=gpu:2",)
        steps = (
            "srun -n2 sleep 1; srun -n1 sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'"
        )
        options: Iterable[tuple[str, tuple[str, ...], str]] = (
            ("daemon", ("-n3",), SHORT),
            ("daemon", ("--mem-per-cpu=100", "-n2"), SHORT),
            ("games", ("-N2", "-n4"), SHORT),
            ("games", ("--exclusive", "-p", "spare"), SHORT),
            ("mail", gpu, SHORT),
            ("mail", ("-n2",), steps),
            ("daemon", (), "exit 3"),
            ("daemon", (), "kill -9 $$"),
            ("daemon", (), "exit 255"),
            ("daemon", ("-a", "0-4"), SHORT),
            ("games", ("-a", "1-7:2%2"), SHORT),
            ("mail", ("-a", "3"), SHORT),
            ("mail", ("-n1", ":", "-n3"), SHORT),
            ("nobody", (), SHORT),
            ("games", (), "true"),
            ("games", ("--mem=65000", "-p", "spare"), "true"),
        )
        for user, given, script in options:
            self.submit(user, *given, script=script)
        for command in (("srun", "-n2", "sleep", "1"), ("salloc", "-n2", "srun", "sleep", "1")):
            self.cluster.run(*command, user="daemon")
        self.cluster.run("srun", "-n1", "false", user="daemon", check=False)

    def hostile(self) -> None:
        """Runs jobs whose names and comments are made to break parsers."""
        for text in HOSTILE:
            raw = text if isinstance(text, bytes) else text.encode()
            self.submit("mail", b"--job-name=" + raw, b"--comment=" + raw, script="true")

    def _cancelled(self) -> None:
        held = self.submit("games", "-H")
        array = self.submit("games", "-H", "-a", "0-9")
        later = self.submit("games", "--begin=now+1hour")
        never = self.submit("games", "-d", f"afternotok:{held}", "--kill-on-invalid-dep=yes")
        runs = [self.submit("games", f"-n{cores}", script=LONG) for cores in (1, 2)]
        runs.append(self.submit("games", script=STUBBORN))
        tasks = self.submit("games", "-a", "0-3%2", script=LONG)
        self.running(*runs, f"{tasks}_0", f"{tasks}_1")
        self.cluster.run("scancel", held, array, later, never, user="games")
        self.cluster.run("scancel", *runs, f"{tasks}_1", f"{tasks}_[2-3]")
        self.cluster.run("scancel", f"{tasks}_0")

    def _suspended(self) -> None:
        twice = self.submit("daemon", script="for i in 1 2 3 4 5 6; do sleep 1; done")
        cancelled = self.submit("daemon", script=LONG)
        self.running(twice, cancelled)
        for _ in range(2):
            self.control("suspend", twice)
            time.sleep(2)
            self.control("resume", twice)
            time.sleep(1)
        self.control("suspend", cancelled)
        time.sleep(2)
        self.cluster.run("scancel", cancelled)

    def _requeued(self) -> None:
        once = self.submit("daemon", script=FIRST_RUN_HANGS)
        twice = self.submit(
            "daemon", script='[ "${SLURM_RESTART_COUNT:-0}" -ge 2 ] || sleep 600; srun sleep 1'
        )
        array = self.submit("mail", "-a", "1-2", script=FIRST_RUN_HANGS)
        self.submit(
            "games", script=f'sleep 1; [ -n "$SLURM_RESTART_COUNT" ] || exit {REQUEUE_EXIT}'
        )
        completed = self.submit("mail", script=SHORT)
        self.running(once, twice, f"{array}_1", f"{array}_2")
        eventually(lambda: "COMPLETED" in self._state(completed), 60, "completed")
        for job_id in (once, twice, f"{array}_1", f"{array}_2", completed):
            self.control("requeue", job_id)
        self.running(twice)
        self.control("requeue", twice)

    def _state(self, job_id: str) -> str:
        return self.cluster.run("scontrol", "show", "job", "-o", job_id, check=False)

    def _resized(self) -> None:
        resized = self.submit("nobody", "-N2", script="sleep 8")
        self.running(resized)
        time.sleep(2)
        self.control("update", f"jobid={resized}", "numnodes=1")

    def _preempted(self) -> None:
        low = self.submit(
            "daemon", "-p", "spare", "-q", "low", "--exclusive", script=FIRST_RUN_HANGS
        )
        self.running(low)
        self.submit("games", "-p", "spare", "-q", "high", "--exclusive", script=SHORT)
        eventually(lambda: self.states(low) != {"RUNNING"}, 60, "pre-emption")
        eventually(lambda: not self.states(low), 90, "the pre-empted job")

    def _node_failed(self) -> None:
        lost = self.submit("mail", "-p", "spare", "--no-requeue", script=LONG)
        again = self.submit("mail", "-p", "spare", script=FIRST_RUN_HANGS)
        self.running(lost, again)
        self.control("update", "nodename=spare", "state=down", 'reason=test | "quoted"')
        time.sleep(3)
        self.cluster.run("scontrol", "update", "nodename=spare", "state=resume", check=False)
