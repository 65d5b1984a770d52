"""Tables beside the configuration: what a field's text is replaced by, one entry a line.

    # partition  HEPscore23 of a core
    batch        12.5
    gpu-*        14.1

An entry is a text and, after the last blank, its value: the text may have blanks in it, as the name
in a certificate has. `*` in the text matches anything. The entry with exactly the text counts;
otherwise the first that fits.
"""

from pathlib import Path

_LIMIT_BYTES = 10_000_000


class Table:
    """What replaces texts."""

    def __init__(self, entries: dict[str, str | int | float]) -> None:
        """Takes the entries, in the order in which they are tried."""
        self._exact = {text: value for text, value in entries.items() if "*" not in text}
        self._patterns = [(text.split("*"), entries[text]) for text in entries if "*" in text]

    def find(self, text: str) -> str | int | float | None:
        """The value of a text; None if no entry fits."""
        found = self._exact.get(text)
        if found is None:
            return next((value for parts, value in self._patterns if _fits(text, parts)), None)
        return found


def read_table(path: Path) -> Table:
    """Reads a table.

    Raises:
        ValueError: when the file cannot be read, or a line has no value, or a text comes twice.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None
    if len(text) > _LIMIT_BYTES:
        raise ValueError(f"{path} is longer than {_LIMIT_BYTES} bytes")
    entries: dict[str, str | int | float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = line.rsplit(None, 1)
        key = parts[0].strip()
        if len(parts) == 1:
            raise ValueError(f"{path}, line {number}: expected a text, a blank, and its value")
        if key in entries:
            raise ValueError(f"{path}, line {number}: {key} was given before; keep one")
        entries[key] = parts[1]
    return Table(entries)


def _fits(text: str, parts: list[str]) -> bool:
    """Whether a text begins with the first part, ends with the last, and has the others between."""
    first, *between, last = parts
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in between:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
