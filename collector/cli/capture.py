"""`auditor-collector capture`: a test case of real jobs, to be attached to a report."""

import threading
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import click
import structlog

from collector import logs
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.config import ConfigError
from collector.logs import counted
from collector.pipeline.capture import anonymous, write
from collector.pipeline.explain import find, stopping
from collector.pipeline.sources import make_sources
from collector.source import SourceError

_BACK = timedelta(days=31)
_LIMIT_S = 120.0
_PROGRAM = "auditor-collector"
_README = """\
A test case of auditor-collector {version}, made by `auditor-collector capture`.

Words in the jobs' texts were replaced, each by the same word everywhere; numbers (user ids too),
times and the scheduler's own words are as they were. Look through job-*.txt and config.yaml before
you send them.

    config.yaml     the source's keys and mapping
    job-*.txt       the text of each job; together in input
    expected.jsonl  what becomes of each: a record, or why there is none

The tests run every such folder in tests/testcases/captured. Change expected.jsonl to what you
expect, and the case shows the fault.
"""


@click.command(context_settings=CONTEXT)
@config_option
@click.argument("jobs", nargs=-1, metavar="[JOB|RECORD_ID]...")
@click.option("--source", "name", required=True, help="The source that the jobs belong to.")
@click.option("--last", type=click.IntRange(min=1), help="The newest so many jobs, instead.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder to make; it must not be there.",
)
def command(
    config_path: Path, jobs: tuple[str, ...], name: str, last: int | None, out: Path
) -> None:
    """Make a test case of jobs, with other words for users, groups, hosts, paths and texts.

    The folder has the texts of the jobs, the source's mapping, and what becomes of each job. Look
    through it, then attach it to a report; our tests run it as it is.

    \b
    Example:
      auditor-collector capture --source ap1 --out case 12.0
      auditor-collector capture --source lab --out case --last 20
    """
    config = load_or_exit(config_path)
    logs.set_up("error")
    if bool(jobs) == (last is not None):
        raise click.UsageError("give jobs, or --last")
    stop = threading.Event()
    try:
        sources = make_sources(config, structlog.get_logger(), stop)
        mapped = next((one for one in sources if one.name == name), None)
        if mapped is None:
            known = ", ".join(one.name for one in sources)
            raise click.UsageError(f"--source {name}: the configuration has {known}")
        timer = stopping(_LIMIT_S, stop)
        if last is not None:
            reads = list(mapped.source.newest(last))
        else:
            reads = [read for job in jobs for read, _ in find(job, mapped, None, _BACK)]  # type: ignore[misc]
        timer.cancel()
        texts = anonymous(reads, mapped)
        if not texts:
            raise click.ClickException("no such job was found")
        write(texts, mapped.source.section, out, _README.format(version=version(_PROGRAM)))
    except ConfigError as error:
        exit_for_config(error)
    except SourceError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written: {error.strerror}") from error
    found = counted(len(texts), "job")
    click.echo(f"{out}: {found}; look through it before you send it")
