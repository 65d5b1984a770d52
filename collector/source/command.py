"""Runs a scheduler's commands: argument lists, no shell, a time-out, an honest ending.

The output is handed on while it is read, so memory is bounded however much it is. It is *complete*
only when the iteration ends without an exception: what was read before an error must not move a
checkpoint.
"""

import os
import selectors
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from collector.source import SourceError

_CHUNK_BYTES = 1 << 18
_LOOK_S = 0.5
_SHOWN_BYTES = 2000


class StoppedError(Exception):
    """Raised when the program is to end while a command still runs."""


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
) -> Iterator[bytes]:
    """Runs a command and gives what it prints, piece by piece.

    Args:
        arguments: program and arguments.
        timeout_s: seconds that we wait for the command, altogether; what the caller does between
            two pieces does not count.
        stop: ends the waiting.
        environment: variables for the command; ours where not given.

    Yields:
        Pieces of the standard output, cut anywhere.

    Raises:
        FailedError: when it fails.
        SourceError: when it is not there, takes too long, or prints nothing but an error.
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
                assert process.stdout is not None
                for chunk in _read(process.stdout, timeout_s, stop, shown):
                    empty = False
                    yield chunk
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired as error:
                raise SourceError(f"{shown}: did not end within {timeout_s:g} s") from error
            finally:
                if process.poll() is None:
                    process.kill()
        said = _end_of(errors)
    if status:
        raise FailedError(shown, status, said)
    if empty and "error:" in said.lower():
        raise SourceError(f"{shown}: printed no rows, but {said}")


def _read(
    stdout: IO[bytes], timeout_s: float, stop: threading.Event, shown: str
) -> Iterator[bytes]:
    """What a command prints, until it closes its output."""
    waited_s = 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if stop.is_set():
                raise StoppedError(shown)
            before = time.monotonic()
            ready = selector.select(min(_LOOK_S, timeout_s))
            waited_s += time.monotonic() - before
            if ready:
                chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk
            elif waited_s >= timeout_s:
                raise SourceError(
                    f"{shown}: gave nothing more for {waited_s:.0f} s; is what it asks overloaded? "
                    "A shorter window_s asks for less at once"
                )


def _end_of(errors: IO[bytes]) -> str:
    """The last lines of the standard error."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _SHOWN_BYTES))
    return " | ".join(errors.read().decode(errors="replace").split("\n")).strip(" |")
