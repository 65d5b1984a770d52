"""What may be wrong with a configuration that can be used: `check` shows it, and nothing stops."""

from collections.abc import Iterator
from datetime import datetime

from collector.clock import stamp
from collector.config.mistakes import Mistake
from collector.config.sections import Config, SourceSection


def warnings_of(config: Config, now: datetime) -> list[Mistake]:
    """The warnings of a configuration, each with its line.

    Args:
        config: without mistakes.
        now: the time, aware.
    """
    found = [*_of_auditor(config), *_of_sources(config, now)]
    return [config.places.mistake(path, text) for path, text in found]


def _of_auditor(config: Config) -> Iterator[tuple[str, str]]:
    if "auditor" not in config.places:
        yield "auditor", f"not given, so records go to {config.auditor.url}"


def _of_sources(config: Config, now: datetime) -> Iterator[tuple[str, str]]:
    for number, section in enumerate(config.sources):
        where = f"sources[{number}]"
        if section.since is not None and section.since > now:
            yield (
                f"{where}.since",
                f"{stamp(section.since)} is in the future: no job is accounted until then",
            )
        if any(char.isspace() for char in section.record_prefix):
            text = (
                f"{section.record_prefix!r} has a blank, and so have all record ids; that is "
                "allowed, and seldom meant"
            )
            yield f"{where}.record_prefix", text
        for earlier, other in enumerate(config.sources[:number]):
            if text := _of_prefixes(section, other, f"sources[{earlier}]"):
                yield f"{where}.record_prefix", text


def _of_prefixes(section: SourceSection, other: SourceSection, where: str) -> str:
    """What is confusing about the prefixes of two sources, of which the other is `where`."""
    ours, theirs = f"{section.record_prefix}-", f"{other.record_prefix}-"
    if ours == theirs:
        return f"{where} has the same; right only if no job is read by both sources"
    if ours.startswith(theirs) or theirs.startswith(ours):
        return (
            f"the record ids of {where} ({theirs}…) begin like those of this one ({ours}…): a "
            "query for one prefix finds both; choose prefixes of which none begins the other"
        )
    return ""
