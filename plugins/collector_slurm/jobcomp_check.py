"""Checks a jobcomp log before it is read: what there is, and what its last lines say."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from collector.source import Finding, Unreadable, Value, guarded
from collector_slurm.jobcomp_lines import Line, Lines
from collector_slurm.jobcomp_text import Entry, values_of
from collector_slurm.names import HINT, count_numbers
from collector_slurm.rotation import Files, Part

_LAST_LINES = 100
_SHOWN_NEIGHBOURS = 5
_TAIL_BYTES = 1 << 20
"""Surely a hundred lines."""


def findings(
    path: Path,
    files: Files,
    lines: Lines,
    now: float,
    entries: Callable[[Part, int], Iterator[Entry]],
) -> Iterator[Finding]:
    """Says what there is of a log, and how many of its last lines would be rejected, and why.

    Args:
        path: of the log.
        files: what there is of it.
        lines: makes jobs of them.
        now: in epoch seconds.
        entries: of a part, from a position on.

    Raises:
        SourceError: when a file cannot be read.
    """
    size = sum(part.path.stat().st_size for part in files.parts)
    text = f"{path}: {len(files.parts)} files with {size} bytes, in time of {lines.zone}"
    if files.neighbours:
        names = ", ".join(one.name for one in files.neighbours[:_SHOWN_NEIGHBOURS])
        text += f"; not read, since no rotation of this log makes such a name: {names}"
    yield Finding(ok=True, text=text)
    for problem in files.problems:
        yield Finding.error(problem)
    last = list(_last_entries(files.parts, entries))
    rejected, numbers = Counter[str](), Counter[str]()
    example = ""
    for entry, where in last:
        found = guarded(lambda entry, _: _fields_of(entry, lines, now), entry, where)
        if isinstance(found, Unreadable):
            rejected[found.reason] += 1
            example = example or where
        else:
            count_numbers(found, numbers)
    if rejected:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in rejected.most_common(3))
        text = (
            f"{rejected.total()} of the last {len(last)} lines would be rejected: {reasons}; the "
            f"first is {example}"
        )
        most = rejected.total() > len(last) / 2
        yield Finding.error(text) if most else Finding.warning(text)
    if numbers:
        yield Finding.warning(
            f"of the last {len(last)} lines, {numbers['User']} have no name of their user and "
            f"{numbers['Group']} none of their group: these are accounted by number; {HINT}"
        )


def _last_entries(
    parts: list[Part], entries: Callable[[Part, int], Iterator[Entry]]
) -> Iterator[tuple[Entry, str]]:
    """The last entries of the log, the newest file's first."""
    wanted = _LAST_LINES
    for part in reversed(parts):
        size = part.size_bytes or 0
        tail = max(0, size - _TAIL_BYTES)
        found = deque(entries(part, _line_after(part, tail)), maxlen=wanted)
        yield from ((entry, f"{part.path}:{entry.position}") for entry in found)
        wanted -= len(found)
        if not wanted:
            return


def _line_after(part: Part, position: int) -> int:
    """Where the next line that looks like a job's begins."""
    if position == 0:
        return 0
    with part.path.open("rb") as file:
        file.seek(position)
        file.readline()
        while not (line := file.readline()).startswith(b"JobId=") and line:
            continue
        return file.tell() - len(line)


def _fields_of(entry: Entry, lines: Lines, now: float) -> dict[str, Value]:
    """The fields of an entry; none of one that is not to be accounted.

    Raises:
        ValueError: when it would be rejected.
    """
    if entry.broken:
        raise ValueError(entry.broken)
    line = Line(entry.text.decode("utf-8", "replace"), 0)
    values = values_of(line.text)
    if lines.left_out(values):
        return {}
    times = lines.times(values, line.after, now)
    return lines.job(line, values, times, "").fields
