"""config.example.yaml is the reference: every key of the code, with its default and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml

from collector.config import SourceSection, load
from collector.source import find_plugin

FILE = Path(__file__).parents[2] / "config.example.yaml"
CONFIG = load(FILE, find_plugin)
NODES = yaml.compose(FILE.read_text(), Loader=yaml.SafeLoader)


NEEDED = {("slurm", "jobcomp_path")}
"""(plugin, key) of what has no default in its mode."""


def sections(struct: Any, node: Any, path: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(path, section, key → node) of every section of the file."""
    nodes = {key.value: value for key, value in node.value}
    yield path or "the top", struct, nodes
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct) and name in nodes:
            yield from sections(value, nodes[name], f"{path}.{name}")
        if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
            for one, child in zip(value, nodes[name].value, strict=True):
                yield from sections(one, child, f"{path}.{name}[{one.name}]")


SECTIONS = list(sections(CONFIG, NODES))
SOURCES = [(section, nodes) for _, section, nodes in SECTIONS if isinstance(section, SourceSection)]


@pytest.mark.parametrize("plugin", ["htcondor", "slurm"])
def test_each_mode_is_shown(plugin: str):
    """One source for each mode of the plugins that come with the package."""
    section = find_plugin(plugin).Section
    (field,) = (one for one in msgspec.structs.fields(section) if one.name == "mode")
    modes = [getattr(section, "mode") for section, _ in SOURCES if section.plugin == plugin]  # noqa: B009 - a plugin's own key
    assert modes == list(get_args(field.type))


@pytest.mark.parametrize("plugin", ["htcondor", "slurm"])
def test_every_key_of_a_source_is_shown(plugin: str):
    """In one of the plugin's sources: a key that the code knows and the file does not is secret."""
    shown = {key for section, nodes in SOURCES if section.plugin == plugin for key in nodes}
    assert shown == {field.name for field in msgspec.structs.fields(find_plugin(plugin).Section)}


@pytest.mark.parametrize(("path", "section", "nodes"), SECTIONS, ids=[one[0] for one in SECTIONS])
def test_every_key_is_shown_with_its_default(path: str, section: Any, nodes: dict[str, Any]):
    """Of a section that is no source, every key is there."""
    for field in msgspec.structs.fields(type(section)):
        if field.name == "places":
            continue
        if field.name not in nodes:
            assert isinstance(section, SourceSection), f"{path}: {field.name} is missing"
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        value = getattr(section, field.name)
        is_needed = field.required or (getattr(section, "plugin", ""), field.name) in NEEDED
        if not (is_needed or field.name == "mode" or isinstance(value, msgspec.Struct)):
            assert value == default, f"{path}.{field.name}"


def test_every_key_says_why():
    """Each line with a key has a comment, or is a key that an earlier source explains."""
    explained = set()
    for line in FILE.read_text().splitlines():
        key, colon, rest = line.strip(" -").partition(":")
        if not colon or line.startswith("#") or not line.startswith(" ") or key.startswith("#"):
            continue
        assert "#" in rest or key in explained, line
        explained.add(key)
