"""`auditor-collector check`: the configuration, then the sources, then the Auditor."""

import threading
from collections.abc import Iterator
from pathlib import Path

import click
import structlog

from collector import logs
from collector.cli.findings import Found, Style, show
from collector.cli.options import (
    CONTEXT,
    EXIT_CONFIG,
    config_option,
    exit_for_config,
    load_as_owner,
)
from collector.clock import utc_now
from collector.config import Config, ConfigError
from collector.config.mistakes import Mistake
from collector.config.warnings import warnings_of
from collector.logs import counted
from collector.pipeline.apel import USUAL, Plugin, check_for_apel, read_plugin
from collector.pipeline.assemble import make_client
from collector.pipeline.newest import try_newest
from collector.pipeline.sources import MappedSource, make_sources
from collector.pipeline.surroundings import look_around
from collector.source import Finding, SourceError


@click.command(context_settings=CONTEXT)
@config_option
@click.option("--offline", is_flag=True, help="Check the configuration only; read nothing else.")
@click.option("-v", "--verbose", is_flag=True, help="Show notes too, e.g. modes that are not used.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "nagios"]),
    default="text",
    show_default=True,
    help="How findings are printed; nagios: one line, with the exit status of a plugin.",
)
@click.option(
    "--for",
    "reader",
    type=click.Choice(["apel"]),
    help="Look also for what this reader of records wants of them.",
)
@click.option(
    "--plugin-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --for apel: the configuration of auditor-apel-plugin; else that of docs/apel.md.",
)
def command(
    config_path: Path,
    offline: bool,
    verbose: bool,
    style: Style,
    reader: str | None,
    plugin_config: Path | None,
) -> None:
    """Check the configuration, each source and its newest jobs, and the Auditor.

    The newest hundred jobs of each source are made into records, one is shown as it would be sent,
    and nothing is stored.

    \b
    Example:
      auditor-collector check --config config.yaml
      auditor-collector check --config config.yaml --for apel --plugin-config apel.yml

    Exit status: 0 without errors, 78 for mistakes in the configuration, 1 if something cannot be
    read or reached, or fewer than half of the newest jobs make a record. With --format nagios: 0
    OK, 1 WARNING, 2 CRITICAL.
    """
    logs.set_up("error")
    if plugin_config is not None and reader != "apel":
        raise click.UsageError("--plugin-config goes with --for apel")
    try:
        plugin = USUAL if plugin_config is None else read_plugin(plugin_config)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--plugin-config") from error
    try:
        config = load_as_owner(config_path)
        findings = [
            Found("ok", str(config_path), counted(len(config.sources), "source")),
            *_findings(config, offline=offline),
            *(_for_apel(config, plugin) if reader == "apel" and not offline else ()),
        ]
    except ConfigError as error:
        if style == "text":
            exit_for_config(error)
        findings = [Found.of_file("error", error.path, one) for one in error.mistakes]
        exit_status = EXIT_CONFIG
    else:
        exit_status = int(any(one.level == "error" for one in findings))
    show(findings, style, verbose=verbose, exit_status=exit_status)


def _findings(config: Config, *, offline: bool) -> Iterator[Found]:
    sources = _parts(config)
    for one in warnings_of(config, utc_now()):
        yield Found.of_file("warning", config.places.file, one)
    for number, mapped in enumerate(sources):
        for warning in mapped.mapping.warnings:
            path, _, text = warning.partition(": ")
            mistake = config.places.mistake(f"sources[{number}].{path}", text)
            yield Found.of_file("warning", config.places.file, mistake)
    if offline:
        return
    for source in sources:
        try:
            for finding in source.source.check():
                yield Found.of(source.name, finding)
        except SourceError as error:
            yield Found.of(source.name, Finding.error(str(error)))
    for name, finding in try_newest(config, structlog.get_logger()):
        yield Found.of(name, finding)
    for about, finding in look_around(config, utc_now()):
        yield Found.of(about, finding)


def _for_apel(config: Config, plugin: Plugin) -> Iterator[Found]:
    for name, finding in check_for_apel(config, plugin, structlog.get_logger()):
        yield Found.of(name, finding)


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
