"""What the YAML file may say."""

from datetime import datetime

import msgspec

from collector.rules import Condition, MappingSection


class ConfigError(Exception):
    """Raised for a configuration that cannot be used."""


class SourceSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One entry of `sources:`; a plugin's own keys stand beside these."""

    name: str
    """Names the source in logs, status and metrics; its checkpoint is kept under this name."""
    plugin: str
    """The source plugin that reads it."""
    record_prefix: str
    """Record ids are `<record_prefix>-<job id>`."""
    interval_s: float = 60
    """Seconds between the starts of two polls."""
    since: datetime | None = None
    """Runs that ended before this are not accounted."""
    only_if: list[Condition] = []
    """Only jobs for which all of these hold are accounted."""
    mapping: MappingSection = msgspec.field(default_factory=MappingSection)
    """What of a job goes into its record."""
