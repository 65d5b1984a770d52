"""Holds the stand-in for `sacct` against the real one: the same question, the same answer?

The stand-in is given the rows that the real one prints for everything there is, and then both are
asked what the plugin asks: windows that begin and end where runs do, states, filters, ids, with
and without steps and earlier runs; and what both have to refuse. Not compared: `-s S`, which
looks into a table of suspensions that rows do not have.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from collector_slurm.columns import Columns
from collector_slurm.command import environment
from collector_slurm.rows import rows_of
from collector_slurm.run import ENDED_STATES
from tests.slurm.standin import captured, standin, written

DELIMITER = "\x1f$unguessable$\x1f"
"""Workloads have the unit separator in job names."""
NAMES = tuple(dict.fromkeys(name for row in captured() for name in row))
ENDED = ",".join(ENDED_STATES)
FOREVER = ("--starttime=2020-01-01T00:00:00", "--endtime=2037-01-01T00:00:00")
FRAME = ("--parsable", "--noheader", "--noconvert", f"--delimiter={DELIMITER}")


def ask(program: str, *options: str) -> tuple[int, bytes]:
    """Asks one of the two.

    Returns:
        Its exit status, and what it prints.
    """
    command = [program, *FRAME, f"--format={','.join(NAMES)}", *options]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, timeout=60)
    return done.returncode, done.stdout


def comparable(output: bytes) -> list[str]:
    """Rows without what is rounded: CPU time is stored in microseconds and shown in thousandths."""
    kept = [number for number, name in enumerate(NAMES) if not name.endswith("CPU")]
    fields = output.decode(errors="replace").split(DELIMITER)
    rows = (fields[at : at + len(NAMES)] for at in range(0, len(fields), len(NAMES)))
    return ["|".join(row[number] for number in kept if number < len(row)) for row in rows]


def named(output: bytes, names: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows that a `sacct` has printed within FRAME, by column."""
    for index, *rest in rows_of([output], Columns(names, DELIMITER)):
        yield dict(zip(names, (index.lstrip(), *rest), strict=True))


def copied(real: str, folder: Path) -> str:
    """A stand-in that has all the rows of the real one."""
    states = f"--state={ENDED},PD,R,S"
    _, output = ask(real, "--allusers", "--duplicates", *FOREVER, states)
    return standin(folder, written(folder, named(output, NAMES)))


def questions(rows: Sequence[dict[str, str]]) -> Iterator[list[str]]:
    """What the plugin asks of a cluster with these rows, and what must be refused."""
    runs = [row for row in rows if "." not in row["JobID"]]
    ends = sorted({int(row["End"]) for row in runs if row["End"].isdecimal()})
    for end in ends[:: max(1, len(ends) // 4)]:
        for begin, until in ((end, end + 5), (end - 5, end), (end, end)):
            window = [f"--starttime={utc(begin)}", f"--endtime={utc(until)}"]
            yield ["--allusers", "--duplicates", *window, f"--state={ENDED}"]
            yield ["--allusers", "--duplicates", "--allocations", *window, "--state=R"]
            yield ["--allusers", "--duplicates", "--allocations", *window]
    window = [f"--starttime={utc(ends[0])}", f"--endtime={utc(ends[-1])}"]
    every = ["--duplicates", *window, f"--state={ENDED}"]
    yield ["--allusers", *every]
    yield ["--allusers", *every[1:]]
    yield ["--allusers", "--duplicates", window[0], "--state=CD"]
    short = ["-S", utc(ends[0]), "-E", utc(ends[-1]), "-s", "completed,cancelled,timeout"]
    yield ["-a", "--duplicates", "--allocations", *short]
    for code in ("BF", "CA", "CD", "RQ,PR"):
        yield ["--allusers", "--allocations", "--duplicates", *window, f"--state={code}"]
    for option, column in (
        ("partition", "Partition"),
        ("group", "Group"),
        ("accounts", "Account"),
        ("qos", "QOS"),
        ("clusters", "Cluster"),
    ):
        for value in sorted({row[column] for row in runs if row[column]})[:2]:
            yield ["--allusers", "--allocations", *every, f"--{option}={value}"]
    yield ["--allocations", *every, f"--user={runs[-1]['User']}"]
    ids = {row["JobID"] for row in runs} | {row["JobIDRaw"] for row in runs}
    families = {one.partition("_")[0].partition("+")[0] for one in ids}
    odd = sorted(one for one in ids if "_" in one or "+" in one)
    for one in [*odd[:4], *odd[-2:], *sorted(families)[:3], "99999"]:
        if "[" not in one:
            yield ["--duplicates", "--allocations", f"--jobs={one}"]
    named = f"--jobs={','.join(sorted(families))}"
    yield ["--duplicates", named]
    yield ["--allusers", "--duplicates", "--allocations", named, *window, "--state=CD,TO"]
    yield ["--allusers", "--starttime=now", "--endtime=yesterday", "--state=CD"]
    yield ["--allusers", "--starttime=1795478100", f"--state={ENDED}"]
    yield ["--allusers", *window, "--state=CG"]
    yield ["--allusers", *window, "--format=JobID,NoSuchColumn"]
    yield ["--allusers", *window, "--no-such-option"]


def utc(second: int) -> str:
    """An instant as sacct reads it."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def differences(real: str, folder: Path) -> tuple[int, list[str]]:
    """Asks both everything.

    Returns:
        How many questions there were, and those that were answered in two ways.
    """
    stand_in = copied(real, folder)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    found, asked = [], list(questions(rows))
    for options in asked:
        real_status, real_output = ask(real, *options)
        status, output = ask(stand_in, *options)
        theirs, ours = comparable(real_output), comparable(output)
        if (real_status, theirs) != (status, ours):
            found.append(
                f"{options}: exit {real_status} and {status}, {len(theirs)} and {len(ours)} rows,"
                f" real only {sorted(set(theirs) - set(ours))[:2]},"
                f" stand-in only {sorted(set(ours) - set(theirs))[:2]}"
            )
    return len(asked), found
