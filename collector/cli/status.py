"""`auditor-collector status`: what waits, what was sent, what was refused."""

import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import structlog

from collector import logs
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_to_look
from collector.clock import span, stamp, utc_now
from collector.config import Config, ConfigError
from collector.logs import counted, size
from collector.outbox import FOUND_BY_PUT, Origin, Outbox, OutboxError, Outcome, Status
from collector.pipeline.sources import make_sources
from collector.source import Lag

_SAID_OF_JOBS = {
    Outcome.FILTERED: "filtered",
    Outcome.UNMAPPABLE: "unmappable",
    Outcome.REFUSED: "refused before",
    Outcome.COLLISION: "colliding",
    Outcome.KNOWN: "known before",
    Outcome.MERGED: "stop times merged into waiting records",
    Outcome.STOP_QUEUED: "stop times queued",
    Outcome.QUEUED: "records queued",
}
"""What became of what was read, in words; together they are all that was read."""
_SAID_OF_RECORDS = {
    Outcome.SENT: "sent",
    Outcome.STOP_SENT: "stop times sent",
    Outcome.ALREADY_THERE: "already there",
    Outcome.ALREADY_THERE_UNREAD: "already there (not readable for us)",
    Outcome.REFUSED: "refused by the Auditor",
    Outcome.COLLISION: "colliding in the Auditor",
}
"""What became of what was sent, in words."""


@click.command(context_settings=CONTEXT)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show the checkpoints of sources, too.")
def command(config_path: Path, as_json: bool, verbose: bool) -> None:
    """Show what waits, how old it is, how each source goes, and what was rejected.

    Reads the outbox, and looks at each source's log for how far it is behind; works whether or not
    a daemon runs, and with a wrong configuration, too.

    \b
    Example:
      auditor-collector status --json | jq .waiting
    """
    config, is_right = load_to_look(config_path)
    try:
        with Outbox.open(config.outbox.path, now=utc_now, create=False) as outbox:
            status = outbox.status()
    except OutboxError as error:
        raise click.ClickException(str(error)) from error
    logs.set_up("error")
    try:
        lags, unproved = _asked(config, status)
    except ConfigError as error:
        exit_for_config(error)
    if as_json:
        document = _document(config, status, lags, is_right=is_right)
        click.echo(msgspec.json.format(msgspec.json.encode(document)))
        return
    _print(config, status)
    configured = {section.name for section in config.sources} if is_right else set(status.sources)
    for name in status.sources:
        note = "" if name in configured else " (not configured; auditor-collector outbox forget)"
        click.echo(f"\nsource {name}{note}")
        _print_source(status, name, lags.get(name), unproved.get(name), verbose=verbose)


def _asked(
    config: Config, status: Status
) -> tuple[dict[str, Lag | str | None], dict[str, str | None]]:
    """What each source says itself.

    Returns:
        How far it is behind, or why that is not known, None where it never is; and what it could
        only believe.
    """
    found: dict[str, Lag | str | None] = {}
    unproved: dict[str, str | None] = {}
    for mapped in make_sources(config, structlog.get_logger(), threading.Event()):
        known = status.sources.get(mapped.name)
        checkpoint = None if known is None else known.checkpoint
        try:
            found[mapped.name] = mapped.source.lag(checkpoint)
            unproved[mapped.name] = mapped.source.unproved(checkpoint)
        except Exception as error:  # noqa: BLE001 - the status is for when something is wrong
            found[mapped.name] = str(error) or type(error).__name__
    return found, unproved


def _sums(status: Status, source: str) -> Counter[str]:
    """Outcome → count of a source, over polls and backfills."""
    sums: Counter[str] = Counter()
    for (name, _, outcome, _), count in status.counts.items():
        if name == source:
            sums[outcome] += count
    return sums


