"""What the YAML file may say: every key with its type, unit and default; and how it is read.

The sections are in the order of the data path. `config.example.yaml` shows the same keys to
users; a test holds the two together.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from collector.config.mistakes import Places
from collector.mapping.keys import checked, conflict
from collector.mapping.rules import Condition, MappingSection
from collector.record import check_name

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Bytes = Annotated[int, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration."""

    inherited_go_with: ClassVar[dict[str, dict[str, tuple[Any, ...]]]] = {}
    """Key → other key → values with which it goes, for keys that are inherited; see `goes_with`."""


class SourceSection(Section):
    """One entry of `sources:`; a plugin's own keys are beside these."""

    name: Annotated[str, checked(lambda text: check_name(text, "name"))]
    """Names the source in logs, status and metrics; its checkpoint is kept under this name."""
    plugin: str
    """The source plugin that reads it."""
    record_prefix: Annotated[str, checked(lambda text: check_name(text, "record_prefix"))]
    """Record ids are `<record_prefix>-<job id>`."""
    interval_s: Positive = 60
    """Seconds between the starts of two polls."""
    since: datetime | None = None
    """Runs that ended before this are not accounted."""
    only_if: list[Condition] = []
    """Only jobs for which all of these hold are accounted."""
    mapping: MappingSection = msgspec.field(default_factory=MappingSection)
    """What of a job goes into its record; over the plugin's defaults, by name."""

    def can_collide_with(self, other: "SourceSection") -> bool:
        """Whether a job of this source and another job of `other` can have one record id, if both
        sources have the same `record_prefix`.
        """
        return type(other) is type(self)


class OutboxSection(Section):
    """`outbox:` where records wait for the Auditor."""

    path: Path = Path("/var/lib/auditor-collector/outbox.db")
    """The SQLite file; made with mode 0600. Of a service of systemd that is not given one:
    `$STATE_DIRECTORY/outbox.db`, so that each instance has its own."""
    ledger_days: Annotated[int, msgspec.Meta(ge=1)] = 90
    """Days for which sent records are remembered, so that reading again does not send again."""
    max_records: Count = 10_000_000
    """Sources pause when this many records wait."""
    max_bytes: Bytes = 20_000_000_000
    """Sources pause when the bodies of the records that wait are this long together; the file
    itself is larger, and does not shrink."""
    min_free_bytes: Bytes = 500_000_000
    """Sources pause when the file system has less room than this left."""


class SenderSection(Section):
    """`sender:` how records leave the outbox."""

    interval_s: Positive = 10
    """Seconds between the starts of two passes."""
    batch_records: Count = 1000
    """Records in one request, at most."""
    batch_bytes: Annotated[int, msgspec.Meta(ge=20_000, le=2_000_000)] = 1_000_000
    """Bytes in one request, at most; the Auditor refuses 2,097,152."""
    updates_at_once: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """Stop times that are sent at the same time."""
    backoff_s: Positive = 1
    """Longest pause after the first failure; it doubles with each further one."""
    backoff_cap_s: Positive = 300
    """Longest pause after many failures."""


def _check_url(url: str) -> None:
    example = "expected an address as http://127.0.0.1:8000 or https://host:8000"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{example}, not {url!r} ({error})") from None
    if parts.username or parts.password:
        raise ValueError("no user name or password in the address; use tls")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{example}, not {url!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a query or fragment; give the address only")


def _check_proxy(proxy: str) -> None:
    parts = urlsplit(proxy)
    if proxy != "environment" and (
        parts.scheme != "http" or not parts.hostname or parts.path.strip("/")
    ):
        raise ValueError("expected http://HOST:PORT, or environment, or null")


def _check_listen(listen: str) -> None:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - 16 bits
        raise ValueError(f"expected HOST:PORT, as 127.0.0.1:9817, not {listen!r}")


class TlsSection(Section):
    """`auditor.tls:` the three PEM files of mutual TLS."""

    ca: Path | None = None
    """Certificates that the Auditor's is checked against; the system's if not given."""
    certificate: Path | None = None
    """Our certificate, for an Auditor that asks for one."""
    key: Path | None = None
    """Its private key; must not be readable by others."""

    @conflict("certificate", "key")
    def _are_a_pair(self) -> str | None:
        if (self.certificate is None) == (self.key is None):
            return None
        return "certificate and key go together; give both or none"


class AuditorSection(Section):
    """`auditor:` where records go."""

    url: Annotated[str, checked(_check_url)] = "http://127.0.0.1:8000"
    """The Auditor's address."""
    timeout_s: Positive = 30
    """Seconds to wait for a whole answer."""
    proxy: Annotated[str, checked(_check_proxy)] | None = None
    """The proxy that requests go through, `http://HOST:PORT`; `environment`: what `https_proxy`,
    `http_proxy`, `all_proxy` and `no_proxy` say; null: none, whatever the environment says."""
    tls: TlsSection = msgspec.field(default_factory=TlsSection)
    """Certificates, for an https address."""

    @conflict("tls", "url")
    def _tls_needs_https(self) -> str | None:
        given = any(getattr(self.tls, name) is not None for name in self.tls.__struct_fields__)
        if not given or urlsplit(self.url).scheme == "https":
            return None
        return f"certificates are used with an https address only, and url is {self.url}"


class LogSection(Section):
    """`log:` what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written; names of users appear at debug only."""
    format: Literal["auto", "console", "journal", "json"] = "auto"
    """auto: console on a terminal, journal under systemd, otherwise one JSON object a line."""


class MetricsSection(Section):
    """`metrics:` how the service reports its state, and when it reports itself as unwell."""

    listen: Annotated[str, checked(_check_listen)] | None = None
    """`HOST:PORT` at which /metrics and /healthz are served, e.g. 127.0.0.1:9817; anybody who can
    reach it can read them. null: nothing listens."""
    textfile: Path | None = None
    """A file for node_exporter's textfile collector, e.g.
    /var/lib/prometheus/node-exporter/auditor-collector.prom; null: none is written."""
    textfile_interval_s: Positive = 60
    """Seconds between two writings of it."""
    source_limit_s: Positive = 3600
    """Unwell when a source's last good poll, or what it has yet to read, is older than this."""
    waiting_limit_s: Positive = 3600
    """Unwell when a record has waited longer than this to be sent."""
    free_limit_bytes: Bytes = 1_000_000_000
    """Unwell when the outbox's file system has less room than this; sources pause at
    `outbox.min_free_bytes`."""


def _check_site_id(text: str | None) -> None:
    if text is not None:
        check_name(text, "site_id")


class Config(Section):
    """The whole file."""

    sources: list[SourceSection]
    site_id: Annotated[str | None, checked(_check_site_id)] = None
    """The site: meta `site_id` and `site` of all sources, but for those whose mapping has them."""
    pseudonym_key: Path | None = None
    """The key of the pseudonyms that mapping rules ask for; must not be readable by others. null:
    `$CREDENTIALS_DIRECTORY/pseudonym-key`, which systemd gives, if it is there."""
    outbox: OutboxSection = msgspec.field(default_factory=OutboxSection)
    sender: SenderSection = msgspec.field(default_factory=SenderSection)
    auditor: AuditorSection = msgspec.field(default_factory=AuditorSection)
    metrics: MetricsSection = msgspec.field(default_factory=MetricsSection)
    log: LogSection = msgspec.field(default_factory=LogSection)
    places: Places = msgspec.field(default_factory=Places)
    """Where each key was given; no key itself."""
