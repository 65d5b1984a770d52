"""Writes the manual pages: the command's from click, the configuration's from its example.

python manpages.py FOLDER VERSION
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from collector.cli import main

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
NAME = "auditor-collector"


def escaped(text: str) -> str:
    """Text as roff takes it literally."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("\b", "")
    return "\n".join(rf"\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """A paragraph for each option and argument."""
    for parameter in command.get_params(context):
        if shown := parameter.get_help_record(context):
            yield f".TP\n.B {escaped(shown[0])}\n{escaped(shown[1])}"


def page(command: click.Command, path: list[str], version: str) -> str:
    """The manual page of a command or a group of commands."""
    context = click.Context(command, info_name=" ".join(path))
    title = "-".join(path)
    first, _, more = (command.help or "").partition("\n\n")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH {title.upper()} 1 "" "{NAME} {version}"',
        f".SH NAME\n{escaped(title)} \\- {escaped(' '.join(first.split()).rstrip('.'))}",
        f".SH SYNOPSIS\n.B {escaped(' '.join(path))}\n{escaped(usage)}",
    ]
    if more:
        lines.append(f".SH DESCRIPTION\n.nf\n{escaped(more)}\n.fi")
    lines += [".SH OPTIONS", *options(command, context)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            assert one is not None
            below, says = escaped(f"{title}-{name}"), escaped(one.get_short_help_str(200))
            lines.append(f".TP\n.BR {below} (1)\n{says}")
    lines.append(f".SH SEE ALSO\n.BR {escaped(NAME)} (1),\n.BR {escaped(NAME)}.yaml (5)\n")
    return "\n".join(lines)


def pages(command: click.Command, path: list[str], version: str) -> Iterator[tuple[str, str]]:
    """File name and text of the page of a command, and of those below it."""
    yield f"{'-'.join(path)}.1", page(command, path, version)
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            assert one is not None
            yield from pages(one, [*path, name], version)


def configuration(version: str) -> str:
    """The manual page of the configuration file: every key, with its unit and default."""
    return (
        f'.TH AUDITOR\\-COLLECTOR.YAML 5 "" "{NAME} {version}"\n'
        f".SH NAME\n{escaped(NAME)}.yaml \\- configuration of auditor\\-collector\n"
        f".SH DESCRIPTION\nYAML, by default /etc/auditor\\-collector/config.yaml.\n"
        ".B auditor\\-collector check\nreports every error in it.\n"
        f".SH EXAMPLE\nEvery key:\n.nf\n{escaped(EXAMPLE.read_text())}\n.fi\n"
    )


def write(folder: Path, version: str) -> None:
    """Writes all pages into man1/ and man5/."""
    for section in ("man1", "man5"):
        (folder / section).mkdir(parents=True, exist_ok=True)
    for name, text in pages(main, [NAME], version):
        (folder / "man1" / name).write_text(text)
    (folder / "man5" / f"{NAME}.yaml.5").write_text(configuration(version))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
