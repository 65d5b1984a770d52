"""Reads a configuration file, and reports every mistake in it at once.

A mistake is in one value (its type, its text), in one section (keys that exclude each other), or
between sections (two sources of one name). All of them are looked for in one round, also in what
is sound of a section that has a mistake.
"""

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import yaml

from collector.config.dropins import read_all
from collector.config.mistakes import ConfigError, Mistake, Places, join
from collector.config.sections import Config, OutboxSection, SourceSection
from collector.config.yamlfile import WRONG, Reader
from collector.config.yamltext import compose
from collector.mapping import Mapping
from collector.mapping.evaluation import Pseudonym
from collector.mapping.mapping import SCORED
from collector.mapping.rules import ComponentRule, MappingSection, Rule, several

FIELD_NAMES = r"[A-Za-z_][\w.]*"
"""What the names of a source's fields are like, unless its plugin has `field_names`."""

_FOLDER = Path("/etc/auditor-collector")


class Plugin(Protocol):
    """What the configuration has to know of a source plugin."""

    Section: type[SourceSection]
    mapping: str


FindPlugin = Callable[[str], type[Any]]


def load(path: Path, find_plugin: FindPlugin) -> Config:
    """Reads the configuration.

    Args:
        path: the YAML file; the files of `conf.d` beside it are merged over it (`dropins.py`).
        find_plugin: gives the plugin of a name, or raises LookupError.

    Raises:
        ConfigError: with every mistake, when there is one.
    """
    root, mistakes = read_all(path)
    if mistakes:
        raise ConfigError(path, mistakes)
    config = _config_of(root, find_plugin, path)
    if "outbox.path" not in config.places:
        config.outbox.path = default_outbox(path)
    return config


def default_outbox(path: Path) -> Path:
    """Where the outbox is unless the configuration of this path says so.

    The service of an instance has a folder of its own, which systemd names; a command by hand looks
    where that of the instance would be.
    """
    if folders := os.environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0]) / "outbox.db"
    default = OutboxSection().path
    of_instance = default.parent / path.stem
    is_instance = path.parent == _FOLDER and path.name != "config.yaml"
    try:
        return of_instance / default.name if is_instance and of_instance.is_dir() else default
    except OSError:  # not ours to look at
        return default


def outbox_of(path: Path) -> Path:
    """Where the outbox of a configuration is that may be wrong elsewhere, as far as can be read."""
    root, _ = read_all(path)
    found = _value_of(_value_of(root, "outbox"), "path")
    if isinstance(found, yaml.ScalarNode) and found.tag == "tag:yaml.org,2002:str":
        return Path(found.value)
    return default_outbox(path)


