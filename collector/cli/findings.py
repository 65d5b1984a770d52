"""How `check` prints what it found: for people, for programs, for Nagios and Icinga."""

import sys
from pathlib import Path
from typing import Literal, NoReturn

import click
import msgspec

from collector.config.mistakes import Mistake
from collector.source import Finding
from collector.source.contract import Level

Style = Literal["text", "json", "nagios"]

_NAGIOS = {"ok": (0, "OK"), "note": (0, "OK"), "warning": (1, "WARNING"), "error": (2, "CRITICAL")}


class Found(msgspec.Struct, omit_defaults=True):
    """One finding."""

    level: Level
    about: str
    """A source's name, `auditor`, or a file."""
    text: str
    line: int = 0
    """Of a configuration's mistake or warning; 0: none."""
    path: str = ""
    """The key path, likewise."""

    @property
    def shown(self) -> str:
        """All of it but the level, in a line."""
        line = f"line {self.line}: " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        return f"{self.about}: {line}{path}{self.text}"

    @classmethod
    def of(cls, about: str, finding: Finding) -> "Found":
        """The finding of a source."""
        return cls(finding.level or "error", about, finding.text)

    @classmethod
    def of_file(cls, level: Level, path: Path, mistake: Mistake) -> "Found":
        """What is wrong, or may be, in a configuration."""
        return cls(level, mistake.file or str(path), mistake.text, mistake.line, mistake.path)


def show(findings: list[Found], style: Style, *, verbose: bool, exit_status: int) -> NoReturn:
    """Prints findings and ends the program.

    Args:
        findings: in the order of the data path.
        style: how.
        verbose: whether notes are shown; JSON always has them.
        exit_status: unless the style has its own.
    """
    if style == "json":
        text = msgspec.json.encode({"exit_status": exit_status, "findings": findings})
        click.echo(msgspec.json.format(text))
    elif style == "nagios":
        exit_status = _nagios(findings)
    else:
        for one in findings:
            if verbose or one.level != "note":
                click.echo(f"{one.level:8} {one.shown}")
    sys.exit(exit_status)


def _nagios(findings: list[Found]) -> int:
    """Prints the worst finding and how many there are, then the others; gives the exit status."""
    bad = [one for one in findings if one.level in ("error", "warning")]
    bad.sort(key=lambda one: one.level)  # errors first
    status, word = _NAGIOS[bad[0].level if bad else "ok"]
    lines = [one.shown.replace("|", "¦") for one in bad or findings[:1]]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    click.echo(f"AUDITOR COLLECTOR {word} - {lines[0]}{more}")
    for line in lines[1:]:
        click.echo(line)
    return status
