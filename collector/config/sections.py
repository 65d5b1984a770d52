"""What the YAML file may say: every key with its type, unit and default; and how it is read.

The sections stand in the order of the data path. `config.example.yaml` shows the same keys to
users; a test holds the two together.
"""

import importlib.metadata
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec
import yaml

from collector.config.yamlfile import Mistake, Reader, WrongError, join
from collector.mapping import Mapping
from collector.mapping.evaluation import Pseudonym
from collector.mapping.rules import Condition, MappingSection, Rule
from collector.record import check_name

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Bytes = Annotated[int, msgspec.Meta(ge=0)]


class ConfigError(Exception):
    """Raised for a configuration that cannot be used; holds every mistake that was found."""

    def __init__(self, path: Path, mistakes: Iterable[Mistake]) -> None:
        self.path = path
        self.mistakes = sorted(mistakes)
        super().__init__("\n".join(f"{path}: {mistake}" for mistake in self.mistakes))


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration."""


class SourceSection(Section):
    """One entry of `sources:`; a plugin's own keys stand beside these."""

    name: str
    """Names the source in logs, status and metrics; its checkpoint is kept under this name."""
    plugin: str
    """The source plugin that reads it."""
    record_prefix: str
    """Record ids are `<record_prefix>-<job id>`."""
    interval_s: Positive = 60
    """Seconds between the starts of two polls."""
    since: datetime | None = None
    """Runs that ended before this are not accounted."""
    only_if: list[Condition] = []
    """Only jobs for which all of these hold are accounted."""
    mapping: MappingSection = msgspec.field(default_factory=MappingSection)
    """What of a job goes into its record; over the plugin's defaults, by name."""

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        check_name(self.record_prefix, "record_prefix")


class OutboxSection(Section):
    """`outbox:` where records wait for the Auditor."""

    path: Path = Path("/var/lib/auditor-collector/outbox.db")
    """The SQLite file; made with mode 0600."""
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


class TlsSection(Section):
    """`auditor.tls:` the three PEM files of mutual TLS."""

    ca: Path | None = None
    """Certificates that the Auditor's is checked against; the system's if not given."""
    certificate: Path | None = None
    """Our certificate, for an Auditor that asks for one."""
    key: Path | None = None
    """Its private key; must not be readable by others."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or none")


class AuditorSection(Section):
    """`auditor:` where records go."""

    url: str = "http://127.0.0.1:8000"
    """The Auditor's address."""
    timeout_s: Positive = 30
    """Seconds to wait for a whole answer."""
    proxy: str | None = None
    """The proxy that requests go through, `http://HOST:PORT`; `environment`: what `https_proxy`,
    `http_proxy`, `all_proxy` and `no_proxy` say; null: none, whatever the environment says."""
    tls: TlsSection = msgspec.field(default_factory=TlsSection)
    """Certificates, for an https address."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"url {self.url!r} is not an address as http://127.0.0.1:8000 or https://host:8000"
            )
        if parts.username or parts.password:
            raise ValueError("url: no user name or password in the address; use tls")
        if parts.query or parts.fragment:
            raise ValueError(f"url {self.url!r} has a query or fragment; give the address only")
        if self.proxy not in (None, "environment"):
            proxy = urlsplit(self.proxy)
            if proxy.scheme != "http" or not proxy.hostname or proxy.path.strip("/"):
                raise ValueError("proxy: expected http://HOST:PORT, or environment, or null")


class LogSection(Section):
    """`log:` what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written; names of users appear at debug only."""
    format: Literal["auto", "console", "journal", "json"] = "auto"
    """auto: console on a terminal, journal under systemd, otherwise one JSON object a line."""


class MetricsSection(Section):
    """`metrics:` how the service tells how it is, and when it calls itself unwell."""

    listen: str | None = None
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

    def __post_init__(self) -> None:
        if self.listen is not None:
            host, _, port = self.listen.rpartition(":")
            if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - 16 bits
                raise ValueError(f"listen {self.listen!r} is not HOST:PORT, as 127.0.0.1:9817")


class Config(Section):
    """The whole file."""

    sources: list[SourceSection]
    pseudonym_key: Path | None = None
    """The key of the pseudonyms that mapping rules ask for; must not be readable by others. null:
    `$CREDENTIALS_DIRECTORY/pseudonym-key`, which systemd gives, if it is there."""
    outbox: OutboxSection = msgspec.field(default_factory=OutboxSection)
    sender: SenderSection = msgspec.field(default_factory=SenderSection)
    auditor: AuditorSection = msgspec.field(default_factory=AuditorSection)
    metrics: MetricsSection = msgspec.field(default_factory=MetricsSection)
    log: LogSection = msgspec.field(default_factory=LogSection)


class Plugin(Protocol):
    """What the configuration wants to know of a source plugin."""

    Section: type[SourceSection]
    mapping: str


FindPlugin = Callable[[str], type[Any]]


def load(path: Path, find_plugin: FindPlugin) -> Config:
    """Reads the configuration.

    Args:
        path: the YAML file.
        find_plugin: gives the plugin of a name, or raises LookupError.

    Raises:
        ConfigError: with every mistake, when there is one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, [Mistake(0, "", f"cannot be read: {error}")]) from error
    return parse(text, find_plugin, path)


