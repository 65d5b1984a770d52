"""Commands are run as they should be: no shell, a time-out, an honest ending."""

import contextlib
import subprocess
import threading
import time
from pathlib import Path

import pytest

from collector.source import SourceError
from collector.source.command import StoppedError, TimedOutError, output_of
from collector_slurm.command import environment
from tests.helpers.site import eventually
from tests.slurm.standin import program


def run(folder: Path, script: str, *arguments: str, timeout_s: float = 20) -> bytes:
    command = [program(folder, script), *arguments]
    return b"".join(output_of(command, timeout_s, threading.Event(), environment()))


def test_times_are_asked_for_in_utc_and_epoch_seconds(tmp_path: Path):
    """Whatever the daemon's own zone and habits are."""
    assert run(tmp_path, 'echo "$TZ $SLURM_TIME_FORMAT"') == b"UTC %s\n"
    given = {"SLURM_CONF": "/etc/slurm.conf", "SACCT_FORMAT": "jobid", "SLURM_CLUSTERS": "other"}
    given |= {"SLURM_BITSTR_LEN": "9", "LC_ALL": "de_DE.UTF-8"}
    kept = environment({**given, "TZ": "Europe/Berlin", "SLURM_TIME_FORMAT": "relative"})
    assert kept["SLURM_CONF"] == "/etc/slurm.conf"
    assert (kept["TZ"], kept["SLURM_TIME_FORMAT"]) == ("UTC", "%s")
    assert kept["LC_ALL"] == "C.UTF-8"
    assert not {"SACCT_FORMAT", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN"} & set(kept)


def test_arguments_are_never_a_shells(tmp_path: Path):
    """An account called `$(id)` is an account."""
    assert run(tmp_path, 'printf %s "$1"', "--accounts=$(id); rm *") == b"--accounts=$(id); rm *"


def test_output_larger_than_any_pipe_is_read_whole(tmp_path: Path):
    """Ten megabytes come through, beside a chatty standard error."""
    script = "yes sacct-says-something | head -c 300000 >&2; head -c 10000000 /dev/zero"
    assert len(run(tmp_path, script)) == 10_000_000


def test_a_failure_is_an_error_with_slurms_own_words(tmp_path: Path):
    """An outage of slurmdbd is exit 1 and empty output: an outage, not `no jobs`."""
    script = 'echo "sacct: error: Problem talking to the database: Connection refused" >&2; exit 1'
    with pytest.raises(SourceError, match=r"exit status 1: .*Connection refused"):
        run(tmp_path, script)


def test_output_before_a_failure_does_not_hide_it(tmp_path: Path):
    """A command that breaks off after some rows has failed."""
    output = output_of([program(tmp_path, "echo rows; exit 139")], 20, threading.Event())
    assert next(output) == b"rows\n"
    with pytest.raises(SourceError, match="exit status 139"):
        next(output)


def test_nothing_but_an_error_is_an_error_even_with_exit_0(tmp_path: Path):
    """Older releases of sacct end well while slurmdbd is away."""
    with pytest.raises(SourceError, match="printed no rows, but sacct: error: no database"):
        run(tmp_path, "echo sacct: error: no database >&2; exit 0")
    assert run(tmp_path, "echo sacct: error: old option >&2; echo row") == b"row\n"


def test_a_command_that_hangs_is_ended(tmp_path: Path):
    """It is killed, with what it started kept from our pipes."""
    with pytest.raises(SourceError, match="gave nothing more"):
        run(
            tmp_path, "echo $$ > pid; exec sleep 600".replace("pid", f"{tmp_path}/pid"), timeout_s=1
        )
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_slow_reader_is_not_a_slow_command(tmp_path: Path):
    """Only the time that we wait for the command counts."""
    seen = b""
    command = [program(tmp_path, "head -c 400000 /dev/zero")]
    for piece in output_of(command, 0.4, threading.Event()):
        time.sleep(0.15)
        seen += piece
    assert len(seen) == 400_000


def test_a_command_that_is_not_there_is_named(tmp_path: Path):
    """The message says what to do."""
    with pytest.raises(SourceError, match=r"sacct cannot be run: No such file .* install"):
        list(output_of([str(tmp_path / "sacct")], 1, threading.Event()))


def test_the_end_of_the_program_ends_the_waiting(tmp_path: Path):
    """A stop event that is set meanwhile leaves nothing running."""
    stop = threading.Event()
    command = [program(tmp_path, f"echo $$ > {tmp_path}/pid; echo row; exec sleep 600")]
    output = output_of(command, 600, stop)
    assert next(output) == b"row\n"
    stop.set()
    with pytest.raises(StoppedError):
        next(output)
    pid = int((tmp_path / "pid").read_text())
    assert subprocess.run(["kill", "-0", str(pid)], check=False, capture_output=True).returncode


WRAPPERS = {
    "hangs": "sleep {mark}; true",
    "trickles": "sleep {mark} & while :; do echo row; sleep 0.1; done",
    "closes its output and stays": "exec >&-; sleep {mark}; true",
    "ends well before what it started": "sleep {mark} >/dev/null 2>&1 & echo row",
    "fails before what it started": "sleep {mark} >/dev/null 2>&1 & exit 3",
}


@pytest.mark.parametrize("script", WRAPPERS.values(), ids=WRAPPERS)
def test_nothing_is_left_of_a_command(tmp_path: Path, script: str):
    """A site's wrapper, `#!/bin/sh` and `ssh head sacct "$@"` without exec, ends with all that it
    started, and within its time.
    """
    mark = f"{600 + time.monotonic_ns() % 10**9 / 10**9:.9f}"
    before = time.monotonic()
    with contextlib.suppress(SourceError):
        run(tmp_path, script.format(mark=mark), timeout_s=0.5)
    assert time.monotonic() - before < 5
    eventually(lambda: not running(mark))  # it was killed; the kernel takes its time


def test_nothing_is_left_of_a_command_whose_reader_gives_up(tmp_path: Path):
    """A batch could not be stored: the rest of the output is not read."""
    mark = f"{600 + time.monotonic_ns() % 10**9 / 10**9:.9f}"
    output = output_of([program(tmp_path, f"echo row; sleep {mark}; true")], 9, threading.Event())
    assert next(output) == b"row\n"
    assert running(mark)
    output.close()
    assert not running(mark)


@pytest.mark.parametrize("script", list(WRAPPERS.values())[:3], ids=list(WRAPPERS)[:3])
def test_a_time_out_is_known_as_one(tmp_path: Path, script: str):
    """Whether it is silent or prints a row now and then: the caller can ask for less."""
    with pytest.raises(TimedOutError, match="timeout_s"):
        run(tmp_path, script.format(mark=601), timeout_s=0.5)


def test_an_empty_answer_with_an_error_can_be_judged_by_the_caller(tmp_path: Path):
    """It gets what was said, after a good end only."""
    said: list[str] = []
    for script in ("echo sacct: error: harmless >&2", "echo broken >&2; exit 1"):
        command = [program(tmp_path, script)]
        with contextlib.suppress(SourceError):
            list(output_of(command, 9, threading.Event(), on_said=said.append))
    assert said == ["sacct: error: harmless"]


def running(mark: str) -> bool:
    """Whether a process with this argument is there."""
    found = subprocess.run(["pgrep", "-f", f"sleep {mark}"], check=False, capture_output=True)
    return found.returncode == 0
