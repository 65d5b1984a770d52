"""`auditor-collector check`: the configuration, then the sources, then the Auditor."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import structlog

from collector import logs
from collector.auditor.protocol import AuditorError
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.config import Config, ConfigError
from collector.pipeline.assemble import make_client
from collector.pipeline.sources import make_sources
from collector.source import Finding, SourceError


@click.command(context_settings=CONTEXT)
@config_option
@click.option("--offline", is_flag=True, help="Check the configuration only; read nothing else.")
def command(config_path: Path, offline: bool) -> None:
    """Check the configuration, whether each source can be read, and the Auditor reached.

    \b
    Example:
      auditor-collector check --config config.yaml

    Exit status: 0 if all is well, 78 for mistakes in the configuration, 1 if something cannot be
    read or reached.
    """
    config = load_or_exit(config_path)
    logs.set_up("error")
    try:
        findings = list(_findings(config, offline=offline))
    except ConfigError as error:
        exit_for_config(error)
    click.echo(f"ok       {config_path}: {len(config.sources)} source(s)")
    for where, finding in findings:
        click.echo(f"{'ok' if finding.ok else 'problem':8} {where}: {finding.text}")
    if not all(finding.ok for _, finding in findings):
        sys.exit(1)


def _findings(config: Config, *, offline: bool) -> Iterator[tuple[str, Finding]]:
    sources = make_sources(config, structlog.get_logger(), threading.Event())
    make_client(config.auditor).close()
    if offline:
        return
    for source in sources:
        try:
            for finding in source.source.check():
                yield source.name, finding
        except SourceError as error:
            yield source.name, Finding(False, str(error))
    yield "auditor", _auditor(config)


def _auditor(config: Config) -> Finding:
    url = config.auditor.url
    with make_client(config.auditor) as client:
        try:
            client.check()
        except AuditorError as error:
            return Finding(False, f"{url}: {error}")
    return Finding(True, f"{url} answers, and its database is there")
