"""Reads numbers out of the texts of an ad's attributes."""

import math

from collector.source import Unreadable

Texts = dict[bytes, bytes]
"""Name of an attribute → what follows its `Name = `."""

_INSTANT_DIGITS = 11


def instant(text: bytes | None) -> int:
    """An instant in epoch seconds, or a count; 0 for anything else."""
    return int(text) if text and text.isdigit() and len(text) <= _INSTANT_DIGITS else 0


def number(text: bytes | None) -> float | None:
    """A finite number that is not negative; None for anything else."""
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 <= found < math.inf else None


def unreadable(raw: bytes, where: str, texts: Texts, name: bytes, expected: str) -> Unreadable:
    """Says of an attribute what it is, and what was expected."""
    text = texts.get(name)
    shown = "is missing" if text is None else f"is {text[:60].decode(errors='replace')}"
    return Unreadable(raw, where, f"{name.decode()} {shown}; expected {expected}")
