"""Configuration: what the YAML file may say, read with line and key path.

`sections.py` is every key with its type and default; `load.py` reads a file into it and reports
each mistake, by `yamlfile.py` (nodes to values), `scalars.py` (words to values) and `yamltext.py`
(text to nodes); `keyfile.py` and `pseudonyms.py` look after the keys that a configuration names.
"""

from collector.config.load import Plugin, default_mapping, load, mapping_of, outbox_of, parse
from collector.config.mistakes import ConfigError
from collector.config.sections import (
    AuditorSection,
    Config,
    LogSection,
    MetricsSection,
    OutboxSection,
    Positive,
    Section,
    SenderSection,
    SourceSection,
    TlsSection,
)
from collector.mapping.keys import checked, conflict, goes_with

__all__ = [
    "AuditorSection",
    "Config",
    "ConfigError",
    "LogSection",
    "MetricsSection",
    "OutboxSection",
    "Plugin",
    "Positive",
    "Section",
    "SenderSection",
    "SourceSection",
    "TlsSection",
    "checked",
    "conflict",
    "default_mapping",
    "goes_with",
    "load",
    "mapping_of",
    "outbox_of",
    "parse",
]
