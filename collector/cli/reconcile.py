"""`auditor-collector reconcile`: does the Auditor hold what the sources say?"""

import sys
import threading
from collections import Counter
from datetime import datetime
from pathlib import Path

import click
import msgspec
import structlog

from collector import logs
from collector.auditor.protocol import AuditorError
from collector.cli.options import (
    CONTEXT,
    config_option,
    exit_for_config,
    load_or_exit,
    period_options,
)
from collector.clock import utc_now
from collector.config import Config, ConfigError
from collector.outbox import Outbox, OutboxError
from collector.pipeline.assemble import make_client
from collector.pipeline.reconcile import Reconciliation
from collector.pipeline.sources import make_sources
from collector.source import SourceError


@click.command(context_settings=CONTEXT)
@config_option
@period_options
@click.option("--source", "names", multiple=True, help="Only this source; may be repeated.")
@click.option("--fix", is_flag=True, help="Put what is missing, or still open there, to be sent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each difference.")
def command(
    config_path: Path,
    since: datetime,
    until: datetime,
    names: tuple[str, ...],
    fix: bool,
    as_json: bool,
) -> None:
    """Prove, job by job, that the Auditor holds what the sources say of a past period.

    Reads the sources again, asks the Auditor for the period, and lists what is missing there,
    extra, or different in start, stop or components. Changes nothing without --fix.

    \b
    Example:
      auditor-collector reconcile -c config.yaml --since 2026-01-01 --until 2026-02-01

    Exit status: 0 only if both agree, 1 if not or if either could not be read in full, 78 for a
    configuration with mistakes.
    """
    config = load_or_exit(config_path)
    if since >= until:
        raise click.UsageError(f"--since {since} is not before --until {until}")
    unknown = set(names) - {section.name for section in config.sources}
    if unknown:
        raise click.UsageError(f"the configuration has no source {', '.join(sorted(unknown))}")
    logs.set_up(config.log.level, config.log.format)
    try:
        agrees = _reconcile(config, names, since, until, fix=fix, as_json=as_json)
    except ConfigError as error:
        exit_for_config(error)
    except (SourceError, AuditorError, OutboxError) as error:
        raise click.ClickException(f"nothing is proven: {error}") from error
    sys.exit(0 if agrees else 1)


def _reconcile(
    config: Config,
    names: tuple[str, ...],
    since: datetime,
    until: datetime,
    *,
    fix: bool,
    as_json: bool,
) -> bool:
    sources = make_sources(config, structlog.get_logger(), threading.Event())
    sources = [mapped for mapped in sources if not names or mapped.name in names]
    counts: Counter[str] = Counter()
    reasons = _rejected(config)
    with make_client(config.auditor) as client:
        work = Reconciliation(sources, client, since, until)
        try:
            for difference in work.differences():
                counts[difference.kind] += 1
                if as_json:
                    click.echo(msgspec.json.encode(difference))
                else:
                    _row(difference.kind, difference.record_id or "?", difference.source)
                    reason = reasons.get(difference.record_id or "", "")
                    for side, text in (
                        *(("source", difference.ours), ("Auditor", difference.theirs)),
                        ("rejected", reason),
                    ):
                        if text:
                            click.echo(f"            {side:<8} {text}")
            fixed = 0
            if fix:
                with Outbox.open(config.outbox.path, now=utc_now, limits=config.outbox) as outbox:
                    fixed = work.fix(outbox).to_be_sent
        finally:
            work.close()
    summary = {"jobs": work.jobs, "equal": work.equal, **counts}
    if fix:
        summary["put to be sent"] = fixed
    if as_json:
        click.echo(msgspec.json.encode({"summary": summary}))
    else:
        for name, count in summary.items():
            click.echo(f"{count:>12}  {name}")
    return not counts


def _rejected(config: Config) -> dict[str, str]:
    """Record id → why the outbox holds it as rejected: a collision, or a refusal of the Auditor."""
    reasons: dict[str, str] = {}
    if config.outbox.path.exists():
        with Outbox.open(config.outbox.path, now=utc_now, limits=config.outbox) as outbox:
            after = 0
            while rows := outbox.rejected(after=after):
                after = rows[-1].id
                reasons |= {row.record_id: row.reason for row in rows if row.record_id}
    return reasons


def _row(kind: str, record_id: str, source: str) -> None:
    click.echo(f"{kind:<11} {record_id}  ({source})")
