"""Options and manners that several commands share."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from collector.config import Config, ConfigError, load
from collector.source import find_plugin
from collector.yamlfile import read_instant

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits(3); the systemd unit does not restart on it."""

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """`--config FILE`, given to the command as a path."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("/etc/auditor-collector/config.yaml"),
        show_default=True,
        envvar="AUDITOR_COLLECTOR_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="The configuration.",
    )(command)


def period_options(command: Command) -> Command:
    """`--since` and `--until`, both needed."""
    command = click.option(
        "--until", type=Instant(), required=True, help="End of the period (not in it)."
    )(command)
    return click.option(
        "--since", type=Instant(), required=True, help="Start of the period (in it)."
    )(command)


class Instant(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """A date (its midnight, UTC) or a time with its zone."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return read_instant(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def load_or_exit(path: Path) -> Config:
    """The configuration; prints every mistake and exits with 78 if there is one."""
    try:
        return load(path, find_plugin)
    except ConfigError as error:
        exit_for_config(error)


def exit_for_config(error: ConfigError) -> NoReturn:
    """Prints the mistakes and exits with 78."""
    click.echo(str(error), err=True)
    count = len(error.mistakes)
    click.echo(
        f"{error.path}: {count} mistake{'s' if count != 1 else ''}; "
        "config.example.yaml shows every key",
        err=True,
    )
    sys.exit(EXIT_CONFIG)
