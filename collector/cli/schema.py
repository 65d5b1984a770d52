"""`auditor-collector schema`: the JSON schema of the configuration, for editors."""

import click
import msgspec

from collector.cli.options import CONTEXT
from collector.config.schema import schema_of, sections_of
from collector.source import find_plugin, installed_plugins


@click.command(context_settings=CONTEXT)
def command() -> None:
    """Print the JSON schema of the configuration, with the plugins that are installed.

    Editors with yaml-language-server (VS Code, Neovim, Emacs, Kate) complete and check a file whose
    first line names it.

    \b
    Example, and the first line of /etc/auditor-collector/config.yaml then:
      auditor-collector schema > /etc/auditor-collector/config.schema.json
      # yaml-language-server: $schema=config.schema.json
    """
    schema = schema_of(sections_of(installed_plugins(), find_plugin))
    click.echo(msgspec.json.format(msgspec.json.encode(schema)))