def _value_of(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def parse(text: str, find_plugin: FindPlugin, path: Path = Path("configuration")) -> Config:
    """Reads the text of a configuration; see `load`."""
    root, mistake = compose(text, str(path))
    if mistake is not None:
        raise ConfigError(path, [mistake])
    return _config_of(root, find_plugin, path)


def _config_of(root: yaml.Node | None, find_plugin: FindPlugin, path: Path) -> Config:
    if root is None:
        raise ConfigError(path, [Mistake(0, "", "the file is empty; see config.example.yaml")])
    places = Places()
    places.file = path
    reader = Reader(root, _chooser(find_plugin), places)
    config = reader.convert_struct(root, Config)
    if isinstance(config, Config) and reader.is_complete:
        reader.mistakes += _between_sections(config, reader, find_plugin)
    if reader.mistakes:
        raise ConfigError(path, reader.mistakes)
    config.places = places
    return config


def _chooser(find_plugin: FindPlugin) -> Callable[[Any, dict[str, yaml.Node]], Any]:
    def choose(to: Any, nodes: dict[str, yaml.Node]) -> Any:
        if to is not SourceSection:
            return to
        name = nodes.get("plugin")
        if not isinstance(name, yaml.ScalarNode):  # its conversion says what is wrong
            raise LookupError("plugin", "")  # noqa: TRY004 - a key that names no plugin
        try:
            return find_plugin(name.value).Section
        except LookupError as error:
            raise LookupError("plugin", str(error)) from error
        except Exception as error:  # whatever an installed distribution raises when it is loaded
            raise LookupError("plugin", f"{name.value} cannot be loaded: {error!r}") from error

    return choose


def _between_sections(config: Config, reader: Reader, find_plugin: FindPlugin) -> list[Mistake]:
    """What is wrong although each section by itself is right; of the sections that are sound."""
    found: list[tuple[str, str]] = []
    if not config.sources and reader.is_sound("sources"):
        found.append(("sources", "no source is given; give at least one"))
    sections = [
        (f"sources[{number}]", section)
        for number, section in enumerate(config.sources or [])
        if isinstance(section, SourceSection)
    ]
    seen: dict[str, str] = {}
    for where, section in sections:
        if reader.is_sound(join(where, "name")):
            if section.name in seen:
                found.append(
                    (join(where, "name"), f"{seen[section.name]} has the same; give another")
                )
            seen.setdefault(section.name, where)
        if reader.is_sound(join(where, "plugin")):
            found += _of_mapping(join(where, "mapping"), section, reader, find_plugin)
            found += _of_conditions(join(where, "only_if"), section, reader, find_plugin)
    whole = [(where, section) for where, section in sections if reader.is_sound(where)]
    for number, (where, section) in enumerate(whole):
        for before, other in whole[:number]:
            same = section.record_prefix == other.record_prefix
            if same and section.can_collide_with(other):
                text = (
                    f"{before} has the same, and jobs of both can have the same id; "
                    "give each source another"
                )
                found.append((join(where, "record_prefix"), text))
    return [reader.places.mistake(path, text) for path, text in found]


def _of_mapping(
    where: str, section: SourceSection, reader: Reader, find_plugin: FindPlugin
) -> Iterator[tuple[str, str]]:
    """What is wrong with rules that are right by themselves."""
    if not isinstance(section.mapping, MappingSection):
        return
    names = re.compile(getattr(find_plugin(section.plugin), "field_names", FIELD_NAMES))
    prefix, folder = section.record_prefix or "x", reader.places.file.parent
    for kind in ("meta", "components", "scores"):
        for key, rules in getattr(section.mapping, kind).items():
            path = join(where, f"{kind}.{key}")
            if not reader.is_sound(path):
                if path.endswith("components.scores"):
                    yield (
                        path,
                        "scores are given under their component: Cores: {field: …, scores: …}",
                    )
                continue
            yield from _no_fields(path, rules, names)
            try:
                alone = MappingSection(**{kind: {key: rules}})
                if kind == "scores":
                    alone.components[SCORED] = ComponentRule(value=1)
                Mapping(alone, prefix, folder=folder)
            except ValueError as error:
                yield path, str(error)


def _of_conditions(
    where: str, section: SourceSection, reader: Reader, find_plugin: FindPlugin
) -> Iterator[tuple[str, str]]:
    names = re.compile(getattr(find_plugin(section.plugin), "field_names", FIELD_NAMES))
    for number, condition in enumerate(section.only_if or []):
        path = f"{where}[{number}].field"
        if reader.is_sound(path) and not names.fullmatch(condition.field):
            yield path, f"{condition.field!r} cannot be the name of a field"


def _no_fields(path: str, rules: Any, names: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Constants where the name of a field is expected."""
    for number, rule in enumerate(several(rules)):
        place = f"{path}[{number}]" if isinstance(rules, list) else path
        field = rule if isinstance(rule, str) else rule.field
        if field is not None and not names.fullmatch(field):
            at = place if isinstance(rule, str) else join(place, "field")
            shown = field if re.fullmatch(r"[\w./-]+", field) else f"'{field}'"
            yield at, f"{field!r} cannot be the name of a field; did you mean {{value: {shown}}}?"
        for name, score in getattr(rule, "scores", {}).items():
            yield from _no_fields(join(place, f"scores.{name}"), score, names)
        for condition in several(getattr(rule, "only_if", None)):
            if not names.fullmatch(condition.field):
                yield (
                    join(place, "only_if"),
                    f"{condition.field!r} cannot be the name of a field",
                )


def mapping_of(
    section: SourceSection,
    plugin: Plugin | type[Plugin],
    pseudonym: Pseudonym | None = None,
    config: Config | None = None,
) -> Mapping:
    """The compiled mapping of a source: its own rules, over those for all, over the plugin's.

    Args:
        section: of the source.
        plugin: its plugin.
        pseudonym: see `Mapping`.
        config: the whole configuration, for what it says once for all sources, and its folder.

    Raises:
        ValueError: for rules that contradict each other.
    """
    folder = Path() if config is None else config.places.file.parent
    rules = rules_of(section, plugin, config)
    return Mapping(rules, section.record_prefix, section.only_if, pseudonym, folder)


def rules_of(
    section: SourceSection, plugin: Plugin | type[Plugin], config: Config | None = None
) -> MappingSection:
    """All rules of a source: its own, over the site's, over the plugin's, over the host's."""
    version = importlib.metadata.version("auditor-collector")
    host = MappingSection(
        meta={
            "collector": Rule(value=["auditor-collector", version]),
            "collector_type": Rule(value=[section.plugin, version]),
        }
    )
    of_site = MappingSection()
    if config is not None and config.site_id is not None:
        of_site.meta = {key: Rule(value=config.site_id) for key in ("site_id", "site")}
    return section.mapping.over(of_site.over(default_mapping(plugin).over(host)))


def default_mapping(plugin: Plugin | type[Plugin]) -> MappingSection:
    """The plugin's default rules.

    Raises:
        ConfigError: when the plugin's author wrote something that is none.
    """
    reader = Reader(plugin.mapping)
    if reader.root is None and not reader.mistakes:
        return MappingSection()
    section = WRONG if reader.root is None else reader.convert_struct(reader.root, MappingSection)
    if reader.mistakes or not isinstance(section, MappingSection):
        raise ConfigError(Path("default mapping"), reader.mistakes)
    return section
