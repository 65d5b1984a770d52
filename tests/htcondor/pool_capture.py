"""Writes what a pool's schedd wrote, and what the jobs wrote, as a case of `test_real_ends.py`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.htcondor.pool_truth import TrueRun, truth
from tests.htcondor.pool_workload import Workload

_LEFT_OUT = re.compile(
    r"(Environment|Env|Arguments|Args|Cmd|Iwd|In|Out|Err|UserLog|Requirements|Rank|OnExit\w+|"
    r"Periodic\w+|CondorPlatform|AutoCluster\w+|CurrentHosts|Stream\w+|Transfer\w+|Want\w+|"
    r"TargetType|RootDir|BufferSize|BufferBlockSize|CoreSize|KillSig|Block\w+|\w+Sandbox\w*|"
    r"StatsLifetime\w*|RecentStats\w*|RecentBlock\w*|LeaveJobInQueue|Cumulative\w*Transfer\w*|"
    r"JobSubmit\w+|JobPrio|NiceUser|MyType|FileSystemDomain|OrigMaxHosts|ImageSize\w*|"
    r"DiskUsage\w*|ExecutableSize\w*|ScratchDir\w*|DAG\w*|Output\w*|Input\w*) = .*"
)
"""Attributes that no reader of accounting looks at."""


def capture(workload: Workload, folder: Path) -> None:
    """Writes a case: the ads of the first schedd, and its runs by job.

    Args:
        workload: all of its jobs have left the queue.
        folder: an empty or missing one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("history", "epoch_history"):
        spool = workload.pool.schedds[0].spool
        parts = [*sorted(spool.glob(f"{name}.2*")), spool / name]
        lines = "".join(path.read_text(errors="surrogateescape") for path in parts).split("\n")
        kept = (line for line in lines if not _LEFT_OUT.fullmatch(line))
        (folder / name).write_text("\n".join(kept), errors="surrogateescape")
    runs = {mode: dict(_told(truth(workload, mode), workload)) for mode in ("last", "epochs")}
    (folder / "witness.json").write_text(json.dumps(runs, indent=1) + "\n")


def _told(
    found: dict[tuple[str, str], list[TrueRun]], workload: Workload
) -> Iterator[tuple[str, dict[str, object]]]:
    for (schedd, job), runs in sorted(found.items()):
        kind = workload.kind_of(schedd, job)
        if kind is None or not kind.hostile:
            yield (
                job,
                {
                    "kind": "of another" if kind is None else kind.name,
                    "runs": [
                        [int(run.end_at) - int(run.length_s), int(run.end_at)] for run in runs
                    ],
                },
            )
