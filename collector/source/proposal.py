"""What `auditor-collector init` writes for a scheduler that it finds on a machine."""

import json
import re
import threading

import msgspec

from collector.source.command import output_of
from collector.source.contract import SourceError

_TIMEOUT_S = 10
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that are no text without quotes."""


class Key(msgspec.Struct, frozen=True):
    """A key of the proposed section."""

    name: str
    value: str
    """As YAML."""
    why: str
    """One line, without `#`."""
    fill_in: bool = False
    """Whether it was not found, so that the administrator has to write it; its value is a guess."""


class Proposal(msgspec.Struct):
    """A source for this machine."""

    name: str
    """Names the source; its `record_prefix` is made of it."""
    keys: list[Key]
    """The plugin's own, those that differ from their defaults or that one should look at."""
    found: bool
    """Whether the scheduler is on this machine at all."""
    said: list[str] = []
    """What was asked and what could not be answered, a line each."""
    also: list[Key] = []
    """Keys to consider; written as comments."""


def ask(arguments: list[str]) -> tuple[str | None, str]:
    """What a tool prints, or None and why it does not.

    Args:
        arguments: the command; nothing in it is interpreted by a shell.
    """
    try:
        output = b"".join(output_of(arguments, _TIMEOUT_S, threading.Event()))
    except SourceError as error:
        return None, str(error)
    return output.decode(errors="replace").strip(), ""


def quoted(text: str) -> str:
    """A text as YAML: one value in one line, whatever is in it."""
    if re.fullmatch(r"[A-Za-z/][\w./-]*", text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text)
