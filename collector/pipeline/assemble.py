"""Makes of a configuration the parts that run: sources with their mappings, outbox, sender."""

import contextlib
import random
import threading
from collections.abc import Iterator
from datetime import datetime

import msgspec

from collector.auditor.certificate import read_certificate
from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.auditor.connection import proxy_of_environment
from collector.clock import Now, utc_now
from collector.config import AuditorSection, Config
from collector.config.keyfile import exposed
from collector.config.mistakes import Places
from collector.logs import Log
from collector.outbox import Outbox
from collector.pipeline.sources import MappedSource, make_sources
from collector.sender import Sender


class Parts(msgspec.Struct):
    """What the daemon and the backfill are made of."""

    sources: list[MappedSource]
    outbox: Outbox
    sender: Sender


def make_client(section: AuditorSection, places: Places | None = None) -> AuditorClientBlocking:
    """A client for the Auditor of the configuration.

    Args:
        section: `auditor:` of the configuration.
        places: where its keys are, for messages.

    Raises:
        ConfigError: for certificates that cannot be used.
    """
    tls, places = section.tls, places or Places()
    if tls.key is not None and (why := exposed(tls.key)) is not None:
        raise places.error(("auditor.tls.key", why))
    builder = AuditorClientBuilder().connection_string(section.url).timeout(section.timeout_s)
    builder.plain_errors()
    try:
        builder.proxy(proxy_of(section))
        if tls.certificate and tls.key:
            builder.with_tls(tls.certificate, tls.key)
        if tls.ca:
            builder.with_ca(tls.ca)
        return builder.build_blocking()
    except ValueError as error:
        raise places.error(("auditor", str(error))) from error


def proxy_of(section: AuditorSection) -> str | None:
    """The proxy that requests to the Auditor go through, if any."""
    if section.proxy == "environment":
        return proxy_of_environment(section.url)
    return section.proxy


def certificate_end(config: Config) -> datetime | None:
    """When the client certificate ends, aware; None without one, or if it cannot be read now."""
    path = config.auditor.tls.certificate
    if path is None:
        return None
    try:
        return read_certificate(path).not_after
    except ValueError:  # the sender meets it as well, and says what it is
        return None


@contextlib.contextmanager
def assemble(
    config: Config, log: Log, stop: threading.Event, now: Now = utc_now
) -> Iterator[Parts]:
    """Opens everything; closes it at the end of the `with`.

    Raises:
        ConfigError: for sections that contradict each other, and unusable certificates or keys.
        OutboxError: when the outbox cannot be opened.
    """
    sources = make_sources(config, log, stop, now)
    with (
        make_client(config.auditor, config.places) as client,
        Outbox.open(config.outbox.path, now=now, limits=config.outbox) as outbox,
    ):
        if outbox.set_aside is not None:
            aside = outbox.set_aside
            log.error(
                "kept the outbox file aside",
                error=f"it {aside.why}",
                kept_aside=str(aside.path),
                restored=aside.restored,
                hint="everything in it is in the outbox again"
                if aside.restored
                else f"auditor-collector outbox export --file {aside.path} shows what waited in"
                " it; a backfill of the days of its life brings the rest, once",
            )
        sender = Sender(
            outbox, client, config.sender, log=log, now=now, random=random.random, stop=stop
        )
        yield Parts(sources, outbox, sender)
