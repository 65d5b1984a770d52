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
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.clock import span, utc_now
from collector.config import Config, ConfigError
from collector.outbox import Outbox, OutboxError, Outcome, Status
from collector.pipeline.sources import make_sources
from collector.source import Lag

_CHECKPOINT_SHOWN = 200
_SAID = {
    "read": "read",
    Outcome.FILTERED: "filtered",
    Outcome.UNMAPPABLE: "unmappable",
    "suspicious": "suspicious",
    Outcome.KNOWN: "known before",
    Outcome.SENT: "records sent",
    Outcome.STOP_SENT: "stop times sent",
    Outcome.ALREADY_THERE: "already there",
    Outcome.REFUSED: "refused by the Auditor",
}
"""Outcomes in the order of the data path, in words."""


@click.command(context_settings=CONTEXT)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(config_path: Path, as_json: bool) -> None:
    """Show what waits, how old it is, each source's checkpoint, and what was rejected.

    Reads the outbox, and looks at each source's log for how far it is behind; works whether or not
    a daemon runs.

    \b
    Example:
      auditor-collector status --json | jq .waiting
    """
    config = load_or_exit(config_path)
    try:
        with Outbox.open(config.outbox.path, now=utc_now, create=False) as outbox:
            status = outbox.status()
    except OutboxError as error:
        raise click.ClickException(str(error)) from error
    logs.set_up("error")
    try:
        lags = _lags(config, status)
    except ConfigError as error:
        exit_for_config(error)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_document(config, status, lags))))
    else:
        _print(config, status, lags)


def _lags(config: Config, status: Status) -> dict[str, Lag | str | None]:
    """How far each source is behind, or why that is not known; None where it never is."""
    found: dict[str, Lag | str | None] = {}
    for mapped in make_sources(config, structlog.get_logger(), threading.Event()):
        known = status.sources.get(mapped.name)
        try:
            found[mapped.name] = mapped.source.lag(None if known is None else known.checkpoint)
        except Exception as error:  # noqa: BLE001 - the status is for when something is wrong
            found[mapped.name] = str(error) or type(error).__name__
    return found


def _sums(status: Status, source: str) -> Counter[str]:
    """Outcome → count of a source, over polls and backfills."""
    sums: Counter[str] = Counter()
    for (name, _, outcome, _), count in status.counts.items():
        if name == source:
            sums[outcome] += count
    return sums


def _document(config: Config, status: Status, lags: dict[str, Lag | str | None]) -> dict[str, Any]:
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
                "lag": known.get(name),
                "counts": dict(_sums(status, name)),
            }
            for name, source in status.sources.items()
        },
    }


def _print(config: Config, status: Status, lags: dict[str, Lag | str | None]) -> None:
    now = utc_now()
    click.echo(f"outbox   {config.outbox.path}")
    oldest = (
        "" if status.oldest_put_at is None else f", the oldest {_ago(status.oldest_put_at, now)}"
    )
    click.echo(f"waiting  {status.waiting} record(s), {status.waiting_bytes} bytes{oldest}")
    click.echo(f"open     {status.open_records} record(s) without a stop time")
    if status.sender is not None:
        why = f": {status.sender.reason}" if status.sender.reason else ""
        click.echo(f"sender   {status.sender.state} since {_ago(status.sender.since, now)}{why}")
    rejected = ", ".join(f"{count} {kind}" for kind, count in status.rejected.items())
    click.echo(f"rejected {rejected or 'nothing'}")
    for name, source in status.sources.items():
        click.echo(f"\nsource {name}")
        success = "never" if source.last_success_at is None else _ago(source.last_success_at, now)
        click.echo(f"  last success  {success}")
        if source.last_error is not None and source.last_error_at is not None:
            click.echo(f"  problem       {_ago(source.last_error_at, now)}: {source.last_error}")
        if (lag := lags.get(name)) is not None:
            click.echo(f"  behind        {_behind(lag)}")
        checkpoint = msgspec.json.encode(source.checkpoint).decode()
        if len(checkpoint) > _CHECKPOINT_SHOWN:
            checkpoint = checkpoint[:_CHECKPOINT_SHOWN] + "…"
        click.echo(f"  checkpoint    {checkpoint}")
        sums = _sums(status, name)
        counts = ", ".join(f"{sums[one]} {said}" for one, said in _SAID.items() if sums[one])
        click.echo(f"  jobs          {counts or 'none yet'}")


def _behind(lag: Lag | str) -> str:
    if isinstance(lag, str):
        return f"not known: {lag}"
    kept = "" if lag.kept_s is None else f", of {span(lag.kept_s)} that the log keeps"
    return f"{span(lag.behind_s)}{kept}"


def _ago(instant: datetime, now: datetime) -> str:
    """`3 min ago (2026-01-31T12:00:00Z)`."""
    ago = span(max(now - instant, timedelta()).total_seconds())
    return f"{ago} ago ({instant:%Y-%m-%dT%H:%M:%SZ})"
