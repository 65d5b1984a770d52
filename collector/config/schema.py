"""The JSON schema of the configuration, made of the sections that the reader itself goes by.

Editors complete and check a file by it (yaml-language-server). Draft-07 is what they know. It says
what one key may be and which keys go with a mode; what several sections say together is checked by
`auditor-collector check` alone.
"""

import ast
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from collector.config.mistakes import Places
from collector.config.sections import Config, SourceSection
from collector.mapping.keys import conditions_of

Schema = dict[str, Any]

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Path: {"type": "string"},
    datetime: {"type": "string"},
    types.NoneType: {"type": "null"},
    Any: {},
}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
}


def schema_of(plugins: dict[str, type[SourceSection]]) -> Schema:
    """The schema of the whole file.

    Args:
        plugins: the section of each source plugin, by the plugin's name.
    """
    definitions: dict[str, Schema] = {}
    schema = _struct(Config, definitions)
    for name, section in sorted(plugins.items()):
        definitions[f"source {name}"] = _struct(section, definitions)
        definitions[f"source {name}"]["properties"]["plugin"] = {"const": name}
    definitions["SourceSection"] = {
        "type": "object",
        "required": ["plugin"],
        "properties": {"plugin": {"enum": sorted(plugins)}},
        "allOf": [
            {
                "if": {"properties": {"plugin": {"const": name}}},
                "then": {"$ref": f"#/definitions/source {name}"},
            }
            for name in sorted(plugins)
        ],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of auditor-collector",
        **schema,
        "definitions": dict(sorted(definitions.items())),
    }


def _struct(struct: type[msgspec.Struct], definitions: dict[str, Schema]) -> Schema:
    fields = [one for one in msgspec.structs.fields(struct) if one.type is not Places]
    explained = _docstrings(struct)
    properties: dict[str, Schema] = {}
    for field in fields:
        schema = dict(_type(field.type, definitions))
        if text := explained.get(field.name):
            schema["description"] = text
        if field.default is not msgspec.NODEFAULT and _is_plain(field.default):
            schema["default"] = msgspec.to_builtins(field.default, enc_hook=str)
        properties[field.encode_name] = schema
    schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": [field.encode_name for field in fields if field.required],
    }
    conditions = list(_conditions(struct, fields))
    return schema | ({"allOf": conditions} if conditions else {})


def _conditions(struct: type[msgspec.Struct], fields: Iterable[Any]) -> Iterable[Schema]:
    """For each value of a key like `mode`, the keys that do not go with it."""
    fields = list(fields)
    by_name = {field.name: field for field in fields}
    unfit: dict[tuple[str, Any], list[str]] = {}
    for field in fields:
        for key, wanted in conditions_of(struct, field.name, field.type).items():
            for value in _values(by_name[key].type):
                if value not in wanted:
                    unfit.setdefault((key, value), []).append(field.encode_name)
    for (key, value), names in unfit.items():
        has_value: Schema = {"properties": {key: {"const": value}}}
        if by_name[key].default != value:
            has_value["required"] = [key]
        yield {"if": has_value, "then": {"properties": dict.fromkeys(names, False)}}


def _values(annotation: Any) -> tuple[Any, ...]:
    bare = annotation
    while typing.get_origin(bare) is typing.Annotated:
        bare = typing.get_args(bare)[0]
    return typing.get_args(bare) if typing.get_origin(bare) is Literal else (True, False)


def _type(annotation: Any, definitions: dict[str, Schema]) -> Schema:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = {}
        for meta in arguments[1:]:
            for ours, theirs in _LIMITS.items():
                value = getattr(meta, ours, None)
                if value is not None:
                    limits[theirs] = value
        return _type(arguments[0], definitions) | limits
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type(one, definitions) for one in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        name = annotation.__name__
        if name not in definitions:
            definitions[name] = {}  # a struct may hold itself
            definitions[name] = _struct(annotation, definitions)
        return {"$ref": f"#/definitions/{name}"}
    return _SCALARS[annotation]


def _is_plain(default: Any) -> bool:
    return default is None or isinstance(default, str | int | float | Path | list)


def _docstrings(struct: type) -> dict[str, str]:
    """Field → the text below it in its class, as one line."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):  # built in, or without source
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for node, after in itertools.pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[node.target.id] = re.sub(r"\s+", " ", str(after.value.value)).strip()
    return found


def sections_of(names: Iterable[str], find_plugin: Callable[[str], Any]) -> dict[str, Any]:
    """The sections of installed plugins, by name; a plugin that cannot be loaded is left out."""
    found = {}
    for name in names:
        try:
            found[name] = find_plugin(name).Section
        except Exception:  # noqa: BLE001, S112 - whatever an installed distribution raises
            continue
    return found
