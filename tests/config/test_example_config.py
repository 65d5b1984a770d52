"""config.example.yaml is the reference: every key of the code, with its default and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from collector.config import Config, load
from collector.source import find_plugin

FILE = Path(__file__).parents[2] / "config.example.yaml"
CONFIG = load(FILE, find_plugin)
NODES = yaml.compose(FILE.read_text(), Loader=yaml.SafeLoader)
OWN = {"name", "plugin", "record_prefix"}


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


def test_both_plugins_are_shown():
    """One source of each plugin that comes with the package."""
    assert isinstance(CONFIG, Config)
    assert {section.plugin for section in CONFIG.sources} == {"htcondor", "slurm"}


@pytest.mark.parametrize(("path", "section", "nodes"), SECTIONS, ids=[one[0] for one in SECTIONS])
def test_every_key_stands_there_with_its_default(path: str, section: Any, nodes: dict[str, Any]):
    """A key that the code knows and the file does not show would be a secret."""
    for field in msgspec.structs.fields(type(section)):
        assert field.name in nodes, f"{path}: {field.name} is missing in config.example.yaml"
        if field.name not in OWN and not field.required:
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            value = getattr(section, field.name)
            assert isinstance(value, msgspec.Struct) or value == default, f"{path}.{field.name}"


def test_every_key_says_why():
    """Each line with a key has a comment, or is a key of the second source that the first tells."""
    told = set()
    for line in FILE.read_text().splitlines():
        key, colon, rest = line.strip(" -").partition(":")
        if not colon or line.startswith("#") or not line.startswith(" ") or key.startswith("#"):
            continue
        assert "#" in rest or key in told, line
        told.add(key)
