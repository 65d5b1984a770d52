"""`auditor-collector pseudonym`: who is who, for those who have the key."""

import sys
from pathlib import Path

import click

from collector.cli.options import CONTEXT, config_option, exit_for_config, load_or_exit
from collector.config import ConfigError, pseudonyms


@click.command(context_settings=CONTEXT)
@config_option
@click.argument("text", required=False)
def command(config_path: Path, text: str | None) -> None:
    """Print the pseudonym of TEXT, or of each line of standard input with the line.

    TEXT is what was in the record without `pseudonym: true`; the key is the configuration's.

    \b
    Example: the records of a user, and the user of a pseudonym
      auditor-collector records --url URL --meta user="$(auditor-collector pseudonym alice)"
      getent passwd | cut -d: -f1 | auditor-collector pseudonym | grep 7ddbe5a5c8ab23f05be7

    Exit status: 0, or 78 for a configuration with mistakes or without a key.
    """
    config = load_or_exit(config_path)
    try:
        pseudonym = pseudonyms.of_site(config)
    except ConfigError as error:
        exit_for_config(error)
    if pseudonym is None:
        exit_for_config(pseudonyms.no_key(config, []))
    if text is not None:
        click.echo(pseudonym(text))
        return
    for line in sys.stdin:
        name = line.rstrip("\n")
        click.echo(f"{pseudonym(name)}  {name}")
