"""Makes the sources of a configuration, each with the mapping of its jobs.

It is apart from `assemble.py` so that a command that only reads (an epilog's, above all) loads
neither the client nor the sender.
"""

import threading

import msgspec

from collector.clock import Now, utc_now
from collector.config import Config, mapping_of
from collector.config.pseudonyms import no_key, of_site
from collector.logs import Log
from collector.mapping import Mapping
from collector.source import Context, Source, find_plugin


class MappedSource(msgspec.Struct):
    """A source and the mapping of its jobs."""

    source: Source
    mapping: Mapping

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self.source.section.name


def make_sources(
    config: Config,
    log: Log,
    stop: threading.Event,
    now: Now = utc_now,
) -> list[MappedSource]:
    """The sources of the configuration, none of them opened.

    Args:
        config: the configuration.
        log: for what sources have to tell.
        stop: set when they are to end.
        now: the time, aware.

    Raises:
        ConfigError: when a plugin finds its section's keys to contradict each other; for a key of
            pseudonyms that cannot be used, or is asked for and not there.
    """
    sources = []
    pseudonym = of_site(config)
    asking: list[str] = []
    for number, section in enumerate(config.sources):
        plugin = find_plugin(section.plugin)
        mapping = mapping_of(section, plugin, pseudonym, config)
        if pseudonym is None:
            where = f"sources[{number}].mapping.meta"
            own = [key for key in mapping.pseudonyms if key in section.mapping.meta]
            asking += [f"{where}.{key}" for key in own or mapping.pseudonyms]
        fields = frozenset({*mapping.fields, *filter(None, [plugin.user_field])})
        context = Context(section.name, log.bind(source=section.name), now, stop, fields)
        sources.append(MappedSource(plugin(section, context), mapping))
    if asking:
        raise no_key(config, asking)
    return sources
