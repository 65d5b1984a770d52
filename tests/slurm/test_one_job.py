"""`SlurmSource.one`: what an epilog asks for is read quickly, and only when all of it is known."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collector_slurm.source import SlurmSource
from tests.slurm.standin import quiet, row, source, standin, written

NOW = datetime.fromtimestamp(1795478165, UTC)
"""Five seconds after the end of the runs."""
USED = {"TRESUsageOutTot": "energy=0", "TotalCPU": "00:05.000", "MaxRSS": "1024"}
SILENT = {"TRESUsageOutTot": "", "TotalCPU": "00:00:00", "MaxRSS": ""}


def answering(folder: Path, *answers: list[dict[str, str]], **keys: Any) -> SlurmSource:
    """A source whose sacct gives these rows, one answer after the other, and notes each call."""
    numbers = range(1, len(answers) + 1)
    for number, rows in zip(numbers, answers, strict=True):
        (folder / str(number)).mkdir()
        standin(folder / str(number), written(folder / str(number), rows))
    path, here = folder / "sacct", shlex.quote(str(folder))
    path.write_text(
        f'#!/bin/sh\n[ $1 = --helpformat ] || echo "$*" >> {here}/calls\n'
        f"touch {here}/calls; number=$(grep -c . {here}/calls)\n"
        f"[ $number -le {len(answers)} ] || number={len(answers)}\n"
        f'[ $number -ge 1 ] || number=1\nexec {here}/$number/sacct "$@"\n'
    )
    path.chmod(0o755)
    return source(quiet(NOW), sacct=str(path), **keys)


def calls(folder: Path) -> int:
    """How often slurmdbd was asked."""
    return len((folder / "calls").read_text().splitlines())


def test_a_job_is_read_with_two_cheap_calls(tmp_path: Path):
    """With the CPU time and the peaks of its steps, and the id that its first run has."""
    first = row("7", DBIndex="7", State="REQUEUED", **SILENT)
    second = row("7", DBIndex="8", Submit="1795478160", Start="1795478200", End="1795478260")
    given = answering(tmp_path, [first, second | USED, row("7.batch", DBIndex="8", **USED)])
    assert [(job.id, job.fields.get("MaxRSS")) for job in given.one("7").jobs] == [
        ("7", None),
        ("7-1795478200", 1024),
    ]
    assert calls(tmp_path) == 2


def test_an_end_that_slurmdbd_hears_of_a_moment_later_is_waited_for(tmp_path: Path):
    """slurmctld starts the epilog as it tells slurmdbd; the second look finds most."""
    running = row("7", State="RUNNING", End="Unknown")
    (job,) = answering(tmp_path, [running], [row("7")]).one("7").jobs
    assert job.stop_at is not None
    assert calls(tmp_path) == 2


def test_an_end_that_slurmdbd_does_not_hear_of_is_left_to_the_polls(tmp_path: Path):
    """After the second look: an epilog is not to wait."""
    given = answering(tmp_path, [row("7", State="RUNNING", End="Unknown")])
    assert given.one("7").read == 0
    assert calls(tmp_path) == 2


@pytest.mark.parametrize(
    ("state", "steps", "taken"),
    [
        ("COMPLETED", [USED, SILENT], False),
        ("CANCELLED by 1000", [SILENT], False),
        ("TIMEOUT", [USED], True),
        ("CANCELLED by 1000", [], True),
        ("COMPLETED", [SILENT], True),
        ("RESIZING", [SILENT], False),
    ],
)
def test_a_run_is_left_to_the_polls_while_its_steps_have_not_told_their_usage(
    tmp_path: Path, state: str, steps: list[dict[str, str]], taken: bool
):
    """A job that is cancelled ends before its processes do: until then it has no CPU time.

    Where Slurm gathers no usage, no step of any job has some: what ended by itself is taken.
    """
    rows = [row(f"7.{number}", **usage) for number, usage in enumerate(steps)]
    given = answering(tmp_path, [row("7", State=state, **USED), *rows])
    assert given.one("7").read == taken


def test_the_last_run_of_a_requeued_job_is_waited_for(tmp_path: Path):
    """The runs before it are known long since, and say nothing of it."""
    first = row("7", State="REQUEUED", **USED)
    begun = {"Submit": "1795478160", "Start": "1795478161"}
    running = row("7", DBIndex="2", State="RUNNING", **begun, End="Unknown")
    over = row("7", DBIndex="2", **begun, End="1795478164")
    given = answering(tmp_path, [first, running], [first, over])
    assert {job.id for job in given.one("7").jobs} == {"7", "7-1795478161"}


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        ({"partitions": ["batch"]}, True),
        ({"partitions": ["gpu"]}, False),
        ({"states": ["CD"]}, True),
        ({"states": ["F", "TO"]}, False),
        ({"states": ["F", "TO"], "track_running": True}, False),
        ({"states": ["CD"], "track_running": True}, True),
    ],
)
def test_what_the_polls_leave_out_is_left_out(tmp_path: Path, keys: dict[str, Any], taken: bool):
    """Two sources may share a cluster by partition: the epilog of one reads no job of the other."""
    assert answering(tmp_path, [row("7")], **keys).one("7").read == taken
