"""Turns what `sacct` prints into runs: pure text work, no commands, no files.

`sacct` escapes nothing: a user's `|` or newline in a job name, comment or WCKey is printed in its
output as it was typed. Rows are therefore framed by a delimiter that no user can write: the
unit separator while all columns are the scheduler's own, and a random token as soon as one of
them holds free text (`Columns.delimiter`). A row that does not fit the frame ends the reading with
an error; it is never treated as another row.
"""

import codecs
import itertools
from collections.abc import Iterable, Iterator

from collector.source import Value
from collector_slurm.columns import PEAKS, USAGE, Columns, value_of
from collector_slurm.run import Run


class OutputError(ValueError):
    """Raised for output that is not what `sacct` prints for the columns it was asked for."""


def rows_of(chunks: Iterable[bytes], columns: Columns) -> Iterator[tuple[str, ...]]:
    """Cuts the output of `sacct --parsable --noheader` into rows.

    Args:
        chunks: the output, cut anywhere.
        columns: what was asked for.

    Returns:
        The texts of each row, in the order of its columns; the first one begins with a newline.

    Raises:
        OutputError: at the end, when the output does not hold whole rows of these columns.
    """
    return itertools.chain.from_iterable(_tables_of(chunks, columns))


def _tables_of(chunks: Iterable[bytes], columns: Columns) -> Iterator[Iterable[tuple[str, ...]]]:
    """The rows that end in each chunk; a row's newline counts as the beginning of the next."""
    width, delimiter = len(columns.names), columns.delimiter
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = "\n"
    for chunk in itertools.chain(chunks, [b""]):
        *fields, rest = (rest + decode(chunk, final=not chunk)).split(delimiter)
        left = len(fields) % width
        if left:
            rest = delimiter.join((*fields[-left:], rest))
            del fields[-left:]
        yield zip(*[iter(fields)] * width, strict=True)
    if rest != "\n":
        raise OutputError(f"the output ends within a row: {rest.lstrip()[:80]!r}")


def runs_of(chunks: Iterable[bytes], columns: Columns) -> Iterator[Run]:
    """Reads runs, each with the peaks of its steps, whose rows follow it.

    Args:
        chunks: the output of `sacct --parsable --noheader`, cut anywhere.
        columns: what was asked for.

    Raises:
        OutputError: for output that is not whole rows of these columns, for a row without a
            DBIndex, Cluster or JobID, and for a step that does not follow its own run.
    """
    fields_of = columns.reader()
    peaks = [(at, name) for at, name in enumerate(columns.names) if name in PEAKS]
    usage = columns.names.index(USAGE) if USAGE in columns.names else 0  # not asked: not missed
    run: Run | None = None
    head, steps = "", ""  # how the rows of the run's steps begin, and their ids
    for texts in rows_of(chunks, columns):
        if texts[0] == head and texts[2].startswith(steps):
            assert run is not None
            for at, name in peaks:
                if text := texts[at]:
                    _raise(run.fields, name, text)
            if texts[usage]:
                run.steps_told = True
            else:
                run.steps_silent = True
            continue
        if run is not None:
            yield run
        index, cluster, job_id = texts[:3]
        if index[:1] != "\n" or not index[1:].isdecimal():
            raise OutputError(
                f"expected a DBIndex at the start of a row, found {index.strip()[:80]!r}"
            )
        if "." in job_id:
            raise OutputError(f"step {job_id} follows no row of its job")
        run = Run(fields_of(texts))
        if not cluster or not job_id:
            raise OutputError(f"a row has no JobID or no Cluster: {str(run.fields)[:200]}")
        head, steps = index, f"{job_id}."
    if run is not None:
        yield run


def _raise(fields: dict[str, Value], name: str, text: str) -> None:
    """Puts the peak of a step to those before; the mapping reports a text that is no size."""
    peak = int(text) if text.isdecimal() else value_of(name, text)
    before = fields.get(name)
    if isinstance(peak, int) and isinstance(before, int):
        peak = max(peak, before)
    if peak is not None and not isinstance(before, str):
        fields[name] = peak
