"""`auditor-collector collect-job`: one ended job into the outbox, from a scheduler's epilog."""

import sys
import threading
from pathlib import Path

import click
import structlog

from collector import logs
from collector.cli.options import CONTEXT, config_option, load_as_owner
from collector.clock import utc_now
from collector.config import ConfigError
from collector.outbox import Origin, Outbox, OutboxError
from collector.pipeline.collect import Collected, store
from collector.pipeline.sources import make_sources
from collector.source import SourceError

_OUTBOX_S = 5
"""Seconds to wait for others that write into the outbox: fifty epilogs at once need fewer."""


@click.command(context_settings=CONTEXT)
@config_option
@click.option("--source", "name", required=True, help="The source that the job belongs to.")
@click.argument("job_id")
def command(config_path: Path, name: str, job_id: str) -> None:
    """Put the job JOB_ID, which has ended, into the outbox; the daemon sends it.

    Made for EpilogSlurmctld, so that a job is accounted as soon as it ends. It never fails the
    epilog: the exit status is always 0, and a job that cannot be read now is left to the polls of
    the daemon, which reads it anyway.

    \b
    Example, in the script that EpilogSlurmctld names:
      auditor-collector collect-job --source lab "$SLURM_JOB_ID"
    """
    logs.set_up("warning")
    log = structlog.get_logger().bind(source=name, job=job_id)
    try:
        config = load_as_owner(config_path)
        mapped = next(
            (one for one in make_sources(config, log, threading.Event()) if one.name == name), None
        )
        if mapped is None:
            log.error("job left to the polls", error=f"{config_path} has no source {name!r}")
            sys.exit(0)
        with Outbox.open(config.outbox.path, now=utc_now, limits=config.outbox) as outbox:
            outbox.wait_at_most(_OUTBOX_S)
            store(mapped.source.one(job_id), mapped, outbox, Collected(), origin=Origin.EPILOG)
    except (ConfigError, SourceError, OutboxError, ValueError) as error:
        log.error("job left to the polls", error=str(error))
    except Exception:
        log.critical("job left to the polls", exc_info=True)
    sys.exit(0)
