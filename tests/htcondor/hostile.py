"""What the owner of a job does to its ad, on a real pool, so that it costs less, or others pay.

Each attack is a job that edits one attribute with `condor_qedit`, before it runs, while it runs,
while it is held after it ran, or after its end while it stays in the queue; with `condor_chirp`
from inside; or in its submit file. Beside them run jobs of another user, whose ids are taken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from collector.record import Record
from tests.htcondor.pool import eventually
from tests.htcondor.pool_collecting import EVERY_RUN, LAST, Collecting
from tests.htcondor.pool_comparison import TOLERANCE_S, amounts_of
from tests.htcondor.pool_disturbances import until_running
from tests.htcondor.pool_truth import TrueRun, truth
from tests.htcondor.pool_workload import FOREVER_S, Action, Kind, Submitted, Workload, remove, when

MODES = (*LAST, *EVERY_RUN)
ATTACKER, VICTIM = "carol", "alice"
UNFLAGGED_S = TOLERANCE_S + 2
"""How much of a run an owner may move unseen: its last contact with the machine leaves 2 s open."""
_SECONDS = 8
_STAYS = "leave_in_queue = LabStays =!= False"
_ALWAYS = ("before", "while", "held", "after")
EDITS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "GlobalJobId": ('"{victim}"', _ALWAYS),
    "JobStatus": ("3", ("after",)),
    "LastJobStatus": ("1", _ALWAYS),
    "EnteredCurrentStatus": ("{past}", _ALWAYS),
    "JobCurrentStartDate": ("{now}", _ALWAYS),
    "JobStartDate": ("5", ("while", "after")),
    "JobRunCount": ("0", _ALWAYS),
    "NumShadowStarts": ("0", _ALWAYS),
    "NumJobStarts": ("0", ("held", "after")),
    "LastRemoteWallClockTime": ("1.0", _ALWAYS),
    "RemoteWallClockTime": ("900000.0", ("held", "after")),
    "CpusProvisioned": ("0", _ALWAYS),
    "MemoryProvisioned": ("-5", ("while", "after")),
    "AcctGroup": ('"group_other"', _ALWAYS),
    "RoutedToJobId": ('"1.0"', _ALWAYS),
    "CompletionDate": ("{past}", ("held", "after")),
    "LastMatchTime": ("undefined", ("while", "after")),
    "LastJobLeaseRenewal": ("{past}", ("while", "held", "after")),
    "LastVacateTime": ("{past}", ("while", "held", "after")),
    "JobDisconnectedDate": ("{past}", ("before", "while", "held", "after")),
    "JobFinishedHookDone": ("{past}", ("held", "after")),
    "RemoteUserCpu": ("-1.0", ("while", "after")),
    "LastRemoteHost": ("undefined", ("held", "after")),
}
"""Attribute → value and when it is set. {now} and {past} (6 s ago) are epoch seconds."""
CHIRPED = {
    "GlobalJobId": "{victim}",
    "JobCurrentStartDate": "{started}",
    "CpusProvisioned": "0",
    "JobRunCount": "0",
    "EnteredCurrentStatus": "7",
    "LastRemoteWallClockTime": "1",
    "JobDisconnectedDate": "{started}",
    "LastJobLeaseRenewal": "{started}",
}
"""Attribute → value; {started} is when the job begins."""
SUBMITTED: Mapping[str, str] = {
    "EpochWriteDate": 'My.EpochWriteDate = 9\nMy.RunInstanceId = 5\nMy.EpochAdType = "SPAWN"',
    "times": "My.CompletionDate = 5\nMy.JobStartDate = 7\nMy.JobCurrentStartDate = 8\n"
    "My.LastRemoteWallClockTime = 777777\nMy.RemoteWallClockTime = 12345.0\nMy.JobRunCount = 40",
    "CPU": "My.RemoteUserCpu = 1000000000.0\nMy.CumulativeRemoteUserCpu = 4000000.0",
    "banner": 'My.A = "*** Offset = 0 ClusterId = 1 ProcId = 1 Owner = \\"x\\""\n'
    "batch_name = *** EPOCH ClusterId=1 ProcId=0 RunInstanceId=0 Owner='alice'",
    "expression": "My.E0 = 1\n"
    + "\n".join(f"My.E{n} = E{n - 1} + E{n - 1}" for n in range(1, 25))
    + "\nMy.x509UserProxyFirstFQAN = E24",
    "never ran": "requirements = false\nMy.JobCurrentStartDate = {now}\nMy.JobRunCount = 3\n"
    "My.NumShadowStarts = 3\nMy.LastRemoteWallClockTime = 777777",
}
"""Lines of submit files."""
CHIRPING = r"""#!/bin/sh
# chirping NAME VALUE …: edits the ad of its own job, and then is /lab/job …
value=$2
[ "$value" = started ] && value=$(date +%s)
case $1 in GlobalJobId) value="\"$value\"" ;; esac
/usr/libexec/condor/condor_chirp set_job_attr "$1" "$value"
shift 2
exec /lab/job "$@"
"""


def _qedit(state: str, after_s: float, name: str, value: str) -> Action:
    return when(state, after_s, "condor_qedit", "{c}", name, value)


def _edit(name: str, value: str, moment: str) -> Kind:
    """A job whose owner edits an attribute of its ad at some moment."""
    kind = Kind(f"{name} ({moment})", ATTACKER, _SECONDS, hostile=True)
    if moment == "before":
        edits = (_qedit("held", 0, name, value), when("held", 1, "condor_release", "{c}"))
        return replace(kind, submit="hold = true", actions=edits)
    if moment == "while":
        return replace(kind, actions=(_qedit("running", 4, name, value),))
    if moment == "held":
        hold = when("running", 4, "condor_hold", "{c}")
        actions = (hold, _qedit("held", 4, name, value), remove("held", 5))
        return replace(kind, seconds=FOREVER_S, actions=actions)
    leave = _qedit("completed", 1, "LabStays", "False")
    return replace(kind, submit=_STAYS, actions=(_qedit("completed", 1, name, value), leave))


def attack(workload: Workload) -> list[Submitted]:
    """Plays all attacks; ends when no queue holds a job, and gives the jobs of the attackers."""
    pool = workload.pool
    pool.write("/lab/chirping", CHIRPING, 0o755)
    victim = workload.submit(Kind("victim", VICTIM, 4))
    running = workload.submit(Kind("victim", VICTIM, FOREVER_S))
    until_running(workload, [victim, running])
    query = ("condor_q", running.cluster, "-af", "GlobalJobId")
    victims_id = eventually(lambda: pool.run(*query, check=False), 30, "the victim's id")
    kinds = [
        _edit(name, value.replace("{victim}", victims_id), moment)
        for name, (value, moments) in EDITS.items()
        for moment in moments
    ]
    for name, value in CHIRPED.items():
        given = value.replace("{victim}", victims_id).replace("{started}", "started")
        kinds.append(
            Kind(
                f"{name} (chirp)",
                ATTACKER,
                _SECONDS,
                hostile=True,
                program="/lab/chirping",
                arguments=(name, given),
                submit="My.WantIOProxy = True",
            )
        )
    for name, lines in SUBMITTED.items():
        actions = (remove("idle", 8),) if name == "never ran" else ()
        kinds.append(
            Kind(f"{name} (submit)", ATTACKER, 4, hostile=True, submit=lines, actions=actions)
        )
    attackers = [workload.submit(kind) for kind in kinds]

    workload.run(240, until=lambda: all(job.is_over for job in attackers))
    workload.act(running, "condor_rm", "{c}")
    workload.submit(Kind("victim", VICTIM, 3))
    workload.run(60)
    return attackers


def harm(collecting: Collecting, workload: Workload, attackers: list[Submitted]) -> list[str]:
    """What the attackers achieved; the harm to others is what `compare` finds."""
    found = []
    for mode in MODES:
        records, expected = collecting.records(mode), truth(workload, mode)
        for attacker in attackers:
            job = attacker.schedd.name, f"{attacker.cluster}.0"
            of = f"{mode} {job[1]} {attacker.kind.name}"
            found += [
                f"{of}: {text}" for text in _harm(records.get(job, []), expected.get(job, []))
            ]
    return found


def _harm(records: list[Record], runs: list[TrueRun]) -> Iterator[str]:
    if len(records) != len(runs):
        yield f"{len(records)} records, {len(runs)} runs"
    for record, run in zip(records, runs, strict=False):
        meta = record.meta or {}
        if meta["user"] != [ATTACKER]:
            yield f"accounted to {meta['user']}"
        if record.runtime is None:
            yield "no stop time"
        elif "suspicious" not in meta:
            if abs(record.runtime - run.length_s) > UNFLAGGED_S:
                yield f"{record.runtime} s unflagged, not {run}"
            if amounts_of(record)["Cores"] < run.cores:
                yield f"{amounts_of(record)['Cores']} cores unflagged, not {run.cores}"
