"""Asks the real condor_history and condor_q, and their stand-ins, the same, and compares."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.htcondor import standin
from tests.htcondor.pool import Pool

_OF_THE_ANSWER = re.compile(rb"(?m)^(ServerTime|ScheddName|ScheddHostName) = .*\n")
"""What condor_q adds to each ad, which is not the job's."""
Answer = tuple[int, list[bytes]]
"""Exit status and ads; those of condor_history in their order."""


def differences(pool: Pool, folder: Path, constraints: Sequence[str]) -> tuple[int, list[str]]:
    """Asks both, in every form in which the plugin and the public collector ask.

    Args:
        pool: whose history and queue it is; nothing may change meanwhile.
        folder: for the stand-ins.
        constraints: ClassAd expressions.

    Returns:
        How many ads were compared, and what differs.
    """
    schedd = pool.schedds[0]
    stand_ins = standin.Pool(folder)
    for name in ("here", schedd.name):
        (folder / name).mkdir(exist_ok=True)
        for path in schedd.spool.glob("history*"):
            shutil.copy(path, folder / name)
    queue = _ask(pool.commands() / "condor_q", "-name", schedd.name, "-allusers", "-long")[1]
    for name in ("here", schedd.name):
        (folder / name / "queue").write_bytes(b"\n".join(queue))
    stand_ins.set("nowhere", mood="unreachable")
    at = ("-name", schedd.name)
    asked = [
        ("condor_history", *where, *more, "-long", "-constraint", constraint)
        for constraint in constraints
        for where in ((), at, (*at, "-scanlimit", "2147483647"))
        for more in ((), ("-limit", "1"))
    ]
    asked += [
        ("condor_q", *where, "-allusers", "-long", "-constraint", constraint)
        for constraint in constraints
        for where in ((), at)
    ]
    columns = ("GlobalJobId", "Owner", "JobStatus", "NoSuchAttribute")
    asked += [
        ("condor_history", *at, "-constraint", "JobStatus == 4", "-af:,", *columns),
        ("condor_history", *at, "-since", "20.0", "-constraint", "true", "-af:,", *columns),
        ("condor_history", "-name", "nowhere", "-long", "-constraint", "true"),
        ("condor_q", "-name", "nowhere", "-allusers", "-long", "-constraint", "true"),
    ]
    count, differing = 0, []
    for command, *arguments in asked:
        real = _ask(pool.commands() / command, *arguments)
        ours = _ask(folder / command, *arguments)
        count += len(real[1])
        if real != ours:
            differing.append(f"{command} {arguments}: {_first_difference(real, ours)}")
    return count, differing


def _first_difference(real: Answer, ours: Answer) -> str:
    if real[0] != ours[0] or len(real[1]) != len(ours[1]):
        return f"status {real[0]}, {len(real[1])} ads; stand-in {ours[0]}, {len(ours[1])} ads"
    for ad, other in zip(real[1], ours[1], strict=True):
        for line, other_line in zip(ad.split(b"\n"), other.split(b"\n"), strict=False):
            if line != other_line:
                return f"{line!r}; stand-in {other_line!r}"
    return "length of an ad"


def _ask(command: Path, *arguments: str) -> Answer:
    done = subprocess.run([command, *arguments], capture_output=True, check=False, timeout=120)
    blocks = _OF_THE_ANSWER.sub(b"", done.stdout).split(b"\n\n")
    ads = [b"\n".join(sorted(block.strip().split(b"\n"))) + b"\n" for block in blocks]
    return done.returncode, [ad for ad in ads if ad.strip()]
