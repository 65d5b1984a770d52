"""Looks whether slurmdbd can be read, and whether it shows everything: `check` with `mode: sacct`.

`sacct` itself says nothing of a cluster that it does not know, or of runs that it hides. So what it
shows is compared with what `sacctmgr` and `scontrol` say, where they are there and may be asked.
"""

import os
import pwd
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from collector.source import Context, Finding, SourceError
from collector.source.command import output_of
from collector.source.windows import Window
from collector_slurm.columns import Columns, unknown_fields
from collector_slurm.command import Sacct, environment
from collector_slurm.names import count_numbers, with_names
from collector_slurm.section import SlurmSection

_DAY_S = 86400
_MONTH_S = 30 * _DAY_S
_TOOL_TIMEOUT_S = 10


class _Seen(msgspec.Struct):
    """What `sacct` shows of the runs that ended lately."""

    users: Counter[str]
    """Runs by user."""
    clusters: Counter[str]
    """Runs by cluster."""
    nameless: Counter[str]
    """Runs whose `User` or `Group` is missing, or a number for want of a name."""


def findings(section: SlurmSection, context: Context, sacct: Sacct) -> Iterator[Finding]:
    """Looks whether `sacct` is there, slurmdbd answers, and all runs and columns are shown."""
    try:
        yield Finding(ok=True, text=f"{sacct.version()} is installed")
        for text in unknown_fields(context.fields, sacct.offered()):
            yield Finding.warning(text)
        columns = sacct.columns("User", "UID", "Group", "GID")
        seen = _seen(sacct, context, columns, _DAY_S)
        count = seen.users.total()
        yield Finding(ok=True, text=f"slurmdbd answers: {count} runs ended within the last day")
        yield from _clusters(section, context, sacct, columns, seen.clusters)
        yield from _hidden(section, context, seen.users)
        for name, runs in sorted(seen.nameless.items()):
            yield Finding.warning(
                f"{runs} of {count} runs have no {name} that this machine knows, so their number "
                "is recorded; do nsswitch.conf and sssd here know the cluster's users?"
            )
    except SourceError as error:
        yield Finding.error(str(error))


def _seen(sacct: Sacct, context: Context, columns: Columns, last_s: int) -> _Seen:
    now = int(context.now().timestamp())
    seen = _Seen(Counter(), Counter(), Counter())
    named = [name for name in ("User", "Group") if name in columns.names]
    for run in sacct.ended_in(Window(now - last_s, now), columns):
        fields = with_names(run.fields)
        seen.users[str(fields.get("User", ""))] += 1
        seen.clusters[str(fields["Cluster"]).lower()] += 1
        if run.has_nodes:
            count_numbers(fields, seen.nameless)
            seen.nameless.update(name for name in named if not fields.get(name))
    return seen


def _clusters(
    section: SlurmSection, context: Context, sacct: Sacct, columns: Columns, seen: Counter[str]
) -> Iterator[Finding]:
    """Whether each cluster that is to be read is one: it has runs, or sacctmgr knows it."""
    named = [name.lower() for name in section.clusters]
    if named and "all" not in named:
        missing = [name for name in named if not seen[name]]
    else:
        missing = [] if seen else [""]
    if not missing:
        return
    registered = _asked(section, context, "sacctmgr", "-nP", "list", "cluster", "format=Cluster")
    for name in missing:
        if not name and not named:
            name = _own_name(section, context)  # noqa: PLW2901 - asked for only when it is needed
        shown = f"cluster {name}" if name else "this machine's cluster"
        if isinstance(registered, str):
            known = name in registered.lower().split() if name else bool(named)
            if known:
                yield Finding.warning(
                    f"{shown}: no run ended within the last day; sacctmgr knows the cluster"
                )
                continue
            why = f"sacctmgr list cluster has {', '.join(registered.split()) or 'none'}"
        else:
            why = f"sacctmgr does not confirm it ({registered})"
        older = _seen(sacct, context, columns, _MONTH_S).clusters
        if older[name] if name else older:
            yield Finding.warning(f"{shown}: runs ended within the last month, none within a day")
        else:
            yield Finding.error(
                f"{shown}: sacct shows no run of the last month, and {why}: is its name right "
                "(clusters, or ClusterName in slurm.conf), and is it registered?"
            )


def _own_name(section: SlurmSection, context: Context) -> str:
    """ClusterName, as slurmctld has it; empty when it cannot be asked."""
    text = _asked(section, context, "scontrol", "show", "config")
    for line in text.splitlines() if isinstance(text, str) else ():
        name, _, value = line.partition("=")
        if name.strip() == "ClusterName":
            return value.strip().lower()
    return ""


def _hidden(section: SlurmSection, context: Context, users: Counter[str]) -> Iterator[Finding]:
    """What it may mean that no run is another user's: slurmdbd does not say what it hides."""
    if os.geteuid() == 0 or section.users:
        return
    me = pwd.getpwuid(os.geteuid()).pw_name
    advice = f"{me} needs AdminLevel=Operator (sacctmgr modify user {me} set adminlevel=operator)"
    if users and not set(users) - {me}:
        yield Finding.warning(
            f"no run is another user's than {me}: if there should be some, slurmdbd has "
            f"PrivateData=jobs, and {advice}"
        )
        return
    settings = _asked(section, context, "sacctmgr", "-n", "show", "configuration")
    if isinstance(settings, SourceError):
        return
    private = [line for line in settings.splitlines() if line.startswith("PrivateData")]
    if not any("jobs" in line.lower() for line in private):
        return
    level = _asked(section, context, "sacctmgr", "-nP", "show", "user", me, "format=AdminLevel")
    if isinstance(level, SourceError) or level.strip() in ("Operator", "Administrator"):
        return
    yield Finding.warning(
        f"only some users are seen ({len(users)} of the last day): slurmdbd has PrivateData=jobs, "
        f"and shows {me} the jobs of the accounts that {me} coordinates; {advice}"
    )


def _asked(
    section: SlurmSection, context: Context, tool: str, *arguments: str
) -> str | SourceError:
    """What another of Slurm's commands prints: the one beside `sacct`, or on the PATH."""
    beside = Path(section.sacct).with_name(tool)
    command = str(beside) if "/" in section.sacct and beside.exists() else tool
    timeout_s = min(section.timeout_s, _TOOL_TIMEOUT_S)
    try:
        output = output_of([command, *arguments], timeout_s, context.stop, environment())
        return b"".join(output).decode(errors="replace")
    except SourceError as error:
        return error
