"""`records`: queries an Auditor from the command line, in constant memory."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal, TextIO

import click

from collector.auditor.query import (
    ComponentQuery,
    MetaOperator,
    MetaQuery,
    Operator,
    QueryBuilder,
    SortBy,
    Value,
)
from collector.cli.auditor_options import AskedAuditor, auditor_options
from collector.cli.options import CONTEXT, Instant
from collector.cli.records_csv import write_csv
from collector.logs import counted, printable
from collector.record import Record

_COMPARISONS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt", "=": "equals"}


@click.command("records", context_settings=CONTEXT)
@auditor_options
@click.option("--since", type=Instant(), help="Runs that stopped at this time or later.")
@click.option("--until", type=Instant(), help="Runs that stopped before this time.")
@click.option("--started-since", type=Instant(), help="Runs that started at this time or later.")
@click.option("--started-until", type=Instant(), help="Runs that started before this time.")
@click.option("--id", "record_id", metavar="ID", help="The record with this id.")
@click.option(
    "--meta",
    multiple=True,
    metavar="KEY=VALUE",
    help="The key has this value; KEY!=VALUE: it has not. May be repeated.",
)
@click.option(
    "--component",
    metavar="NAME>=AMOUNT",
    help="The first component has this name, and its amount is >, >=, <, <= or = this.",
)
@click.option(
    "--sort",
    metavar="[-]COLUMN",
    help="By start_time, stop_time, runtime or record_id; with a minus, largest first.",
)
@click.option("--limit", type=click.IntRange(min=0), help="At most this many.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="A table for people; a line of JSON for each record; CSV with a column for each key.",
)
def command(
    auditor: AskedAuditor,
    since: datetime | None,
    until: datetime | None,
    started_since: datetime | None,
    started_until: datetime | None,
    record_id: str | None,
    meta: tuple[str, ...],
    component: str | None,
    sort: str | None,
    limit: int | None,
    style: Literal["table", "json", "csv"],
) -> None:
    """Query the records of an Auditor.

    For a spreadsheet there is --format csv: a column for each meta key, component and score. They
    are known when all records are read, which wait in a temporary file until then.

    TIME is a date, which means its midnight in UTC, or a time with a zone, such as
    2026-01-31T12:00:00+01:00. All conditions have to hold. Without --sort, the order is that of the
    stop times.

    \b
    Example:
      auditor-collector records --url http://127.0.0.1:8000 --since 2026-01-01 --limit 10
      auditor-collector records -c config.yaml --meta site_id=site1 --format csv
    """
    try:
        query = _query(since, until, started_since, started_until, meta, component, sort)
        if record_id is not None:
            query.with_record_id(record_id)
        if limit is not None:
            query.limit(limit)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with auditor.client() as client:
        _STYLES[style](client.stream_query(query.build()), sys.stdout)


def _query(
    since: datetime | None,
    until: datetime | None,
    started_since: datetime | None,
    started_until: datetime | None,
    meta: Iterable[str],
    component: str | None,
    sort: str | None,
) -> QueryBuilder:
    query = QueryBuilder()
    if since or until:
        query.with_stop_time(_within(since, until))
    if started_since or started_until:
        query.with_start_time(_within(started_since, started_until))
    query.with_meta_query(_meta(meta))
    if component:
        name, sign, amount = _compared(component)
        operator: Operator = getattr(Operator(), _COMPARISONS[sign])(Value.set_count(amount))
        query.with_component_query(ComponentQuery().component_operator(name, operator))
    if sort:
        order = SortBy()
        query.sort_by(order.descending(sort[1:]) if sort[0] == "-" else order.ascending(sort))
    return query


def _within(since: datetime | None, until: datetime | None) -> Operator:
    operator = Operator()
    if since:
        operator.gte(Value.set_datetime(since))
    if until:
        operator.lt(Value.set_datetime(until))
    return operator


def _meta(conditions: Iterable[str]) -> MetaQuery:
    contained: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for condition in conditions:
        key, sign, value = condition.partition("=")
        if not sign:
            raise ValueError(f"--meta {condition!r}: expected KEY=VALUE or KEY!=VALUE")
        chosen = missing if key.endswith("!") else contained
        chosen.setdefault(key.removesuffix("!"), []).append(value)
    query = MetaQuery()
    for key in contained | missing:
        operator = MetaOperator()
        if key in contained:
            operator.contains(contained[key])
        if key in missing:
            operator.does_not_contain(missing[key])
        query.meta_operator(key, operator)
    return query


def _compared(component: str) -> tuple[str, str, int]:
    for sign in _COMPARISONS:  # the longer ones first
        name, found, amount = component.rpartition(sign)
        if found and amount.strip().isdecimal():
            return name.strip(), sign, int(amount)
    raise ValueError(f"--component {component!r}: expected for example Cores>=8")


def _json(records: Iterator[Record], out: TextIO) -> None:
    out.writelines(f"{record.to_json()}\n" for record in records)


_COLUMNS = ("record_id", "start_time", "stop_time", "runtime_s", "meta", "components")


def _cells(record: Record) -> list[str]:
    """A record's columns; control characters, which a terminal would obey, are escaped."""
    meta = " ".join(f"{key}={','.join(values)}" for key, values in (record.meta or {}).items())
    components = " ".join(f"{one.name}={one.amount}" for one in record.components)
    stop = "" if record.stop_time is None else record.stop_time.isoformat(timespec="seconds")
    runtime = "" if record.runtime is None else str(record.runtime)
    start = record.start_time.isoformat(timespec="seconds")
    cells = (record.record_id, start, stop, runtime, meta, components)
    return [printable(text) for text in cells]


def _table(records: Iterator[Record], out: TextIO) -> None:
    """Columns as wide as the first rows need; a longer cell moves its row."""
    first = [list(_COLUMNS), *map(_cells, itertools.islice(records, 200))]
    widths = [min(40, max(len(row[column]) for row in first)) for column in range(len(_COLUMNS))]
    count = -1  # the head is no record
    for cells in itertools.chain(first, map(_cells, records)):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        out.write(f"{'  '.join(padded).rstrip()}\n")
        count += 1
    click.echo(counted(count, "record"), err=True)


_STYLES = {"table": _table, "json": _json, "csv": write_csv}
