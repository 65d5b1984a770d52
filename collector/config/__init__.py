"""Configuration: what the YAML file may say, read with line and key path.

`sections.py` is every key with its type and default; `yamlfile.py` reads YAML into it and reports
each mistake; `keyfile.py` and `pseudonyms.py` look after the keys that a configuration names.
"""

from collector.config.sections import (
    AuditorSection,
    Config,
    ConfigError,
    LogSection,
    MetricsSection,
    OutboxSection,
    Plugin,
    Positive,
    Section,
    SenderSection,
    SourceSection,
    TlsSection,
    default_mapping,
    load,
    mapping_of,
    parse,
)

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
    "default_mapping",
    "load",
    "mapping_of",
    "parse",
]
