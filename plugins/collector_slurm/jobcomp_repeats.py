"""Finds in the log itself whether a job that comes again has run before.

Slurm 26.05 writes no line for a job that is requeued after its end: nothing announces its next
run, and the two differ by their starts only. To remember the start of every job would take a
checkpoint as large as the log, so it holds which numbers were read (they count up, so that is a few
ranges), and for a number that comes again the log is searched for the first line with it.
"""

import contextlib
import re
from collections.abc import Collection, Container, Iterator

import msgspec

from collector.source import SourceError
from collector_slurm.jobcomp_checkpoint import UNPACKED, JobcompCheckpoint
from collector_slurm.jobcomp_text import Entry, values_of
from collector_slurm.rotation import Part, lines_of

_NUMBER = re.compile(rb"JobId=(\d{1,19}) ")


class FirstLine(msgspec.Struct, frozen=True):
    """The values of the first line that the log has with a job's number."""

    values: dict[str, str]


def number_of(line: bytes) -> int | None:
    """The number of the job that a line begins with."""
    found = _NUMBER.match(line)
    return int(found[1]) if found else None


def repeated_in(entries: Collection[Entry], known: Container[int]) -> set[int]:
    """The numbers of jobs that have an entry here and one before."""
    seen: set[int] = set()
    repeated = set()
    for entry in entries:
        number = number_of(entry.text)
        if number is not None:
            if number in seen or number in known:
                repeated.add(number)
            seen.add(number)
    return repeated


def first_lines(
    parts: list[Part], current: Part, end: int, numbers: Collection[int]
) -> dict[int, FirstLine]:
    """Searches the log from its beginning for the first lines of jobs.

    Args:
        parts: the files of the log, oldest first.
        current: the last of them to search.
        end: how far to search it, in bytes.
        numbers: of the jobs.
    """
    found: dict[int, FirstLine] = {}
    for part in parts:
        position = 0
        with contextlib.suppress(SourceError):  # what cannot be read is reported where it is read
            for line in lines_of(part, 0):
                position += len(line)
                if part.head == current.head and position > end:
                    break
                number = number_of(line)
                if number is not None and number in numbers and number not in found:
                    with contextlib.suppress(ValueError):
                        found[number] = FirstLine(values_of(line.decode("utf-8", "replace")))
        if part.head == current.head:
            break
    return found


def numbers_before(parts: list[Part], at: JobcompCheckpoint) -> Iterator[int]:
    """The numbers of the jobs that were read: for a checkpoint of a release that did not keep them.

    Args:
        parts: the files of the log, oldest first.
        at: how far each of them was read.
    """
    for part in parts:
        end = (at.positions or {}).get(part.head, 0)
        position = 0
        with contextlib.suppress(SourceError):  # what cannot be read is reported where it is read
            for line in lines_of(part, 0):
                position += len(line)
                if end != UNPACKED and position > end:
                    break
                number = number_of(line)
                if number is not None:
                    yield number
