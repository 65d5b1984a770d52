"""`auditor-collector import-config`: the configuration of another collector, as ours.

A plugin names the module that does it under the entry-point group `collector.import_config`:
`convert(old)` gives our configuration and raises ValueError for a file that is not the other
collector's; `differences(old)` says what does not carry over. The other collector may keep a SQLite
database of what it has done: `database(old)` is its path (empty: it has none), the query `DONE`
reads it, and `go_on(old, rows)` gives from what time on ours has to read (None: as `convert` says),
and lines that say why.
"""

import contextlib
import importlib.metadata
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import yaml

from collector.cli.options import CONTEXT
from collector.config import ConfigError, parse
from collector.source import find_plugin

ENTRY_POINTS = "collector.import_config"
_KUBERNETES = frozenset({"prometheus_addr", "prometheus_port"})
"""Keys without which AUDITOR's Kubernetes collector does not start."""
_LOCK_TIMEOUT_S = 5


@click.command(context_settings=CONTEXT)
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--database",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The SQLite database of the other collector; by default where OLD says.",
)
def command(old: Path, database: Path | None) -> None:
    """Print the configuration of another collector, OLD, as one of ours.

    It reads those of AUDITOR's HTCondor, Slurm and Slurm epilog collectors. What does not carry
    over is in comments at the head of what is printed. The old collector's database is read, too,
    and not changed, for the time from which on ours has to read (`since`): so stop the old
    collector first, and run this where it ran. Then read what is printed, and check it.

    \b
    Example:
      auditor-collector import-config auditor-slurm-collector.yml > config.yaml
      auditor-collector check --config config.yaml
    """
    try:
        given = yaml.safe_load(old.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{old}: cannot be read: {error}") from error
    module, config = _convert(old, given)
    differences = module.differences(given)
    theirs = module.database(given)
    path = database or old.parent / theirs
    try:
        rows = _rows(path, module.DONE) if database or theirs else []
        since, more = module.go_on(given, rows)
    except (OSError, sqlite3.Error, ValueError, TypeError) as error:
        since, more = None, [_not_read(path, error)]
    if since is not None:
        config["sources"][0]["since"] = since.isoformat()
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    head = "".join(f"# - {line}\n" for line in [*differences, *more])
    click.echo(f"# Made from {old.name}. What is different:\n{head}\n{text}", nl=False)
    try:
        parse(text, find_plugin, old)
    except ConfigError as error:
        click.echo(f"Correct this by hand:\n{error}", err=True)


def _convert(path: Path, old: Any) -> tuple[Any, dict[str, Any]]:
    """Tries each plugin; the one whose collector the file belongs to answers."""
    if isinstance(old, dict) and _KUBERNETES.intersection(old):
        raise click.ClickException(
            f"{path} is of auditor-kubernetes-collector. Nothing here reads Kubernetes: keep that "
            "collector; its records and ours can go to the same Auditor"
        )
    reasons = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        module = point.load()
        try:
            if not isinstance(old, dict):
                raise ValueError("expected keys and values")  # noqa: TRY004, TRY301 - as the others
            return module, module.convert(old)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reasons.append(f"{point.name}: {error}")
    raise click.ClickException(f"{path} is of no collector that is known\n" + "\n".join(reasons))


def _rows(path: Path, query: str) -> list[Sequence[Any]]:
    """What a query finds in a database that is not ours.

    Read-only does not keep SQLite from making its own files beside a database in WAL mode, which
    would then belong to us: where there are none, nobody has it open, and it is read as it is.

    Raises:
        OSError: when it is not there.
        sqlite3.Error: when it is no such database, or locked.
    """
    path.stat()
    in_use = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
    mode = "mode=ro" if in_use else "mode=ro&immutable=1"
    with contextlib.closing(
        sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{mode}", uri=True, timeout=_LOCK_TIMEOUT_S
        )
    ) as opened:
        opened.text_factory = lambda text: text.decode(errors="replace")
        return opened.execute(query).fetchall()


def _not_read(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return (
        f"its database {path} could not be read ({reason}): `since` does not know what it has "
        "collected. Stop it, and say where its database is (--database); or set `since` by hand, "
        "well before it was stopped: what it has sent already is found in the Auditor"
    )
