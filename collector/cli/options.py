"""Options and manners that several commands share."""

import os
import pwd
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from collector import logs
from collector.config import Config, ConfigError, OutboxSection, load, outbox_of
from collector.config.scalars import read_instant
from collector.logs import counted
from collector.source import find_plugin

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


def load_as_owner(path: Path) -> Config:
    """The configuration, as the user whom the outbox's folder belongs to if root asks.

    So a command of root's sees what the service sees, and what it writes is the service's.

    Raises:
        ConfigError: with every mistake, when there is one.
    """
    config = load(path, find_plugin)
    if os.geteuid() == 0:
        _become_owner_of(config.outbox.path.absolute().parent)
    return config


def load_or_exit(path: Path) -> Config:
    """As `load_as_owner`; prints every mistake and exits with 78 if there is one."""
    try:
        return load_as_owner(path)
    except ConfigError as error:
        exit_for_config(error)


def load_to_look(path: Path) -> tuple[Config, bool]:
    """As `load_as_owner`, for a command that only looks at the outbox.

    Returns:
        The configuration, and whether it is right. Of a wrong one only `outbox.path` is in it; one
        line on standard error says so.
    """
    try:
        return load_as_owner(path), True
    except ConfigError as error:
        count = counted(len(error.mistakes), "mistake")
        config = Config(sources=[], outbox=OutboxSection(path=outbox_of(path)))
        click.echo(
            f"{path}: {count}, which auditor-collector check shows; looking at the outbox "
            f"{config.outbox.path}",
            err=True,
        )
        if os.geteuid() == 0:
            _become_owner_of(config.outbox.path.absolute().parent)
        return config, False


def _become_owner_of(folder: Path) -> None:
    """What is not there yet is going to be made in the nearest folder that is."""
    there = next(one for one in (folder, *folder.parents) if one.is_dir())
    try:
        owner = pwd.getpwuid(there.stat().st_uid)
    except KeyError:  # nobody has that number
        return
    if owner.pw_uid != 0:
        os.initgroups(owner.pw_name, owner.pw_gid)
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)
        os.environ["HOME"] = owner.pw_dir  # where a scheduler's command looks for files of its user


def exit_for_config(error: ConfigError) -> NoReturn:
    """Prints the mistakes and exits with 78."""
    count = counted(len(error.mistakes), "mistake")
    summary = f"{error.path}: {count}; config.example.yaml shows every key"
    priority = "<3>" if logs.is_the_journal(sys.stderr) else ""
    for line in (*str(error).splitlines(), summary):
        click.echo(f"{priority}{line}", err=True)
    sys.exit(EXIT_CONFIG)
