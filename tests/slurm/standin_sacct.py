"""A stand-in for `sacct` over captured rows: what the tests run where there is no Slurm.

It selects, orders and prints rows as `sacct` of Slurm 22.05 does, for the options that the plugin
and AUDITOR's own Slurm collector use, and refuses what that refuses. `test_cluster.py` holds it
against the real one.

Usage: standin_sacct.py ROWS.jsonl OPTION…
"""

import json
import os
import sys
from calendar import timegm
from collections.abc import Iterable
from pathlib import Path
from time import gmtime, strftime, strptime

UNKNOWN = ("Unknown", "None")
CODES = {
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "DL": "DEADLINE",
    "F": "FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "RQ": "REQUEUED",
    "RS": "RESIZING",
    "RV": "REVOKED",
    "S": "SUSPENDED",
    "TO": "TIMEOUT",
}
ENDED = frozenset(CODES) - {"PD", "R", "S"}
FILTERS = {
    "partition": "Partition",
    "user": "User",
    "group": "Group",
    "accounts": "Account",
    "qos": "QOS",
    "clusters": "Cluster",
}
SHORT = {
    "-A": "accounts",
    "-E": "endtime",
    "-P": "parsable2",
    "-S": "starttime",
    "-a": "allusers",
    "-g": "group",
    "-r": "partition",
    "-s": "state",
    "-u": "user",
}
TIMES = ("Submit", "Eligible", "Start", "End")
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
CPU_TIMES = ("TotalCPU", "UserCPU", "SystemCPU")
FLAGS = (
    *(
        "duplicates",
        "parsable",
        "parsable2",
        "noheader",
        "noconvert",
        "allocations",
        "allusers",
        "local",
    ),
)
VALUES = (*FILTERS, "format", "delimiter", "starttime", "endtime", "state", "jobs")


def second(text: str) -> int:
    try:
        return timegm(strptime(text, TIME_FORMAT))
    except ValueError:
        sys.exit(f"Invalid time specification (pos=0): {text}")


def number(text: str) -> int | None:
    return None if text in UNKNOWN else int(text)


