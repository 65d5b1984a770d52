"""The text of a YAML file, as nodes that know their file and line; bounded, whatever it holds."""

from pathlib import Path

import yaml

from collector.config.mistakes import Mistake

LIMIT_BYTES = 1_000_000
"""Largest configuration: a hundred times what a site needs, and read within seconds."""


def read_text(path: Path) -> tuple[str | None, Mistake | None]:
    """The text of a file; or None, and why it has none.

    A device or an endless file costs no more than the limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        return None, Mistake(0, "", f"cannot be read: {error.strerror or error}")
    if len(data) > LIMIT_BYTES:
        return None, Mistake(0, "", f"is larger than {LIMIT_BYTES:,} bytes; is it a configuration?")
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        text = (
            f"byte 0x{byte:02x} is not UTF-8 ({bytes([byte]).decode('latin-1')!r} in Latin-1); "
            f"save the file as UTF-8, e.g. with iconv -f latin1 -t utf8 {path}"
        )
        return None, Mistake(line, "", text)


def compose(text: str, file: str = "") -> tuple[yaml.Node | None, Mistake | None]:
    """The root node of one YAML document; or None, and what is wrong with the text.

    An empty document has neither.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        loader.name = file
        return loader.get_single_node(), None
    except yaml.MarkedYAMLError as error:
        return None, _mistake(error, text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        char = text[error.position : error.position + 1]
        return None, Mistake(line, "", f"not YAML: the character {char!r} may not be in a file")
    except RecursionError:
        return None, Mistake(0, "", "not a configuration: brackets nest hundreds deep")
    finally:
        if loader is not None:
            loader.dispose()


def _mistake(error: yaml.MarkedYAMLError, text: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with blanks only"
    elif "unexpected end of stream" in problem and error.context_mark:
        line = error.context_mark.line + 1
        problem = "the quote that opens here is never closed"
    elif problem.startswith("but found another document"):
        problem = "a second document (---) begins here; a configuration is one document"
    elif error.context and problem.startswith(("expected ", "did not find", "could not find")):
        began = error.context_mark
        since = f" that began in line {began.line + 1}" if began and began.line + 1 < line else ""
        problem = f"{problem} {error.context}{since}"
    return Mistake(line, "", f"not YAML: {problem}{_advice(problem, text, line)}")


def _advice(problem: str, text: str, line: int) -> str:
    """For the commonest causes."""
    lines = text.splitlines()
    there = lines[line - 1] if 0 < line <= len(lines) else ""
    if "mapping values are not allowed" in problem:
        return "; a text with a colon and a blank goes in quotes, and keys line up below each other"
    if "cannot start any token" in problem and any(char in there for char in "@`%"):
        return "; a text that begins with such a character goes in quotes"
    return ""
