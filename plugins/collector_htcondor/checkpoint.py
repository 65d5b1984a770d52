"""Takes a checkpoint for what a mode keeps in it."""

from typing import TypeVar

import msgspec

from collector.source import Checkpoint, SourceError

Kept = TypeVar("Kept")


def understood(checkpoint: Checkpoint | None, kind: type[Kept], mode: str) -> Kept:
    """The checkpoint as the mode wrote it; an empty one at the very first poll.

    Raises:
        SourceError: for a checkpoint of another mode; says what to do.
    """
    if checkpoint is None:
        return kind()
    try:
        return msgspec.convert(checkpoint, kind)
    except msgspec.ValidationError as error:
        raise SourceError(
            f"the checkpoint {checkpoint!r} is not one of mode: {mode} ({error}); give the source "
            "another name, and all that is there is read"
        ) from error
