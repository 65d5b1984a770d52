"""`auditor-collector run`: the daemon."""

import functools
import sys
from pathlib import Path

import click
import structlog

from collector import logs
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_as_owner
from collector.config import ConfigError
from collector.daemon import Daemon
from collector.outbox import OutboxError


@click.command(context_settings=CONTEXT)
@config_option
def command(config_path: Path) -> None:
    """Run the daemon: poll the sources, send the records, until SIGTERM.

    SIGHUP reads the configuration again; a wrong one changes nothing.

    \b
    Example:
      auditor-collector run --config /etc/auditor-collector/config.yaml

    Exit status: 0 after SIGTERM or SIGINT, 78 for a configuration with mistakes, 1 otherwise.
    """
    logs.set_up()
    log = structlog.get_logger()
    try:
        Daemon(functools.partial(load_as_owner, config_path), log).run()
    except ConfigError as error:
        exit_for_config(error)
    except OutboxError as error:
        log.critical("cannot run", error=str(error))
        sys.exit(1)
