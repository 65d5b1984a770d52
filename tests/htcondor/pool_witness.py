"""What the jobs of a pool say themselves of when they ran: a witness beside the ads that we read.

Each job is the program `JOB`. It writes when its shadow and its starter began, as the kernel counts
(that is when its slot was taken), when it began itself, how many cores the slot has, then a sign of
life four times a second, and its CPU time at its end. So a job that is killed, or that loses its
machine, has its end written down, too.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

JOB = r"""#!/bin/bash
# job SCHEDD CLUSTER.PROC SECONDS [END [BURNERS]]: END is an exit status or the name of a signal
started=$EPOCHREALTIME since= cores=1
read -r up _ </proc/uptime
read -r -a stat </proc/$PPID/stat
[[ ${stat[1]} == *starter* ]] && since=${stat[21]}
id=$2
if [[ -r $_CONDOR_JOB_AD ]]; then  # of a routed job the id is another than its owner knows
    while read -r name _ value; do
        case $name in ClusterId) cluster=$value ;; ProcId) proc=$value ;; esac
    done <"$_CONDOR_JOB_AD"
    id=$cluster.$proc
fi
if [[ -r $_CONDOR_MACHINE_AD ]]; then
    while read -r name _ value; do
        [[ $name == Cpus ]] && cores=$value
    done <"$_CONDOR_MACHINE_AD"
fi
for comm in /proc/[0-9]*/comm; do
    if read -r name 2>/dev/null <"$comm" && [[ $name == condor_shadow ]]; then
        words=()
        mapfile -d '' words 2>/dev/null <"${comm%comm}cmdline"
        [[ " ${words[*]} " == *" $id "* ]] && read -r -a stat 2>/dev/null <"${comm%comm}stat" &&
            since=${stat[21]}
    fi
done
exec 4>>"/lab/witness/$1,$id,${_CONDOR_PROCNO:-0},$started" 3<> <(:)
echo "user $(id -un)" >&4
echo "start $started $up $since" >&4
echo "cores $cores" >&4
ended() {
    echo "end $EPOCHREALTIME" >&4
    times >&4
}
trap 'kill $(jobs -p) 2>/dev/null; ended; exit 143' TERM QUIT
limit=$((${started/./} + $3 * 1000000))
for ((i = 0; i < ${5:-0}; i++)); do
    (exec 4>&-; while ((${EPOCHREALTIME/./} < limit)); do :; done) &
done
while ((${EPOCHREALTIME/./} < limit)); do
    read -r -t 0.25 -u 3
    echo "alive $EPOCHREALTIME" >&4
done
wait $(jobs -p)
ended
[[ ${4:-0} == [A-Z]* ]] && kill -"$4" $$ && sleep 5
exit "${4:-0}"
"""

_TICKS_S = 100
_TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s")


@dataclass
class Run:
    """One run, as its job wrote it down; times are epoch seconds."""

    user: str
    taken_at: float
    """When the slot was taken: its shadow began, or its starter where it has no shadow, or the
    job itself where it has neither."""
    start_at: float
    end_at: float
    """The last sign of life."""
    cores: int
    """Of its slot."""
    cpu_s: float
    """Of the job and its children; 0 where it could not write it down."""
    ended: bool
    """Whether it wrote down its end."""


Witnessed = dict[tuple[str, str], list[Run]]
"""Schedd and "cluster.proc" → the runs of that job, the first one first."""


def witnessed(folder: Path) -> Witnessed:
    """Reads what all jobs have written."""
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for path in sorted(folder.iterdir(), key=lambda path: path.name.rpartition(",")[2]):
        schedd, job, node, _ = path.name.split(",")
        if node == "0":  # the first node's is the run of a parallel job
            found[schedd, job].append(_run(path.read_text().splitlines()))
    return {job: list(_merged(runs)) for job, runs in found.items()}


def _run(lines: list[str]) -> Run:
    user, start, up, since = "", 0.0, 0.0, ""
    end = cpu_s = 0.0
    cores = 1
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest
        elif word == "start":
            first, second, since = (*rest.split(" "), "")[:3]
            start = end = float(first)
            up = float(second)
        elif word == "cores":
            cores = int(rest)
        elif word in {"alive", "end"}:
            end = max(end, float(rest))
        elif found := _TIMES.fullmatch(line):
            minutes, seconds, sys_minutes, sys_seconds = map(float, found.groups())
            cpu_s += 60 * (minutes + sys_minutes) + seconds + sys_seconds
    taken = start - (up - int(since) / _TICKS_S) if since else start
    ended = any(line.startswith("end") for line in lines)
    return Run(user, taken, start, end, cores, cpu_s, ended)


def _merged(runs: Iterable[Run]) -> Iterable[Run]:
    """Those that one starter ran one after the other, as after a checkpoint, are one run."""
    last: Run | None = None
    for run in runs:
        if last is not None and abs(run.taken_at - last.taken_at) < 0.05:
            last.end_at, last.cpu_s, last.ended = run.end_at, last.cpu_s + run.cpu_s, run.ended
            continue
        if last is not None:
            yield last
        last = run
    if last is not None:
        yield last
