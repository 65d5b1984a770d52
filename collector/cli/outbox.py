"""`auditor-collector outbox`: what waits, and the emergency exit."""

import contextlib
import itertools
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click
import msgspec
import structlog

from collector import logs
from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.clock import utc_now
from collector.config import ConfigError
from collector.daemon import stop_on_signals
from collector.outbox import (
    REJECTED,
    TO_BE_SENT,
    Intake,
    NewRecord,
    Origin,
    Outbox,
    OutboxError,
    Outcome,
    Waiting,
)
from collector.pipeline.assemble import assemble
from collector.record import InvalidRecordError, decode

_BATCH = 1000
_BATCH_BYTES = 1_000_000
_ANY_TIME = datetime(9999, 1, 1, tzinfo=UTC)


class _Line(msgspec.Struct):
    """A line of an export."""

    source: str
    record: msgspec.Raw
    """The whole record."""


@click.group(context_settings=CONTEXT)
def command() -> None:
    """List, flush, export or import what waits; forget a source.

    Export and import are the emergency exit and the way back: an outbox can be emptied into a file
    and brought to another host. Doing either twice is harmless.

    \b
    Example:
      auditor-collector outbox export > waiting.jsonl
      auditor-collector outbox import -c other.yaml waiting.jsonl
    """


@command.command("list")
@config_option
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
def list_(config_path: Path, limit: int) -> None:
    """List what waits, oldest first: source, record id, what is to be sent, tries.

    \b
    Example:
      auditor-collector outbox list --limit 10
    """
    with _opened(config_path) as outbox:
        for waiting in itertools.islice(_waiting(outbox), limit):
            what = "stop time" if waiting.is_stop else "record"
            tries = f"  tried {waiting.tries} times" if waiting.tries else ""
            click.echo(f"{waiting.source}  {waiting.record_id}  {what}{tries}")


@command.command()
@config_option
@click.option("--file", type=click.Path(path_type=Path, exists=True), help="Another outbox file.")
def export(config_path: Path, file: Path | None) -> None:
    """Write what waits to standard output, as JSON lines; the outbox stays as it is.

    With --file it reads another file, such as one that was damaged and kept aside.

    \b
    Example:
      auditor-collector outbox export > waiting.jsonl
    """
    with _opened(config_path, file) as outbox:
        for waiting in _waiting(outbox):
            line = _Line(waiting.source, msgspec.Raw(waiting.body))
            click.echo(msgspec.json.encode(line))


@command.command("import")
@config_option
@click.argument("file", type=click.File("rb"), default="-")
def import_(config_path: Path, file: IO[bytes]) -> None:
    """Put exported records into the outbox; what it knows already is left alone.

    \b
    Example:
      auditor-collector outbox import waiting.jsonl
    """
    outcomes: Counter[Outcome] = Counter()
    with _opened(config_path, create=True) as outbox:
        numbered = enumerate(file, 1)
        while lines := list(itertools.islice(numbered, _BATCH)):
            records: dict[str, list[NewRecord]] = {}
            for number, text in lines:
                try:
                    line = msgspec.json.decode(text, type=_Line)
                    record = NewRecord.of(decode(bytes(line.record)))
                except (msgspec.MsgspecError, InvalidRecordError) as error:
                    raise click.ClickException(
                        f"line {number}: expected a line of an export: {error}"
                    ) from error
                records.setdefault(line.source, []).append(record)
            for source, some in records.items():
                intake = Intake(source, some, read=len(some), origin=Origin.IMPORT)
                outcomes.update(outbox.put(intake).outcomes)
    rejected = sum(outcomes[outcome] for outcome in REJECTED)
    to_be_sent = sum(outcomes[outcome] for outcome in TO_BE_SENT)
    click.echo(f"{to_be_sent:>12}  to be sent\n{outcomes[Outcome.KNOWN]:>12}  known")
    click.echo(f"{rejected:>12}  rejected")
    sys.exit(1 if rejected else 0)


@command.command()
@config_option
def flush(config_path: Path) -> None:
    """Send what waits, now, without reading any source; also beside a daemon.

    \b
    Example:
      auditor-collector outbox flush

    Exit status: 0 if nothing waits any more, 1 otherwise.
    """
    config = load_or_exit(config_path)
    logs.set_up(config.log.level, config.log.format)
    stop = threading.Event()
    config.sources = []
    try:
        with (
            stop_on_signals(stop),
            assemble(config, structlog.get_logger(), stop) as parts,
        ):
            result = parts.sender.run_pass()
            while result.elsewhere and not stop.wait(1):
                result = parts.sender.run_pass()
            waiting = parts.outbox.status().waiting
    except ConfigError as error:
        exit_for_config(error)
    except OutboxError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{result.accepted:>12}  sent\n{result.rejected:>12}  rejected\n{waiting:>12}  waiting"
    )
    sys.exit(1 if waiting else 0)


@command.command()
@config_option
@click.argument("source")
@click.option("--force", is_flag=True, help="Also a source that is configured.")
def forget(config_path: Path, source: str, force: bool) -> None:
    """Forget a source that is no longer configured: checkpoint, state and counts.

    What waits of it is sent all the same. Should it come back, it is read from its beginning, and
    what was sent already is recognised.

    \b
    Example:
      auditor-collector outbox forget old-ap
    """
    if not force and source in {one.name for one in load_or_exit(config_path).sources}:
        raise click.ClickException(
            f"{source} is configured; take it out of {config_path}, or give --force to read it "
            "from its beginning again (stop the daemon before)"
        )
    with _opened(config_path) as outbox:
        if not outbox.forget(source):
            raise click.ClickException(f"{source}: no such source is known")
    click.echo(f"{source} is forgotten")


@contextlib.contextmanager
def _opened(
    config_path: Path, file: Path | None = None, *, create: bool = False
) -> Iterator[Outbox]:
    config = load_or_exit(config_path)
    path = file or config.outbox.path
    try:
        with Outbox.open(path, now=utc_now, limits=config.outbox, create=create) as outbox:
            yield outbox
    except OutboxError as error:
        raise click.ClickException(str(error)) from error


def _waiting(outbox: Outbox) -> Iterator[Waiting]:
    """All that waits, page by page."""
    after = 0
    while page := outbox.take(_BATCH, _BATCH_BYTES, _ANY_TIME, after=after):
        yield from page
        after = page[-1].id
