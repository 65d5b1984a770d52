"""`auditor-collector explain`: what became of a job, step by step."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import structlog

from collector import logs
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.clock import stamp, utc_now
from collector.config import Config, ConfigError
from collector.logs import printable
from collector.mapping.trace import Traced
from collector.outbox import Outbox, OutboxError, Whereabouts
from collector.pipeline.assemble import make_client
from collector.pipeline.explain import Explanation, explain, find, in_auditor, locate, stopping
from collector.pipeline.sources import MappedSource, make_sources
from collector.source import SourceError, guarded

_BACK = timedelta(days=31)
_LIMIT_S = 120.0


@click.command(context_settings=CONTEXT)
@config_option
@click.argument("jobs", nargs=-1, metavar="[JOB|RECORD_ID]...")
@click.option("--source", "name", help="The source that the job belongs to; without it, all.")
@click.option("--last", type=click.IntRange(min=1), help="The newest so many jobs, instead.")
@click.option(
    "--file",
    type=click.File("rb"),
    help="The text of one job, as explain shows it under raw; - is standard input.",
)
@click.option("--offline", is_flag=True, help="Do not ask the Auditor.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, or a line of JSON for each run.",
)
def command(
    config_path: Path,
    jobs: tuple[str, ...],
    name: str | None,
    last: int | None,
    file: Any,
    offline: bool,
    style: Literal["text", "json"],
) -> None:
    """Explain what becomes of jobs: their text, each rule, the record, and where it is now.

    JOB is the scheduler's id, such as 4711 or 12.0. A job is looked for among what was rejected and
    in the accounting of the last 31 days. Nothing is stored or sent.

    \b
    Example:
      auditor-collector explain 4711
      auditor-collector explain --source ap1 --last 3 --format json
      auditor-collector explain --source ap1 --file ad.txt

    Exit status: 0, or 1 if a job is not found, or no record can be made of one; 78 for a
    configuration with mistakes.
    """
    config = load_or_exit(config_path)
    logs.set_up("error")
    if bool(jobs) + (last is not None) + (file is not None) != 1:
        raise click.UsageError("give jobs, or --last, or --file")
    stop = threading.Event()
    try:
        sources = make_sources(config, structlog.get_logger(), stop)
        chosen = [mapped for mapped in sources if name in (None, mapped.name)]
        if not chosen:
            known = ", ".join(mapped.name for mapped in sources)
            raise click.UsageError(f"--source {name}: the configuration has {known}")
        if file is not None and len(chosen) != 1:
            raise click.UsageError("--file needs --source")
        with _outbox(config) as outbox:
            timer = stopping(_LIMIT_S, stop)
            found, missing = _found(chosen, config, outbox, jobs, last, file)
            timer.cancel()
            client = None if offline else make_client(config.auditor, config.places)
            with client or contextlib.nullcontext():
                locate(found, outbox, client)
                known_ids = [(one, _elsewhere(one, outbox, client)) for one in missing]
    except ConfigError as error:
        exit_for_config(error)
    except (SourceError, OutboxError) as error:
        raise click.ClickException(str(error)) from error
    for one in found:
        click.echo(msgspec.json.encode(one) if style == "json" else _text(one))
    for wanted, said in known_ids:
        click.echo(f"{wanted}: no source shows it{said}", err=True)
    sys.exit(1 if missing or any(one.rejected for one in found) or not found else 0)


def _found(
    sources: list[MappedSource],
    config: Config,
    outbox: Outbox | None,
    jobs: tuple[str, ...],
    last: int | None,
    file: Any,
) -> tuple[list[Explanation], list[str]]:
    """The explanations, and the ids that no source knows."""
    if file is not None:
        (mapped,) = sources
        where = file.name if isinstance(file.name, str) else "standard input"
        return [
            explain(guarded(mapped.source.parse, file.read(), where), mapped, config, where)
        ], []
    if last is not None:
        return [
            explain(job, mapped, config) for mapped in sources for job in mapped.source.newest(last)
        ], []
    found: list[Explanation] = []
    missing: list[str] = []
    for wanted in jobs:
        of_job: list[Explanation] = []
        for mapped in sources:
            try:
                reads = find(wanted, mapped, outbox, _BACK)
            except SourceError as error:  # the other sources, outbox and Auditor may know the job
                click.echo(f"{mapped.name}: {error}", err=True)
                continue
            of_job += [explain(read, mapped, config, where) for read, where in reads]
        found += of_job
        missing += [] if of_job else [wanted]
    return found, missing


def _elsewhere(record_id: str, outbox: Outbox | None, client: Any) -> str:
    """What outbox and Auditor say of a record id that no source shows."""
    said = ""
    if outbox is not None and (at := outbox.whereabouts(record_id)).known:
        said += f"; outbox: {_where_now(at)}"
    if client is not None:
        said += f"; Auditor: {in_auditor(record_id, None, client)}"
    return said


@contextlib.contextmanager
def _outbox(config: Config) -> Iterator[Outbox | None]:
    """The outbox, if there is one: a mapping is also written before the first run."""
    if not config.outbox.path.exists():
        yield None
        return
    with Outbox.open(config.outbox.path, now=utc_now, create=False) as outbox:
        yield outbox


def _text(one: Explanation) -> str:
    lines = [f"source    {one.source}", f"record    {one.record_id or 'none'}"]
    lines += [f"where     {one.where}"] if one.where else []
    lines += ["raw", *(f"  {printable(line)}" for line in one.raw.splitlines())] if one.raw else []
    if one.start_at is not None:
        lines.append(f"start     {stamp(one.start_at)}")
        lines.append(f"stop      {stamp(one.stop_at) if one.stop_at else 'runs'}")
    for witness in one.witnesses:
        at = f" = {stamp(witness.at)}" if witness.at else ""
        agrees = f"  (agrees with the {witness.agrees})" if witness.agrees else ""
        lines.append(f"  {witness.field} {printable(str(witness.value))}{at}{agrees}")
    for rule in one.rules:
        lines += _rule(rule)
    if one.left_out:
        lines.append(f"left out  {one.left_out}")
    if one.rejected:
        lines.append(f"rejected  {printable(one.rejected)}")
    if one.record is not None:
        lines.append(f"sent as   {bytes(one.record).decode()}")
    if one.outbox is not None:
        lines.append(f"outbox    {_where_now(one.outbox)}")
    if one.auditor:
        lines.append(f"Auditor   {printable(one.auditor)}")
    return "\n".join(lines) + "\n"


def _rule(rule: Traced) -> list[str]:
    result = f"{rule.value!r}" if rule.counts else f"left out: {printable(rule.left_out)}"
    lines = [f"{rule.name:<9} {result}"]
    for step in rule.steps:
        made = printable(step.problem) if step.problem else repr(step.value)
        lines.append(f"  {printable(step.key)} → {made}")
    return lines


def _where_now(at: Whereabouts) -> str:
    said = []
    if at.waits:
        tries = f", tried {at.tries} times" if at.tries else ""
        due = f", due {stamp(at.due_at)}" if at.due_at else ""
        said.append(f"the {at.waits} waits{tries}{due}")
    if at.sent_at is not None:
        said.append(f"sent at {stamp(at.sent_at)}")
    if at.is_open:
        said.append("its stop time is to follow")
    said += [f"rejected as {printable(reason)}" for reason in at.rejected]
    return "; ".join(said) or "not known here"
