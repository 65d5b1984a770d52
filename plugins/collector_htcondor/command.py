"""Asks a schedd through HTCondor's own commands, and gives the ads of a complete answer.

`-long` prints old-style ClassAd text, as it stands in a history file: an attribute a line, an empty
line behind each ad. No value can hold a newline, so nothing that a user writes can end an ad. (JSON
changes values, XML mangles text that is not ASCII, `-af` is ambiguous; and naming attributes saves
no time, while an ad that is rejected must be whole to be read again.)

An answer is kept in a temporary file until the command has ended well: nothing of one that breaks
off is ever used. `condor_history` prints the newest ad first; here the oldest is given first, so
that of a job that stands twice, because its schedd was killed, the first writing comes first.
"""

import contextlib
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator
from typing import IO

from collector.source import SourceError
from collector.source.command import FailedError, output_of

AD_LIMIT_BYTES = 64 * 2**20
_MALFORMED = "parse errors on history file"
"""What `condor_history -name` says, with exit status 1, after it has printed all that it could
read: a schedd's history with one broken ad would otherwise be closed to us until that is gone."""


class Answer:
    """The ads of one complete answer."""

    def __init__(self, file: IO[bytes], ends: "array[int]", *, malformed: bool) -> None:
        self._file, self._ends = file, ends
        self.malformed = malformed
        """Whether the schedd could not read all of its history."""

    def __len__(self) -> int:
        return len(self._ends)

    def ads(self) -> Iterator[bytes]:
        """The last printed first: each of its lines after a newline."""
        for number in range(len(self._ends) - 1, -1, -1):
            begin = self._ends[number - 1] if number else 0
            self._file.seek(begin)
            size = min(self._ends[number] - begin, AD_LIMIT_BYTES)
            yield b"\n" + self._file.read(size).strip(b"\n")


@contextlib.contextmanager
def answer(command: list[str], timeout_s: float, stop: threading.Event) -> Iterator[Answer]:
    """Runs a command with `-long` and gives its answer, inside the `with`.

    Args:
        command: program and arguments.
        timeout_s: seconds to wait for it.
        stop: ends the waiting.

    Raises:
        SourceError: when it cannot be run, takes too long, fails, or its output breaks off.
        StoppedError: when `stop` was set.
    """
    with tempfile.TemporaryFile() as file:
        malformed = False
        try:
            ends, size = _keep(output_of(command, timeout_s, stop), file)
        except FailedError as error:
            if _MALFORMED not in error.said:
                raise
            malformed = True
            file.seek(0)
            ends, size = _ends(iter(lambda: file.read(2**20), b""))
        if size != (ends[-1] if ends else 0):
            raise SourceError(f"{' '.join(command)}: the output ends within an ad")
        yield Answer(file, ends, malformed=malformed)


def _keep(chunks: Iterable[bytes], file: IO[bytes]) -> "tuple[array[int], int]":
    def kept() -> Iterator[bytes]:
        for chunk in chunks:
            file.write(chunk)
            yield chunk

    return _ends(kept())


def _ends(chunks: Iterable[bytes]) -> "tuple[array[int], int]":
    """Where each ad ends, behind its empty line, and how many bytes there are."""
    ends, size, last = array("q"), 0, b""
    for chunk in chunks:
        text = last + chunk
        begin = size - len(last)
        at = text.find(b"\n\n")
        while at >= 0:
            ends.append(begin + at + 2)
            at = text.find(b"\n\n", at + 2)
        size += len(chunk)
        last = b"" if text.endswith(b"\n\n") else text[-1:]
    return ends, size
