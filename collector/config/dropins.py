"""Configurations of several files: `config.yaml`, then the files of `conf.d` in the order of names.

For hosts that differ in one value, or have one source more. A later file wins, key by key; sources
are merged by their `name`, and a mapping rule replaces the one of its name as a whole.
"""

from pathlib import Path

import yaml

from collector.config.mistakes import Mistake
from collector.config.yamltext import compose, read_text

_ABOVE_A_RULE = 2
"""Keys below `mapping` that lead to a rule: `meta` or `components`, and its name."""


def folder_of(path: Path) -> Path:
    """Where the further files of a configuration are: `conf.d` beside `config.yaml`, and `NAME.d`
    beside any other `NAME.yaml`, as an instance of the service has it.
    """
    return path.with_name("conf.d") if path.name == "config.yaml" else path.with_suffix(".d")


def read_all(path: Path) -> tuple[yaml.Node | None, list[Mistake]]:
    """The merged nodes of a configuration's files, and what is wrong with the files as such."""
    merged: yaml.Node | None = None
    mistakes: list[Mistake] = []
    folder = folder_of(path)
    try:
        others = sorted(one for one in folder.glob("*.yaml") if not one.name.startswith("."))
    except OSError as error:
        others = []
        mistakes.append(Mistake(0, "", f"cannot be read: {error.strerror}", str(folder)))
    for file in (path, *others):
        shown = "" if file == path else str(file)
        text, mistake = read_text(file)
        node = None
        if text is not None:
            node, mistake = compose(text, str(file))
        if mistake is not None:
            mistakes.append(Mistake(mistake.line, mistake.path, mistake.text, shown))
        elif node is not None and merged is not None:
            merged = _merged(merged, node, ())
        elif node is not None:
            merged = node
    return merged, mistakes


def _merged(before: yaml.Node, after: yaml.Node, path: tuple[str, ...]) -> yaml.Node:
    """What a node is with that of a later file over it."""
    if isinstance(before, yaml.MappingNode) and isinstance(after, yaml.MappingNode):
        is_rule = path[2:3] == ("mapping",) and len(path) > 2 + _ABOVE_A_RULE
        if is_rule:
            return after
        return _merged_keys(before, after, path)
    both_lists = isinstance(before, yaml.SequenceNode) and isinstance(after, yaml.SequenceNode)
    if both_lists and path == ("sources",):
        return _merged_sources(before, after)
    return after


def _merged_keys(
    before: yaml.MappingNode, after: yaml.MappingNode, path: tuple[str, ...]
) -> yaml.Node:
    pairs = list(before.value)
    places = {key.value: place for place, (key, _) in enumerate(pairs) if _is_text(key)}
    for key, value in after.value:
        place = places.pop(key.value, None) if _is_text(key) else None
        if place is None:  # also a key that its own file gives twice, which is a mistake
            pairs.append((key, value))
        else:
            pairs[place] = (key, _merged(pairs[place][1], value, (*path, key.value)))
    return yaml.MappingNode(after.tag, pairs, after.start_mark, after.end_mark)


def _merged_sources(before: yaml.Node, after: yaml.Node) -> yaml.Node:
    sources = list(before.value)
    places = {_name_of(one): place for place, one in reversed(list(enumerate(sources)))}
    for source in after.value:
        name = _name_of(source)
        place = places.pop(name, None) if name is not None else None
        if place is None:
            sources.append(source)
        else:
            sources[place] = _merged(sources[place], source, ("sources", name or ""))
    return yaml.SequenceNode(after.tag, sources, after.start_mark, after.end_mark)


def _name_of(source: yaml.Node) -> str | None:
    pairs = source.value if isinstance(source, yaml.MappingNode) else []
    names = [value.value for key, value in pairs if _is_text(key) and key.value == "name"]
    return names[0] if names and isinstance(names[0], str) else None


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)
