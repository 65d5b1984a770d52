"""`auditor-collector report`: who used how much, of the records of an Auditor."""

import csv
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, TextIO

import click
import msgspec

from collector.cli.auditor_options import AskedAuditor, auditor_options
from collector.cli.options import CONTEXT, Instant
from collector.cli.records_csv import text_cell
from collector.logs import counted, printable
from collector.pipeline.usage import (
    MEASURES,
    Group,
    Measure,
    Sums,
    TooManyGroupsError,
    Usage,
    usage_of,
)

_Style = Literal["table", "csv", "json", "markdown"]


@click.command(context_settings=CONTEXT)
@auditor_options
@click.option(
    "--by",
    "keys",
    default="site,month",
    show_default=True,
    metavar="KEY,…",
    help="Sum by these: site, vo, group, user, year, month, day, or any meta key.",
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    type=click.Choice([*MEASURES]),
    default=["jobs", "core-hours", "cpu-efficiency"],
    help="What to show; may be repeated. [default: jobs, core-hours, cpu-efficiency]",
)
@click.option("--since", type=Instant(), help="Runs that stopped at this time or later.")
@click.option("--until", type=Instant(), help="Runs that stopped before this time.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
    help="csv and json also have the whole numbers that each figure is made of.",
)
def command(
    auditor: AskedAuditor,
    keys: str,
    measures: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    style: _Style,
) -> None:
    """Sum up what jobs used, by site, VO, user, month and the like.

    A run counts as a whole where it stopped, as in APEL: one that crosses the edge of a month is of
    the month of its stop time (UTC). Runs that have no stop time yet are in no sum; how many there
    are is said below it. Sums are exact; figures are rounded when they are shown.

    \b
    Example:
      auditor-collector report --by vo,month --since 2026-01-01 --until 2027-01-01
      auditor-collector report -c config.yaml --by user --measure core-hours --format csv

    Exit status: 0, or 1 if the Auditor could not be read in full; nothing is printed then.
    """
    names = [key.strip() for key in keys.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise click.UsageError(f"--by {keys!r}: expected keys with commas between, as vo,month")
    if since is not None and until is not None and since >= until:
        raise click.UsageError(f"--since {since} is not before --until {until}")
    with auditor.client() as client:
        try:
            usage = usage_of(client, names, since, until)
        except TooManyGroupsError as error:
            raise click.ClickException(str(error)) from error
    chosen = [MEASURES[name] for name in dict.fromkeys(measures)]
    _STYLES[style](usage, chosen, sys.stdout)


def _notes(usage: Usage, measures: list[Measure]) -> Iterator[str]:
    """What is in no sum, or counts as nothing in one."""
    total, exact = usage.total(), {name for measure in measures for name in measure.exact}
    if usage.open:
        yield f"{counted(usage.open, 'run')} without a stop time: not counted before the end"
    if usage.impossible:
        yield f"{counted(usage.impossible, 'record')} with a stop before the start: not counted"
    for name, number, component in (
        ("core_s", total.without_cores, "Cores"),
        ("memory_mib_s", total.without_memory, "Memory"),
    ):
        if name in exact and number:
            yield f"{counted(number, 'record')} without the component {component}: 0 hours of it"
    if "cpu_s" in exact and total.without_cpu:
        number = total.without_cpu
        yield f"{counted(number, 'record')} without the component TotalCPU: not in the efficiency"


def _json(usage: Usage, measures: list[Measure], out: TextIO) -> None:
    def figures(sums: Sums) -> dict[str, Any]:
        return {name: getattr(sums, name) for one in measures for name in one.exact} | {
            one.column: msgspec.Raw((one.shown(sums) or "null").encode()) for one in measures
        }

    document = {
        "by": usage.keys,
        "groups": [
            dict(zip(usage.keys, group, strict=True)) | figures(sums)
            for group, sums in usage.rows(measures[0])
        ],
        "total": figures(usage.total()),
        "open_records": usage.open,
        "impossible_records": usage.impossible,
        "notes": [*_notes(usage, measures)],
    }
    out.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def _csv(usage: Usage, measures: list[Measure], out: TextIO) -> None:
    shown = {one.column: one for one in measures}
    exact = [name for one in measures for name in one.exact if name not in shown]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*map(text_cell, usage.keys), *shown, *exact])
    for group, sums in usage.rows(measures[0]):
        figures = [one.shown(sums) for one in measures]
        cells = [text_cell(printable(value or "")) for value in group]
        writer.writerow([*cells, *figures, *(getattr(sums, name) for name in exact)])
    _print_notes(usage, measures)


def _rows(usage: Usage, measures: list[Measure]) -> Iterator[tuple[list[str], list[str]]]:
    """Head, rows and total: the texts, and the figures."""

    def texts(group: Group) -> list[str]:
        return ["-" if value is None else printable(value) for value in group]

    yield [*map(printable, usage.keys)], [one.column for one in measures]
    for group, sums in usage.rows(measures[0]):
        yield texts(group), [one.shown(sums) or "-" for one in measures]
    total = usage.total()
    yield (
        ["total", *[""] * (len(usage.keys) - 1)],
        [one.shown(total) or "-" for one in measures],
    )


def _table(usage: Usage, measures: list[Measure], out: TextIO) -> None:
    rows = [*_rows(usage, measures)]
    widths = [max(map(len, column)) for column in zip(*(a + b for a, b in rows), strict=True)]
    for texts, figures in rows:
        left = [text.ljust(width) for text, width in zip(texts, widths, strict=False)]
        right = zip(figures, widths[len(texts) :], strict=True)
        out.write("  ".join([*left, *(text.rjust(width) for text, width in right)]) + "\n")
    _print_notes(usage, measures)


def _markdown(usage: Usage, measures: list[Measure], out: TextIO) -> None:
    for number, (texts, figures) in enumerate(_rows(usage, measures)):
        cells = [*map(_escaped, texts), *figures]
        out.write(f"| {' | '.join(cells)} |\n")
        if not number:
            out.write(f"|{' --- |' * len(texts)}{' ---: |' * len(figures)}\n")
    out.writelines(f"\n{note}\n" for note in _notes(usage, measures))


def _print_notes(usage: Usage, measures: list[Measure]) -> None:
    for note in _notes(usage, measures):
        click.echo(note, err=True)


def _escaped(text: str) -> str:
    r"""Without what Markdown, or the HTML in it, would obey: `|`, `<`, `*` and the like."""
    return "".join(f"&#{ord(char)};" if char in "|<>&*_`[]\\#" else char for char in text)


_STYLES = {"table": _table, "csv": _csv, "json": _json, "markdown": _markdown}
