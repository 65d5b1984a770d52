"""Records as CSV for a spreadsheet: a column for each meta key, component and score.

Which columns there are is known after the last record only. So the answer is written to a temporary
file first, which costs disk and no memory, and is read again from there: one query, so that both
readings are of the same records. Nothing is printed when the answer breaks off.

A cell is a number, or a text. A cell with several values, with a value that begins with `[`, or
with control characters is a JSON array. Texts come from users: one that a spreadsheet would take
for a formula gets an apostrophe before it, as does one that begins with an apostrophe already, so
that taking away one leading apostrophe gives each text back.
"""

import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC
from typing import BinaryIO, TextIO

import click
import msgspec

from collector.auditor.reading import StoredRecord
from collector.record import Record, instant_text

_FIXED = ("record_id", "start_time", "stop_time", "runtime_s")
_COLUMNS_LIMIT = 16_384
"""A spreadsheet has no more."""
_FORMULA = tuple("=+-@'＝＋－＠")
"""What a formula begins with, as OWASP's page on CSV injection lists it, and our own mark."""

Column = tuple[str, ...]
"""`meta` and key, `component` and name, or `score`, the component's name and its own."""


def text_cell(text: str) -> str:
    """A text that no spreadsheet computes; without one leading apostrophe it is the text again."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA) or text[:1] in "\t\r\n" else text


def values_cell(values: Iterable[object]) -> str:
    """The one value; for any others a JSON array."""
    values = [*values]
    alone = str(values[0]) if len(values) == 1 else "["
    if alone.startswith("[") or not alone.isprintable():
        return json.dumps(values)
    return alone if isinstance(values[0], int | float) else text_cell(alone)


def write_csv(records: Iterable[Record], out: TextIO) -> None:
    """Writes a header and a row for each record, in their order.

    Raises:
        click.ClickException: for more columns than a spreadsheet has.
    """
    with tempfile.TemporaryFile() as spool:
        columns = sorted(_spooled(records, spool), key=_place)
        if len(columns) + len(_FIXED) > _COLUMNS_LIMIT:
            raise click.ClickException(
                f"{len(columns)} meta keys, components and scores: a spreadsheet has "
                f"{_COLUMNS_LIMIT} columns; ask for fewer records, or use --format json"
            )
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*_FIXED, *map(_title, columns)])
        spool.seek(0)
        for record in map(_decode, spool):
            cells = {column: values_cell(values) for column, values in _values(record).items()}
            writer.writerow([*_fixed(record), *(cells.get(column, "") for column in columns)])


_decode = msgspec.json.Decoder(StoredRecord).decode


def _spooled(records: Iterable[Record], spool: BinaryIO) -> set[Column]:
    columns: set[Column] = set()
    for record in records:
        spool.write(msgspec.json.encode(record) + b"\n")
        columns.update(_values(record))
    return columns


def _values(record: Record) -> dict[Column, list[object]]:
    """Column → what a record has there: more than one value if it has more of one name."""
    found: dict[Column, list[object]] = defaultdict(list)
    for key, values in (record.meta or {}).items():
        found["meta", key] += values
    for component in record.components:
        found["component", component.name].append(component.amount)
        for score in component.scores:
            found["score", component.name, score.name].append(score.value)
    return found


def _place(column: Column) -> tuple[bool, Column]:
    """Meta first; a component, then its scores."""
    return column[0] != "meta", (*column[1:2], *column[:1], *column[2:])


def _title(column: Column) -> str:
    """As `meta:site_id`, `component:Cores`, `score:Cores:HEPscore23`."""
    if len(column) > 2:  # noqa: PLR2004 - a score: its name may hold a colon, its component's must not
        kind, component, name = column
        column = (kind, component.replace("%", "%25").replace(":", "%3A"), name)
    return values_cell([":".join(column)])


def _fixed(record: Record) -> list[str]:
    stop, runtime = record.stop_time, record.runtime
    return [
        values_cell([record.record_id]),
        instant_text(record.start_time.astimezone(UTC)),
        "" if stop is None else instant_text(stop.astimezone(UTC)),
        "" if runtime is None else str(runtime),
    ]
