"""Polls of a source under test."""

from typing import Any

from collector.source import Source, SourceError


def poll(source: Source, checkpoint: Any = None) -> tuple[list[str], Any, str]:
    """The jobs that a poll finds, the checkpoint after it, and its error."""
    found: list[str] = []
    try:
        for batch in source.poll(checkpoint):
            found += [job.id.split("#")[1] for job in batch.jobs]
            checkpoint = batch.checkpoint
    except SourceError as error:
        return found, checkpoint, str(error)
    return found, checkpoint, ""
