"""Turns the fields of a job into a Record, by the rules of the YAML file."""

from typing import Literal

import msgspec

Kind = Literal["text", "integer", "number", "duration", "memory", "id", "json"]


class Condition(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Holds when the field is known and the pattern is found in it (`re.search`)."""

    field: str
    matches: str


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How one value is made: exactly one of `value`, `field` and `expr` says from what."""

    value: str | int | float | list[str] | None = None
    """A constant."""
    field: str | None = None
    """The name of a field."""
    expr: str | None = None
    """Arithmetic over fields: numbers, names, + - * / ( ), min max round ceil floor abs."""
    item: str | None = None
    """One entry of a structured field: of JSON (dotted path), or of `key=value,key=value`."""
    matches: str | None = None
    """Regular expression to be found in the text; its group 1, if it has one, is the value."""
    type: Kind | None = None
    """What the text stands for; the default is what the place needs."""
    factor: float | None = None
    """The number is multiplied by it, e.g. 0.001 for ms → s."""
    default: str | int | float | None = None
    """The value when there is none."""
    optional: bool = False
    """Leave the value out when there is none; otherwise the job is rejected."""
    only_if: Condition | list[Condition] | None = None
    """The rule counts only if all conditions hold."""


Rules = Rule | str | list[Rule]
"""A rule; the name of a field; or rules of which the first that gives a value counts."""


class ComponentRule(Rule, kw_only=True, forbid_unknown_fields=True):
    scores: dict[str, Rules] = {}


class MappingSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`mapping:` of a source; entries replace the plugin's defaults by name, null removes one."""

    meta: dict[str, Rules | None] = {}
    components: dict[str, ComponentRule | str | list[ComponentRule] | None] = {}
