"""`auditor-collector import-config`: the configuration of another collector, as ours.

A plugin names the module that does it under the entry-point group `collector.import_config`:
`convert(old)` gives our configuration and raises ValueError for a file that is not the other
collector's; `differences(old)` says what does not carry over.
"""

import importlib.metadata
from pathlib import Path
from typing import Any

import click
import yaml

from collector.cli.options import CONTEXT
from collector.config import ConfigError, parse
from collector.source import find_plugin

ENTRY_POINTS = "collector.import_config"


@click.command(context_settings=CONTEXT)
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(old: Path) -> None:
    """Print the configuration of AUDITOR's HTCondor or Slurm collector, OLD, as one of ours.

    What does not carry over stands in comments at its head. Read it, set `since` to the moment at
    which the old collector was stopped, and check it.

    \b
    Example:
      auditor-collector import-config auditor-slurm-collector.yml > config.yaml
      auditor-collector check --config config.yaml
    """
    try:
        given = yaml.safe_load(old.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{old}: cannot be read: {error}") from error
    config, differences = _convert(old, given)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    head = "".join(f"# - {line}\n" for line in differences)
    click.echo(f"# Made from {old.name}. What is different:\n{head}\n{text}", nl=False)
    try:
        parse(text, find_plugin, old)
    except ConfigError as error:
        click.echo(f"To be mended by hand:\n{error}", err=True)


def _convert(path: Path, old: Any) -> tuple[dict[str, Any], list[str]]:
    """Tries each plugin; the one whose collector the file belongs to answers."""
    reasons = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        module = point.load()
        try:
            if not isinstance(old, dict):
                raise ValueError("expected keys and values")  # noqa: TRY004, TRY301 - as the others
            return module.convert(old), module.differences(old)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reasons.append(f"{point.name}: {error}")
    raise click.ClickException(f"{path} is of no collector that is known\n" + "\n".join(reasons))
