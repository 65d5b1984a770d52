"""How the program writes what people read: events, one line each, and texts and numbers in them.

Events go to standard error: on a terminal as coloured text, under systemd with the priority that
the journal understands, otherwise as JSON. Tracebacks never show local variables, which may hold
secrets.
"""

import logging
import os
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

Log = structlog.typing.FilteringBoundLogger
"""What every part writes its events to."""

Format = Literal["auto", "console", "journal", "json"]

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3)."""


def set_up(level: str = "info", style: Format = "auto", stream: TextIO | None = None) -> None:
    """Sets up logging for the whole process.

    Args:
        level: the least level that is written.
        style: how; `auto` chooses by what standard error is.
        stream: where to, if not to standard error.
    """
    stream = stream or sys.stderr
    if style == "auto":
        style = "console" if stream.isatty() else "journal" if is_the_journal(stream) else "json"
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    if style == "journal":
        processors += [structlog.processors.format_exc_info, _journal_line]
    elif style == "console":
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.ExceptionRenderer(transform),
            structlog.processors.JSONRenderer(default=str),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)


def is_the_journal(stream: TextIO) -> bool:
    """Whether it is what systemd connected to the journal, and not only inherited its variable.

    Source: systemd.exec(5), JOURNAL_STREAM.
    """
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # of a stream that is no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def printable(text: str) -> str:
    """Text of anybody on one line, with escapes for all that a terminal or a parser would obey."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def counted(number: int, thing: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def size(length_bytes: float) -> str:
    """`512 bytes`, `1.5 MB`, `20 GB`: powers of 1000, as in the configuration."""
    for unit, unit_bytes in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if length_bytes >= unit_bytes:
            value = length_bytes / unit_bytes
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"  # noqa: PLR2004
    return counted(int(length_bytes), "byte")


class _ToStructlog(logging.Handler):
    """Passes on what libraries log with the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger().bind(logger=record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _number(level: str) -> int:
    return int(logging.getLevelNamesMapping()[level.upper()])


def _journal_line(_: WrappedLogger, __: str, event: EventDict) -> str:
    """`<6>event key=value …`: each line with its priority; the journal adds the time itself."""
    level = event.pop("level", "info")
    text, trace = str(event.pop("event", "")), event.pop("exception", "")
    fields = "".join(f" {key}={_one_line(value)}" for key, value in event.items())
    # The words of a library may hold anything.
    lines = [f"{printable(text)}{fields}", *map(printable, str(trace).splitlines())]
    return "\n".join(f"<{_PRIORITIES.get(level, 6)}>{line}" for line in lines)


def _one_line(value: object) -> str:
    """A value that cannot forge another line or field."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' "=') and text else repr(text)
