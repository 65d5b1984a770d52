"""Runs a scheduler's commands: argument lists, no shell, a time-out, an honest ending.

The output is passed on while it is read, so memory is bounded however much it is. It is *complete*
only when the iteration ends without an exception: what was read before an error must not move a
checkpoint.

A command has a process group of its own. However it ends (well, with an error, by its time-out, or
because the program stops), nothing of that group is left: a wrapper script that hangs in `ssh`
would otherwise leave one more hanging client behind with each poll.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import IO

from collector.source.contract import SourceError

_CHUNK_BYTES = 1 << 18
_LOOK_S = 0.5
_SHOWN_BYTES = 2000


class StoppedError(Exception):
    """Raised when the program is to end while a command still runs."""


class TimedOutError(SourceError):
    """Raised for a command that did not end in time; what it is asked for may be too much."""


class FailedError(SourceError):
    """Raised for a command that ended with a status other than 0."""

    def __init__(self, shown: str, status: int, said: str) -> None:
        super().__init__(f"{shown}: exit status {status}: {said or 'it gave no reason'}")
        self.said = said
        """The end of its standard error."""


def output_of(
    arguments: Sequence[str],
    timeout_s: float,
    stop: threading.Event,
    environment: Mapping[str, str] | None = None,
    on_said: Callable[[str], None] | None = None,
) -> Generator[bytes, None, None]:
    """Runs a command and gives what it prints, piece by piece.

    Args:
        arguments: program and arguments.
        timeout_s: seconds that we wait for the command, altogether, whether it is silent or prints
            a byte now and then; what the caller does between two pieces does not count.
        stop: ends the waiting.
        environment: variables for the command; ours where not given.
        on_said: called when the command ended with status 0, with the end of its standard error.
            The caller then decides what an error without output means; without it, that is a
            failure.

    Yields:
        Pieces of the standard output, cut anywhere.

    Raises:
        FailedError: when it fails.
        TimedOutError: when it takes too long.
        SourceError: when it is not there, or prints nothing but an error.
        StoppedError: when `stop` was set.
    """
    shown = " ".join(arguments)
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise SourceError(
                f"{arguments[0]} cannot be run: {error.strerror}; install the scheduler's "
                "commands, or say where they are"
            ) from error
        with process:
            try:
                empty = True
                for chunk in _read(process, timeout_s, stop, shown):
                    empty = False
                    yield chunk
            finally:
                _end_group(process)
        status, said = process.returncode, _end_of(errors)
    if status:
        raise FailedError(shown, status, said)
    if on_said is not None:
        on_said(said)
    elif empty and "error:" in said.lower():
        raise SourceError(f"{shown}: printed no rows, but {said}")


def _read(
    process: subprocess.Popen[bytes], timeout_s: float, stop: threading.Event, shown: str
) -> Iterator[bytes]:
    """What a command prints, until it closes its output and ends."""
    waited_s, silent = 0.0, True
    assert process.stdout is not None

    def raise_if_over() -> None:
        if stop.is_set():
            raise StoppedError(shown)
        if waited_s >= timeout_s:
            what = "gave nothing more" if silent else "did not come to its end"
            raise TimedOutError(
                f"{shown}: {what} for {timeout_s:g} s (timeout_s); is what it asks overloaded?"
            )

    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            raise_if_over()
            before = time.monotonic()
            ready = selector.select(max(0.0, min(_LOOK_S, timeout_s - waited_s)))
            waited_s += time.monotonic() - before
            silent = not ready
            if ready:
                chunk = os.read(process.stdout.fileno(), _CHUNK_BYTES)
                if not chunk:
                    break
                yield chunk
    pause_s = 0.001
    while not _has_ended(process):  # its output is closed: nearly always at once
        silent = False
        raise_if_over()
        before = time.monotonic()
        time.sleep(pause_s)
        waited_s += time.monotonic() - before
        pause_s = min(2 * pause_s, _LOOK_S)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a command has ended; its id stays reserved, so that its group can still be named."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of a command: itself and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_of(errors: IO[bytes]) -> str:
    """The last lines of the standard error."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _SHOWN_BYTES))
    return " | ".join(errors.read().decode(errors="replace").split("\n")).strip(" |")
