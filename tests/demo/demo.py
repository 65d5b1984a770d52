"""`make demo`: real accounting of HTCondor and Slurm into an Auditor, on this machine, in seconds.

Starts the embedded Auditor on loopback and the daemon beside it, lets an HTCondor pool and two
Slurm clusters account what they really accounted once (the first half before the daemon starts, the
rest while it runs, with the history rotated in between), and shows what came out.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.record import Record

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SPOOL = HERE / "spool"
CASES = ROOT / "tests" / "testcases" / "slurm"
JOBCOMP = CASES / "jobcomp" / "jobcomp.log"
SACCT_ROWS = CASES / "sacct" / "rows.jsonl"
SACCT = ROOT / "tests" / "slurm" / "standin_sacct.py"
HALFWAY = 1795478805
"""A moment at which jobs of the captured sacct rows were running, in seconds since 1970."""
SOURCES = ("ap1", "slurm1", "slurm2")
WORK = ROOT / ".demo"
COMMAND = Path(sys.executable).with_name("auditor-collector")
LIMIT_S = 45


def main() -> None:
    """Runs the demo; exits with 1 if anything is not as it should be."""
    shutil.rmtree(WORK, ignore_errors=True)
    try:
        (WORK / "spool").mkdir(parents=True)
    except OSError as error:
        sys.exit(f"demo: {WORK} cannot be made: {error.strerror}; use a checkout of your own")
    with started("serve-auditor", "--db", "auditor.db", "--listen", "127.0.0.1:0") as auditor:
        assert auditor.stdout is not None
        url = auditor.stdout.readline().removeprefix("listening on ").strip()
        config = (HERE / "config.yaml").read_text().replace("http://127.0.0.1:8000", url)
        (WORK / "config.yaml").write_text(config)
        say(f"An Auditor listens on {url}; its records are in .demo/auditor.db")
        write_first_half()
        say("An HTCondor pool and two Slurm clusters have run jobs:")
        show("check")
        with started("run"):
            say("The daemon runs. It reads what is there ...")
            wait_until_drained()
            write_second_half()
            say(
                "... the schedd rotates its history, running jobs end, all write on; it follows ..."
            )
            wait_until_drained(at_least=2)
        say("... and has been told to end (SIGTERM). What it says of itself:")
        show("status")
        say("What was refused, and why:")
        show("rejected", "list")
        client = AuditorClientBuilder().connection_string(url).build_blocking()
        with client:
            say("What the Auditor now holds:")
            print(table(client))
            say(
                "The same period once more, as a backfill. All is there already, but for the line"
                " that cannot be read."
            )
            show("backfill", "--since", "2026-11-23", "--until", "2026-11-25", failing=True)
    say(
        """Files: .demo/ has config.yaml, outbox.db, auditor.db and the logs (*.log).
  Try next, from that folder:
    ../.venv/bin/auditor-collector serve-auditor --db auditor.db    # and open its address
    ../.venv/bin/auditor-collector rejected show 1 -c config.yaml
  Then: README.md, "Configuration in five minutes"."""
    )


def say(text: str) -> None:
    """Prints a line of the story."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


@contextlib.contextmanager
def started(command: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a command in the background, and ends it with SIGTERM."""
    with (WORK / f"{command}.log").open("w") as log:
        process = subprocess.Popen(
            [str(COMMAND), command, *args, *(() if args else ("--config", "config.yaml"))],
            cwd=WORK,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=LIMIT_S)


def show(*args: str, failing: bool = False) -> None:
    """Runs a command and shows it with its output."""
    print(f"$ auditor-collector {' '.join(args)}", flush=True)
    done = run(*args)
    print(done.stdout.rstrip(), flush=True)
    if done.returncode and not failing:
        sys.exit(f"{done.stderr}\nthe demo failed: exit status {done.returncode}")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, in the demo's folder."""
    return subprocess.run(
        [str(COMMAND), *args, "--config", "config.yaml"],
        cwd=WORK,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def write_first_half() -> None:
    """The schedd's older file is its only one so far; Slurm's jobs have half ended, half begun."""
    shutil.copy(SPOOL / "history.20261123T190033", WORK / "spool" / "history")
    lines = JOBCOMP.read_bytes().splitlines(keepends=True)
    (WORK / "jobcomp.log").write_bytes(b"".join(lines[: len(lines) // 2]))
    rows = [json.loads(line) for line in SACCT_ROWS.read_text().splitlines()]
    seen = [as_seen(row) for row in rows if row["Start"].isdigit() and int(row["Start"]) <= HALFWAY]
    (WORK / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seen))
    sacct = WORK / "sacct"
    sacct.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{SACCT}" rows.jsonl "$@"\n')
    sacct.chmod(0o755)


def as_seen(row: dict[str, str]) -> dict[str, str]:
    """A row of sacct as it was halfway: what ends later was running."""
    if row["End"].isdigit() and int(row["End"]) <= HALFWAY:
        return row
    return {**row, "State": "RUNNING", "End": "Unknown"}


def write_second_half() -> None:
    """The history is rotated and begun anew; Slurm's jobs end."""
    history = WORK / "spool" / "history"
    history.rename(history.with_name("history.20261123T190033"))
    shutil.copy(SPOOL / "history", history)
    lines = JOBCOMP.read_bytes().splitlines(keepends=True)
    with (WORK / "jobcomp.log").open("ab") as log:
        log.writelines(lines[len(lines) // 2 :])
    shutil.copy(SACCT_ROWS, WORK / "rows.new")
    (WORK / "rows.new").rename(WORK / "rows.jsonl")


def wait_until_drained(at_least: int = 1) -> None:
    """Waits until every source has read something that many times, and nothing waits."""

    def drained() -> bool:
        status = json.loads(run("status", "--json").stdout or "{}")
        return status.get("waiting") == 0 and min(map(polls, SOURCES)) >= at_least

    wait(drained)


def polls(source: str) -> int:
    """How many polls of a source have found jobs, by the daemon's log."""
    events = map(json.loads, (WORK / "run.log").read_text().splitlines())
    return sum(one["event"] == "polled" and one["source"] == source for one in events)


def wait(holds: Callable[[], bool]) -> None:
    """Waits until something holds; gives up with the daemon's log."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            sys.exit((WORK / "run.log").read_text() + "\nthe demo failed: it took too long")
        time.sleep(0.2)


def table(client: AuditorClientBlocking) -> str:
    """Core-hours by site, group and user."""
    jobs: dict[tuple[str, str, str], int] = defaultdict(int)
    core_s: dict[tuple[str, str, str], int] = defaultdict(int)
    for record in client.stream_query():
        key = (first(record, "site_id"), first(record, "group_id"), first(record, "user_id"))
        jobs[key] += 1
        core_s[key] += cores(record) * (record.runtime or 0)
    rows = [("site", "group", "user", "jobs", "core-hours")]
    rows += [(*key, str(jobs[key]), f"{core_s[key] / 3600:.3f}") for key in sorted(jobs)]
    rows.append(("", "", "all", str(sum(jobs.values())), f"{sum(core_s.values()) / 3600:.3f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column > 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def first(record: Record, key: str) -> str:
    """The first value of a meta key."""
    return (record.meta or {}).get(key, ["-"])[0]


def cores(record: Record) -> int:
    """The amount of the component Cores."""
    return next((one.amount for one in record.components if one.name == "Cores"), 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("demo: stopped; what it started has ended, and .demo/ can be removed")