def parse(text: str, find_plugin: FindPlugin, path: Path = Path("configuration")) -> Config:
    """Reads the text of a configuration; see `load`."""

    def choose(to: Any, nodes: dict[str, yaml.Node]) -> Any:
        if to is SourceSection and isinstance(name := nodes.get("plugin"), yaml.ScalarNode):
            try:
                return find_plugin(name.value).Section
            except LookupError as error:
                raise ValueError(f"plugin: {error}") from error
        return to

    reader = Reader(text, choose)
    if reader.root is None:
        reader.note(None, "", "the file is empty; see config.example.yaml")
        raise ConfigError(path, reader.mistakes[:1])
    try:
        config = reader.convert_struct(reader.root, Config)
    except WrongError:
        raise ConfigError(path, reader.mistakes) from None
    mistakes = list(_contradictions(config, find_plugin))
    if mistakes:
        raise ConfigError(path, mistakes)
    return config


def _contradictions(config: Config, find_plugin: FindPlugin) -> Iterable[Mistake]:
    """What is wrong although each value by itself is right."""
    if not config.sources:
        yield Mistake(0, "sources", "no source is given; give at least one")
    seen: dict[str, int] = {}
    for number, section in enumerate(config.sources):
        where = f"sources[{number}]"
        if section.name in seen:
            yield Mistake(
                0, join(where, "name"), f"sources[{seen[section.name]}] has the same; give another"
            )
        seen.setdefault(section.name, number)
        try:
            mapping_of(section, find_plugin(section.plugin))
        except ValueError as error:
            yield Mistake(0, join(where, "mapping"), str(error))


def mapping_of(
    section: SourceSection, plugin: Plugin | type[Plugin], pseudonym: Pseudonym | None = None
) -> Mapping:
    """The compiled mapping of a source: its own rules, over the plugin's, over the host's.

    Args:
        section: of the source.
        plugin: its plugin.
        pseudonym: see `Mapping`.

    Raises:
        ValueError: for rules that contradict each other.
    """
    version = importlib.metadata.version("auditor-collector")
    host = MappingSection(meta={"collector": Rule(value=["auditor-collector", version])})
    return Mapping(
        section.mapping.over(default_mapping(plugin).over(host)),
        section.record_prefix,
        section.only_if,
        pseudonym,
    )


def default_mapping(plugin: Plugin | type[Plugin]) -> MappingSection:
    """The plugin's default rules.

    Raises:
        ConfigError: when the plugin's author wrote something that is none.
    """
    reader = Reader(plugin.mapping)
    if reader.root is None:
        return MappingSection()
    try:
        return reader.convert_struct(reader.root, MappingSection)
    except WrongError:
        raise ConfigError(Path("default mapping"), reader.mistakes) from None
