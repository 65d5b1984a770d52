"""Mistakes in a configuration: where each is, what was expected, and which word may be meant."""

import difflib
from collections.abc import Iterable
from pathlib import Path

import msgspec


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong in a file."""

    line: int
    """Counted from 1; 0 for the file as a whole."""
    path: str
    """The keys that lead there, e.g. `sources[0].interval_s`."""
    text: str
    """What was expected, what is there, what to do."""
    file: str = ""
    """The file, if it is another than that of the whole configuration."""

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path + ': ' if self.path else ''}{self.text}"


class ConfigError(Exception):
    """Raised for a configuration that cannot be used; holds every mistake that was found."""

    def __init__(self, path: Path, mistakes: Iterable[Mistake]) -> None:
        self.path = path
        self.mistakes = sorted(set(mistakes), key=lambda one: (one.file, one))
        super().__init__("\n".join(f"{one.file or path}: {one}" for one in self.mistakes))


class Places(dict[str, tuple[str, int]]):
    """Key path → (file, line) of what a configuration says."""

    file: Path = Path("configuration")
    """The configuration's own file."""

    def error(self, *mistakes: tuple[str, str]) -> ConfigError:
        """The error of (key path, text) mistakes, each with its line.

        A path without a line of its own has that of the nearest section around it.
        """
        return ConfigError(self.file, (self.mistake(path, text) for path, text in mistakes))

    def mistake(self, path: str, text: str) -> Mistake:
        """The mistake at a key path, with its line; see `error`."""
        around = path
        while around and around not in self:
            around = around[: max(around.rfind("."), around.rfind("["), 0)]
        file, line = self.get(around, ("", 0)) if around else ("", 0)
        return Mistake(line, path, text, "" if file == str(self.file) else file)


def known_here(known: Iterable[str]) -> str:
    """What could be in the place of an unknown name."""
    return f"; known here are {', '.join(sorted(known))}"


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """A hint for an unknown name that is close to a known one: `; did you mean "…"?`."""
    meant = close_to(key, known)
    return "" if meant is None else f'; did you mean "{meant}"?'


def close_to(key: str, known: Iterable[str]) -> str | None:
    """The known name that is closest to an unknown one, in any case; None if none is close."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), names, 1, 0.6)
    return names[close[0]] if close else None


def join(path: str, key: str) -> str:
    """The key path of a key below another."""
    return f"{path}.{key}" if path else key
