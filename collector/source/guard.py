"""Makes a job of one entry, so that whatever goes wrong with it costs that entry alone.

Entries hold what users wrote. One that nobody foresaw (a date in the year 0001, an expression that
nests a thousand times) raises an exception that no plugin expects, and would end the poll: the next
one starts at the same entry, and nothing after it is ever accounted. So each entry, in every
plugin and mode, and in the host's own work on one job, goes through `guarded`.
"""

from collections.abc import Callable
from typing import SupportsBytes, TypeVar

from collector.source.contract import SourceError, Unreadable

_LIMIT_CHARACTERS = 500

Entry = TypeVar("Entry", bound=SupportsBytes)
Made = TypeVar("Made")


def guarded(make: Callable[[Entry, str], Made], entry: Entry, where: str) -> Made | Unreadable:
    """Calls `make(entry, where)`; an exception is the entry's, and becomes its `Unreadable`.

    Args:
        make: makes something of one entry, mostly a job. It changes nothing that the next entry
            depends on before it is sure to succeed.
        entry: its text; or what makes the text, which is asked for only when it is needed.
        where: where the entry is, for messages: `file:offset`, or the command.

    Raises:
        SourceError: from `make`: that the whole input cannot be read now is no entry's fault.
    """
    try:
        return make(entry, where)
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001 - this is the place where one entry stops no other
        return Unreadable(text_of(entry), where, reason_of(error))


def reason_of(error: Exception) -> str:
    """Why an entry cannot be used, in at most 500 characters; an error that nobody foresaw is given
    with its type.
    """
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    if len(reason) > _LIMIT_CHARACTERS:
        reason = reason[: _LIMIT_CHARACTERS - 1] + "…"
    return reason


def text_of(entry: SupportsBytes) -> bytes:
    """The text of an entry, to be kept with the reason why it cannot be used."""
    try:
        return bytes(entry)
    except Exception:  # noqa: BLE001 - a text that cannot be written may be what is wrong with it
        return repr(entry).encode(errors="backslashreplace")
