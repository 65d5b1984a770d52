"""`auditor-collector rejected`: what could not be accounted, and what to do about it."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
import structlog

from collector import logs
from collector.cli.options import (
    CONTEXT,
    Instant,
    config_option,
    exit_for_config,
    load_or_exit,
    load_to_look,
)
from collector.clock import stamp, utc_now
from collector.config import Config, ConfigError
from collector.logs import printable
from collector.outbox import Outbox, OutboxError, RejectedRow
from collector.pipeline.retry import retry as retry_rows
from collector.pipeline.sources import make_sources

_PAGE = 500
_SHOWN = 100

Command = TypeVar("Command", bound=Callable[..., Any])


def _selection(command: Command) -> Command:
    """Which rows: by number, or by what they are."""
    for decorate in (
        click.argument("ids", nargs=-1, type=int, metavar="[NUMBER]..."),
        click.option("--source", help="Only of this source."),
        click.option("--reason", default="", help="Only where reason, kind or id holds this text."),
        click.option("--since", type=Instant(), help="Only what was rejected then or later."),
        click.option("--until", type=Instant(), help="Only what was rejected before."),
    ):
        command = decorate(command)
    return command


@click.group(context_settings=CONTEXT)
def command() -> None:
    """List, show, retry or drop what was rejected.

    What cannot be accounted is never lost: it waits here with its raw input and the reason.

    \b
    Example, after the mapping was corrected:
      auditor-collector rejected list --reason Memory
      auditor-collector rejected retry --reason Memory
    """


@command.command("list")
@config_option
@_selection
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each.")
def list_(config_path: Path, as_json: bool, **selection: Any) -> None:
    """List what was rejected: number, when, source, kind, record id, reason.

    \b
    Example:
      auditor-collector rejected list --source ap1 --since 2026-01-31
    """
    with _opened(config_path, only_look=True) as (_, outbox):
        for row in _rows(outbox, **selection):
            if as_json:
                click.echo(msgspec.json.encode(_document(row)))
            else:
                reason = row.reason if len(row.reason) <= _SHOWN else row.reason[:_SHOWN] + "…"
                click.echo(
                    f"{row.id:>6}  {stamp(row.rejected_at)}  {row.source}  {row.kind}  "
                    f"{printable(row.record_id or '?')}  {printable(reason)}"
                )


@command.command()
@config_option
@_selection
def show(config_path: Path, **selection: Any) -> None:
    """Show all that is known of rejected jobs: reason, place, raw input, the other version.

    \b
    Example:
      auditor-collector rejected show 17
    """
    with _opened(config_path, only_look=True) as (_, outbox):
        for row in _rows(outbox, **selection):
            click.echo(f"{row.id}  {row.kind} of {row.source}, rejected {stamp(row.rejected_at)}")
            click.echo(f"  record_id  {printable(row.record_id or '?')}")
            click.echo(f"  reason     {printable(row.reason)}")
            click.echo(f"  where      {printable(row.where)}")
            click.echo(f"  raw        {printable(row.raw.decode(errors='backslashreplace'))}")
            if row.other_version is not None:
                other = row.other_version.decode(errors="replace")
                click.echo(f"  other      {printable(other)}")


@command.command()
@config_option
@_selection
@click.option("--all", "everything", is_flag=True, help="Retry all.")
def retry(config_path: Path, everything: bool, **selection: Any) -> None:
    """Try rejected jobs again, by the configuration of today; records are sent as they are.

    \b
    Example:
      auditor-collector rejected retry --reason Memory

    Exit status: 0 if none is left rejected, 1 otherwise.
    """
    _require_selection(everything, selection)
    with _opened(config_path) as (config, outbox):
        logs.set_up(config.log.level, config.log.format)
        # What is rejected again becomes the last row: it is not met twice.
        last = max((row.id for row in _rows(outbox, **selection)), default=0)
        rows = (row for row in _rows(outbox, **selection) if row.id <= last)
        sources = make_sources(config, structlog.get_logger(), threading.Event())
        outcomes = retry_rows(rows, {mapped.name: mapped for mapped in sources}, outbox)
    for outcome, count in outcomes.items():
        click.echo(f"{count:>12}  {outcome}")
    sys.exit(1 if outcomes["still rejected"] or outcomes["no such source"] else 0)


@command.command()
@config_option
@_selection
@click.option("--all", "everything", is_flag=True, help="Drop all.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(config_path: Path, everything: bool, yes: bool, **selection: Any) -> None:
    """Delete rejected jobs for good; they will not be accounted.

    \b
    Example:
      auditor-collector rejected drop 17 18
    """
    _require_selection(everything, selection)
    with _opened(config_path) as (_, outbox):
        ids = [row.id for row in _rows(outbox, **selection)]
        if ids and not yes:
            click.confirm(f"Delete {len(ids)} for good?", abort=True)
        click.echo(f"{outbox.drop_rejected(ids):>12}  dropped")


@contextlib.contextmanager
def _opened(config_path: Path, *, only_look: bool = False) -> Iterator[tuple[Config, Outbox]]:
    """The outbox; for a command that only looks, also that of a wrong configuration."""
    config = load_to_look(config_path)[0] if only_look else load_or_exit(config_path)
    try:
        with Outbox.open(
            config.outbox.path, now=utc_now, limits=config.outbox, create=False
        ) as outbox:
            yield config, outbox
    except ConfigError as error:
        exit_for_config(error)
    except OutboxError as error:
        raise click.ClickException(str(error)) from error


def _rows(
    outbox: Outbox,
    ids: tuple[int, ...],
    source: str | None,
    reason: str,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[RejectedRow]:
    """The selected rows, page by page."""
    after = 0
    while rows := outbox.rejected(
        source=source,
        reason=reason,
        since=since,
        until=until,
        ids=ids or None,
        after=after,
        limit=_PAGE,
    ):
        yield from rows
        after = rows[-1].id


def _require_selection(everything: bool, selection: dict[str, Any]) -> None:
    if not everything and not any(selection.values()):
        raise click.UsageError("say which: numbers, --source, --reason, --since, --until, or --all")


def _document(row: RejectedRow) -> dict[str, Any]:
    document = msgspec.structs.asdict(row)
    document["raw"] = row.raw.decode(errors="backslashreplace")
    other = row.other_version
    document["other_version"] = None if other is None else other.decode(errors="replace")
    return document
