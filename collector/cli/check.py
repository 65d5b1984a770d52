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
from collector.config.mistakes import Mistake
from collector.pipeline.assemble import make_client
from collector.pipeline.sources import MappedSource, make_sources
from collector.source import Finding, SourceError


@click.command(context_settings=CONTEXT)
@config_option
@click.option("--offline", is_flag=True, help="Check the configuration only; read nothing else.")
@click.option("-v", "--verbose", is_flag=True, help="Show notes too, e.g. modes that are not used.")
def command(config_path: Path, offline: bool, verbose: bool) -> None:
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
        if verbose or finding.level != "note":
            click.echo(f"{finding.level:8} {where}: {finding.text}")
    if any(finding.level == "error" for _, finding in findings):
        sys.exit(1)


def _findings(config: Config, *, offline: bool) -> Iterator[tuple[str, Finding]]:
    sources = _parts(config)
    if offline:
        return
    for source in sources:
        try:
            for finding in source.source.check():
                yield source.name, finding
        except SourceError as error:
            yield source.name, Finding.error(str(error))
    yield "auditor", _auditor(config)


def _parts(config: Config) -> list[MappedSource]:
    """The sources; raises the mistakes of all files that the configuration names, together."""
    sources: list[MappedSource] = []
    mistakes: list[Mistake] = []
    try:
        sources = make_sources(config, structlog.get_logger(), threading.Event())
    except ConfigError as error:
        mistakes += error.mistakes
    try:
        make_client(config.auditor, config.places).close()
    except ConfigError as error:
        mistakes += error.mistakes
    if mistakes:
        raise ConfigError(config.places.file, mistakes)
    return sources


def _auditor(config: Config) -> Finding:
    url = config.auditor.url
    with make_client(config.auditor, config.places) as client:
        try:
            client.check()
        except AuditorError as error:
            return Finding.error(f"{url}: {error}")
    return Finding(True, f"{url} answers, and its database is there")
