"""`auditor-collector backfill`: a past period, once."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec
import structlog

from collector import logs
from collector.cli.options import (
    CONTEXT,
    config_option,
    exit_for_config,
    load_or_exit,
    period_options,
)
from collector.clock import utc_now
from collector.config import ConfigError
from collector.config.mistakes import did_you_mean
from collector.daemon import stop_on_signals
from collector.logs import Log
from collector.outbox import Origin, OutboxError, Outcome
from collector.pipeline import backfill as work
from collector.pipeline.assemble import Parts, assemble
from collector.pipeline.collect import Collected
from collector.source import SourceError

_SHOW_EVERY_S = 5


@click.command(context_settings=CONTEXT)
@config_option
@period_options
@click.option("--source", "names", multiple=True, help="Only this source; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Read and map; store and send nothing.")
@click.option("--no-wait", is_flag=True, help="Leave the sending to the daemon.")
def command(
    config_path: Path,
    since: datetime,
    until: datetime,
    names: tuple[str, ...],
    dry_run: bool,
    no_wait: bool,
) -> None:
    """Account the runs that ended in a past period, once.

    Shares outbox and ledger with a daemon that may be running, and never touches its checkpoints;
    repeating it is harmless. Ends when everything is in the Auditor, or nothing was delivered for a
    minute; what waits then is safe in the outbox.

    \b
    Example:
      auditor-collector backfill -c config.yaml --since 2026-01-01 --until 2026-02-01

    Exit status: 0 if every job that is to be accounted is in the Auditor (with --no-wait: in the
    outbox; with --dry-run: would be), 1 if not, 78 for a configuration with mistakes.
    """
    config = load_or_exit(config_path)
    if since >= until:
        raise click.UsageError(f"--since {since} is not before --until {until}")
    known = [section.name for section in config.sources]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise click.UsageError(f"--source {name}: the configuration has no such source{hint}")
    logs.set_up(config.log.level, config.log.format)
    log, stop = structlog.get_logger(), threading.Event()
    try:
        with stop_on_signals(stop), assemble(config, log, stop) as parts:
            parts.sources = [one for one in parts.sources if not names or one.name in names]
            if dry_run:
                done = _dry_run(parts, since, until, log)
            else:
                done = _run(parts, since, until, stop, log, wait=not no_wait)
            if not done:
                sys.exit(1)
    except ConfigError as error:
        exit_for_config(error)
    except (SourceError, OutboxError) as error:
        log.error("backfill broke off", error=str(error), hint="repeat it; nothing is doubled")
        sys.exit(1)


def _run(
    parts: Parts, since: datetime, until: datetime, stop: threading.Event, log: Log, *, wait: bool
) -> bool:
    """Backfills, prints the summary, and says whether everything was delivered."""
    origin = Origin.of_backfill(utc_now().isoformat(timespec="milliseconds"))
    with work.sending(parts.sender, log) if wait else contextlib.nullcontext():
        with _progress(log) as progress:
            put = work.backfill(
                parts.sources, parts.outbox, since, until, origin=origin, progress=progress
            )
        newest = parts.outbox.newest_id()
        delivering = not wait or work.wait_until_sent(parts.outbox, newest, stop)
    summary = work.summary_of(parts.outbox, origin, put, newest)
    _print(msgspec.structs.asdict(summary))
    if summary.rejected:
        click.echo("see: auditor-collector rejected list", err=True)
    if not delivering:
        _say_undelivered(parts)
    if stop.is_set():
        click.echo("ended before everything was read or sent; repeat it", err=True)
        return False
    return summary.delivered if wait else not summary.rejected


def _say_undelivered(parts: Parts) -> None:
    sender = parts.outbox.status().sender
    reason = f" ({sender.reason})" if sender is not None and sender.reason else ""
    click.echo(
        f"nothing was delivered for {work.PATIENCE_S:g} s{reason}; what waits is safe in the"
        " outbox: the daemon sends it, or `auditor-collector outbox flush`",
        err=True,
    )


def _dry_run(parts: Parts, since: datetime, until: datetime, log: Log) -> bool:
    """Prints what would happen, and says whether no job would be rejected."""
    with _progress(log) as progress:
        total, reasons = work.dry_run(parts.sources, since, until, progress)
    _print(
        {
            "read": total.read,
            "filtered": total.outcomes[Outcome.FILTERED],
            "would be stored": total.to_be_sent,
            "would be rejected": total.rejected,
        }
    )
    for reason, count in reasons.most_common(20):
        click.echo(f"{count:>12}  {reason}")
    return not total.rejected


def _print(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        click.echo(f"{count:>12}  {name.replace('_', ' ')}")


@contextlib.contextmanager
def _progress(log: Log) -> Iterator[work.Progress]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        shown_at = time.monotonic()

        def line(name: str, share: float | None, so_far: Collected) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= _SHOW_EVERY_S:
                shown_at = time.monotonic()
                percent = None if share is None else round(share * 100)
                log.info("reading", source=name, percent=percent, **so_far.counts())

        yield line
        return
    with click.progressbar(length=1000, label="reading", file=sys.stderr) as bar:

        def move(name: str, share: float | None, so_far: Collected) -> None:
            bar.label = f"{name}: {so_far.read} jobs"
            if share is not None:
                bar.update(max(0, round(share * 1000) - bar.pos))

        yield move