def jobs_of(rows: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Each run with its steps."""
    jobs: list[list[dict[str, str]]] = []
    for row in rows:
        if "." in row["JobID"]:
            jobs[-1].append(row)
        else:
            jobs.append([row])
    return jobs


def window(options: dict[str, str]) -> tuple[int, int]:
    """The seconds that -S and -E mean; an instant is taken for two."""
    if "starttime" not in options:
        return 0, 2**40
    begin = second(options["starttime"])
    end = begin if "state" in options else 2**40
    if "endtime" in options:
        end = second(options["endtime"])
    if end < begin:
        sys.exit("sacct: error: Start time requested is after end time.")
    return begin, max(end, begin + 1)


def in_window(row: dict[str, str], options: dict[str, str]) -> bool:
    """Whether sacct shows a run for -S, -E and -s."""
    codes = {name: code for code, name in CODES.items()}
    given = options["state"].split(",") if "state" in options else []
    states = [codes.get(state.upper(), state) for state in given]
    begin, end = window(options)
    unsupported = [state for state in states if state not in CODES]
    if unsupported:
        sys.exit(f"sacct: fatal: unrecognized job state value '{unsupported[0]}'")
    started, ended, eligible = (number(row[name]) for name in ("Start", "End", "Eligible"))
    if not states:
        return eligible is not None and eligible < end and (ended is None or ended >= begin)
    state = row["State"].split()[0]
    over = ended is not None and ended > begin
    ran = started is not None and started < end and (over or state in ("RUNNING", "SUSPENDED"))
    return any(
        (code in ENDED and CODES[code] == state and ended is not None and begin <= ended <= end)
        or (code == "R" and (over or state == "RUNNING") and ran)
        or (code == "S" and state == "SUSPENDED" and ran)
        for code in states
    )


def shown_of(run: list[dict[str, str]], options: dict[str, str]) -> list[dict[str, str]]:
    """The rows of a run: steps that do not touch the window are neither shown nor summed up."""
    if "allocations" in options:
        return [{**run[0], **dict.fromkeys(CPU_TIMES, "00:00:00")}]
    begin, end = window(options)
    steps = [
        step
        for step in run[1:]
        if (number(step["Start"]) or 0) <= end and (number(step["End"]) or end) >= begin
    ]
    if len(steps) == len(run) - 1:
        return run
    sums = {
        name: clock(sum(seconds(step.get(name, "0")) for step in steps))
        for name in CPU_TIMES
        if name in run[0]
    }
    return [{**run[0], **sums}, *steps]


def seconds(text: str) -> float:
    """The CPU time `[[days-]hours:]minutes:seconds[.fraction]`."""
    days, _, rest = text.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = total * 60 + float(part)
    return total + int(days or 0) * 86400


def clock(total: float) -> str:
    """The other way round."""
    if total < 3600:
        return f"{int(total // 60):02}:{total % 60:06.3f}"
    return f"{int(total // 3600):02}:{int(total // 60 % 60):02}:{int(total % 60):02}"


def wanted(row: dict[str, str], ids: list[str]) -> bool:
    """Whether -j names a job: by its id, its raw id, or that of its array or het job."""
    job_id = row["JobID"]
    family = job_id.partition("_")[0].partition("+")[0]
    return any(one in (job_id, row["JobIDRaw"], family) for one in ids)


def options_of(arguments: Iterable[str]) -> dict[str, str]:
    """The options by their long names; `--name value` is `--name=value`."""
    options, rest = {}, iter(arguments)
    for argument in rest:
        name, given, value = SHORT.get(argument, argument.removeprefix("--")).partition("=")
        if name not in (*FLAGS, *VALUES):
            sys.exit(f"sacct: unrecognized option '{argument}'")
        options[name] = value if given or name in FLAGS else next(rest)
    return options


def text_of(name: str, value: str) -> str:
    """A value as it is printed: a time in UTC, unless epoch seconds are wanted."""
    if name in TIMES and value.isdecimal() and os.environ.get("SLURM_TIME_FORMAT") != "%s":
        return strftime(TIME_FORMAT, gmtime(int(value)))
    return value


def main(rows_file: str, *arguments: str) -> None:
    rows = [json.loads(line) for line in Path(rows_file).read_text().splitlines()]
    named = [name for row in rows for name in row]
    columns = list(dict.fromkeys([*named, "ReqTRES"]))  # of every sacct; the captured rows lack it
    if arguments == ("--version",):
        print("slurm-wlm 22.05.8")
        return
    if arguments == ("--helpformat",):
        print("\n".join("  ".join(columns[at : at + 4]) for at in range(0, len(columns), 4)))
        return
    options = options_of(arguments)
    names = options["format"].split(",")
    for name in names:
        if name not in columns:
            sys.exit(f"sacct: fatal: Invalid field requested: {name!r}")
    runs = jobs_of(rows)
    if "jobs" in options:
        runs = [run for run in runs if wanted(run[0], options["jobs"].split(","))]
    if "jobs" not in options or "state" in options:
        runs = [run for run in runs if in_window(run[0], options)]
    for option, column in FILTERS.items():
        if option in options:
            runs = [run for run in runs if run[0].get(column) in options[option].split(",")]
    if "duplicates" not in options:
        last = {run[0]["JobID"]: run[0]["DBIndex"] for run in runs}
        runs = [
            run
            for run in runs
            if last[run[0]["JobID"]] == run[0]["DBIndex"] or run[0]["State"] == "RESIZING"
        ]
    delimiter = options.get("delimiter", "|")
    end = "" if "parsable2" in options else delimiter
    for run in runs:
        for row in shown_of(run, options):
            texts = (text_of(name, row.get(name, "")) for name in names)
            sys.stdout.write(delimiter.join(texts) + f"{end}\n")


main(*sys.argv[1:])