def _numbers(status: Status, source: str) -> tuple[Counter[str], Counter[str]]:
    """Outcome → count of what a source read, and of what was sent for it.

    What was tried again is not of the first: it was read, and counted, before.
    """
    taken, sent = Counter[str](), Counter[str]()
    for (name, origin, outcome, detail), count in status.counts.items():
        if name != source:
            continue
        of_auditor = outcome in _SAID_OF_RECORDS and detail != FOUND_BY_PUT
        if of_auditor:
            sent[outcome] += count
        elif origin not in (Origin.RETRY, Origin.RECONCILE):
            taken[outcome] += count
    return taken, sent


def _document(
    config: Config, status: Status, lags: dict[str, Lag | str | None], *, is_right: bool
) -> dict[str, Any]:
    configured = {section.name for section in config.sources}
    known = {name: lag for name, lag in lags.items() if isinstance(lag, Lag)}
    return {
        "outbox": str(config.outbox.path),
        "waiting": status.waiting,
        "waiting_bytes": status.waiting_bytes,
        "oldest_put_at": status.oldest_put_at,
        "open_records": status.open_records,
        "rejected": status.rejected,
        "sender": status.sender,
        "sources": {
            name: {
                **msgspec.structs.asdict(source),
                "configured": name in configured if is_right else None,
                "lag": known.get(name),
                "counts": dict(_sums(status, name)),
            }
            for name, source in status.sources.items()
        },
    }


def _print(config: Config, status: Status) -> None:
    now = utc_now()
    click.echo(f"outbox   {config.outbox.path}")
    oldest = (
        "" if status.oldest_put_at is None else f", the oldest {_ago(status.oldest_put_at, now)}"
    )
    click.echo(
        f"waiting  {counted(status.waiting, 'record')}, {size(status.waiting_bytes)}{oldest}"
    )
    click.echo(f"open     {counted(status.open_records, 'record')} without a stop time")
    if status.sender is not None:
        why = f": {status.sender.reason}" if status.sender.reason else ""
        click.echo(f"sender   {status.sender.state} since {_ago(status.sender.since, now)}{why}")
    rejected = ", ".join(f"{count} {kind}" for kind, count in status.rejected.items())
    click.echo(f"rejected {rejected or 'nothing'}")


def _print_source(
    status: Status, name: str, lag: Lag | str | None, unproved: str | None, *, verbose: bool
) -> None:
    now, source = utc_now(), status.sources[name]
    success = "never" if source.last_success_at is None else _ago(source.last_success_at, now)
    click.echo(f"  last success  {success}")
    if source.last_error is not None and source.last_error_at is not None:
        click.echo(f"  problem       {_ago(source.last_error_at, now)}: {source.last_error}")
    if unproved is not None:
        click.echo(f"  not proved    {unproved}")
    if lag is not None:
        click.echo(f"  behind        {_behind(lag)}")
    if verbose:
        click.echo(f"  checkpoint    {msgspec.json.encode(source.checkpoint).decode()}")
    taken, sent = _numbers(status, name)
    stops = f" and {taken['stops_read']} stop times" if taken["stops_read"] else ""
    became = [f"{taken[one]} {said}" for one, said in _SAID_OF_JOBS.items() if taken[one]]
    read = ", ".join([f"{taken['read']} read{stops}", *became])
    click.echo(f"  jobs          {read if became else 'none yet'}")
    if taken["suspicious"]:
        click.echo(f"  suspicious    {taken['suspicious']} of them")
    became = [f"{sent[one]} {said}" for one, said in _SAID_OF_RECORDS.items() if sent[one]]
    click.echo(f"  records       {', '.join(became) or 'none sent yet'}")


def _behind(lag: Lag | str) -> str:
    if isinstance(lag, str):
        return f"not known: {lag}"
    kept = "" if lag.kept_s is None else f", of {span(lag.kept_s)} that the log keeps"
    return f"{span(lag.behind_s)}{kept}"


def _ago(instant: datetime, now: datetime) -> str:
    """`3 min ago (2026-01-31T12:00:00Z)`."""
    ago = span(max(now - instant, timedelta()).total_seconds())
    return f"{ago} ago ({stamp(instant)})"
