"""`auditor-collector run`: the daemon."""

import sys
import threading
from pathlib import Path

import click
import structlog

from collector import logs
from collector.assemble import assemble
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.config import ConfigError
from collector.daemon import Daemon, stop_on_signals
from collector.outbox import OutboxError


@click.command(context_settings=CONTEXT)
@config_option
def command(config_path: Path) -> None:
    """Run the daemon: poll the sources, send the records, until SIGTERM.

    \b
    Example:
      auditor-collector run --config /etc/auditor-collector/config.yaml

    Exit status: 0 after SIGTERM or SIGINT, 78 for a configuration with mistakes, 1 otherwise.
    """
    config = load_or_exit(config_path)
    logs.set_up(config.log.level, config.log.format)
    log, stop = structlog.get_logger(), threading.Event()
    try:
        with (
            stop_on_signals(stop),
            assemble(config, log, stop) as parts,
            parts.outbox.held_by_daemon(),
        ):
            Daemon(config, parts, stop, log).run()
    except ConfigError as error:
        exit_for_config(error)
    except OutboxError as error:
        log.critical("cannot start", problem=str(error))
        sys.exit(1)
