"""Makes of a configuration the parts that run: sources with their mappings, outbox, sender."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.collect import MappedSource
from collector.config import AuditorSection, Config, ConfigError, mapping_of
from collector.outbox import Outbox
from collector.sender import Sender
from collector.source import Context, find_plugin
from collector.yamlfile import Mistake

Log = structlog.typing.FilteringBoundLogger
Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


class Parts(msgspec.Struct):
    """What the daemon and the backfill are made of."""

    sources: list[MappedSource]
    outbox: Outbox
    sender: Sender


def make_sources(
    config: Config, log: Log, stop: threading.Event, now: Now = utc_now
) -> list[MappedSource]:
    """The sources of the configuration, none of them opened.

    Raises:
        ConfigError: when a plugin finds its section's keys to contradict each other.
    """
    sources = []
    for section in config.sources:
        plugin = find_plugin(section.plugin)
        mapping = mapping_of(section, plugin)
        fields = frozenset(mapping.fields)
        context = Context(section.name, log.bind(source=section.name), now, stop, fields)
        sources.append(MappedSource(plugin(section, context), mapping))
    return sources


def make_client(section: AuditorSection) -> AuditorClientBlocking:
    """A client for the Auditor of the configuration.

    Raises:
        ConfigError: for certificates that cannot be used.
    """
    tls = section.tls
    builder = AuditorClientBuilder().connection_string(section.url).timeout(section.timeout_s)
    try:
        if tls.certificate and tls.key and tls.ca:
            builder.with_tls(tls.certificate, tls.key, tls.ca)
        return builder.build_blocking()
    except ValueError as error:
        raise ConfigError(Path("auditor"), [Mistake(0, "auditor.tls", str(error))]) from error


@contextlib.contextmanager
def assemble(
    config: Config, log: Log, stop: threading.Event, now: Now = utc_now
) -> Iterator[Parts]:
    """Opens everything; closes it at the end of the `with`.

    Raises:
        ConfigError: for sections that contradict each other, and unusable certificates.
        OutboxError: when the outbox cannot be opened.
    """
    sources = make_sources(config, log, stop, now)
    with (
        make_client(config.auditor) as client,
        Outbox.open(config.outbox.path, now=now, limits=config.outbox) as outbox,
    ):
        sender = Sender(
            outbox, client, config.sender, log=log, now=now, random=random.random, stop=stop
        )
        yield Parts(sources, outbox, sender)
