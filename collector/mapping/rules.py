"""What the mapping rules in the YAML file may say; `mapping.py` applies them."""

from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from collector.mapping.arithmetic import Expression
from collector.mapping.keys import checked, conflict, instead
from collector.mapping.patterns import Pattern
from collector.record import check_name

EACH = "*"
Kind = Literal["text", "integer", "number", "duration", "memory", "id"]


@cache
def pattern(text: str) -> Pattern:
    """Compiles a regular expression of the configuration; the same one for the same text.

    Raises:
        ValueError: when it is none, with the reason.
    """
    return Pattern(text)


def _check_constant(value: Any) -> None:
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            check_name(text, "value")


Regex = Annotated[str, checked(pattern)]
"""A regular expression, as Python's `re` has them."""

Field = Annotated[
    str,
    instead("{0} cannot be the name of a field; for a constant write {{value: {0}}}"),
]
"""The name of a field."""


class Condition(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Holds when the field is known and the pattern is found in it (`re.search`)."""

    field: str
    """The name of a field."""
    matches: Regex
    """A regular expression, found anywhere in the field's text unless anchored by ^ and $."""


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How one value is made: exactly one of `value`, `field` and `expr` says from what.

    The other keys apply in this order: only_if, item, matches, table, type, factor, pseudonym,
    default.
    """

    value: Annotated[str | int | float | list[str] | None, checked(_check_constant)] = None
    """A constant; for meta also a list of texts."""
    field: str | None = None
    """The name of a field."""
    expr: Annotated[str, checked(Expression)] | None = None
    """Arithmetic over fields: numbers, names, + - * / ( ), min max round ceil floor abs."""
    item: str | None = None
    """One entry of a structured field: of JSON (dotted path), or of `key=value,key=value`; `*` for
    meta: each entry, under a meta key in which its name takes the place of the `*`."""
    matches: Regex | None = None
    """Regular expression to be found in the text; its group 1, if it has one, is the value."""
    table: str | dict[str, str | int | float] | None = None
    """What a table gives for the text: a file beside the configuration with `text value` in
    each line, or the entries themselves."""
    type: Kind | None = None
    """What the text is read as: text (default for meta), number (default for components and
    scores), integer, duration (→ seconds), memory (→ bytes), id (drops a trailing `(number)`)."""
    factor: float | None = None
    """The number is multiplied by it, e.g. 0.001 for ms → s."""
    pseudonym: bool = False
    """For meta: whether a keyed hash replaces the text, so that it names nobody."""
    default: str | int | float | None = None
    """The value when there is none; taken as it is."""
    optional: bool = False
    """Leave the value out when there is none; otherwise the job is rejected."""
    only_if: Condition | list[Condition] | None = None
    """The rule counts only if all conditions hold."""

    @conflict("value", "field", "expr")
    def _has_one_source(self) -> str | None:
        given = [key for key in ("value", "field", "expr") if getattr(self, key) is not None]
        if len(given) == 1:
            return None
        return (
            "expected exactly one of value, field and expr, "
            f"not {' and '.join(given) or 'none of them'}"
        )

    @conflict("factor", "type")
    def _multiplies_a_number(self) -> str | None:
        if self.factor is None or self.type not in ("text", "id"):
            return None
        return f"factor does not go with type {self.type}"

    @conflict("item", "matches", "table", "type", "factor", "pseudonym", "default")
    def _takes_each_entry_as_it_is(self) -> str | None:
        if self.item != EACH:
            return None
        keys = ("matches", "table", "type", "factor", "pseudonym", "default")
        given = [
            key
            for key in keys
            if getattr(self, key) is not None and getattr(self, key) is not False
        ]
        if not given:
            return None
        return f"{' and '.join(given)}: not with item: '*'; give that entry a rule of its own"

    @conflict("table", "expr")
    def _looks_up_a_text(self) -> str | None:
        if self.table is None or self.expr is None:
            return None
        return "a table is looked up by the text of a field, not by the number of an expr"

    @conflict("value", "item", "matches", "table", "type", "factor", "pseudonym", "default")
    def _has_a_value_as_it_is(self) -> str | None:
        if self.value is None:
            return None
        keys = ("item", "matches", "table", "type", "factor", "pseudonym", "default")
        given = [
            key
            for key in keys
            if getattr(self, key) is not None and getattr(self, key) is not False
        ]
        if not given:
            return None
        verb = "does" if len(given) == 1 else "do"
        return f"{' and '.join(given)} {verb} not go with value, which is taken as it is"

    @property
    def fields(self) -> set[str]:
        """The names of all fields that its value depends on."""
        found = {condition.field for condition in several(self.only_if)}
        if self.field is not None:
            found.add(self.field)
        return found if self.expr is None else found | Expression(self.expr).fields


ScoreRules = Rule | float | Field | list[Rule | float | Field]
"""A rule; a number; the name of a field; or rules of which the first that gives a value counts."""


class ComponentRule(Rule, kw_only=True, forbid_unknown_fields=True):
    """A rule for an amount, with the scores of the component."""

    scores: dict[str, ScoreRules] = {}
    """Name → rule; a score that has no value is left out."""


Rules = Rule | Field | list[Rule | Field]
"""A rule; the name of a field; or rules of which the first that gives a value counts."""

ComponentRules = ComponentRule | Field | list[ComponentRule | Field]


TWINS = (
    ("site_id", "site"),
    ("user_id", "user"),
    ("group_id", "group"),
    ("headnode", "submithost"),
)
"""Meta keys that mean the same to different readers; see docs/mapping.md."""
_PERSONAL = frozenset({"subject"})
"""Default meta keys that name a person, beside the users that a site has rules for."""


class MappingSection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`mapping:` of a source; entries replace the plugin's defaults by name, null removes one."""

    meta: dict[str, Rules | None] = {}
    """Meta key → rule."""
    components: dict[str, ComponentRules | None] = {}
    """Component name → rule. The defaults are first, in their order; where each of them is named
    here, this order counts."""
    scores: dict[str, ScoreRules] = {}
    """Scores of the component Cores, beside those that its own rule gives."""

    def over(self, defaults: "MappingSection") -> "MappingSection":
        """This section over the defaults.

        A key that readers know by two names has one rule, also where only one of the names has a
        rule here: otherwise a release that adds the other would show a name that the site's own
        rule hides. Likewise a site with pseudonyms has none of its users named by a default.
        """
        own = dict(self.meta)
        for pair in TWINS:
            for name, twin in (pair, pair[::-1]):
                if name in self.meta and twin not in self.meta and twin in defaults.meta:
                    own[twin] = self.meta[name]
        if any(asks_for_pseudonym(rules) for rules in own.values()):
            for name in _PERSONAL & defaults.meta.keys() - own.keys():
                own[name] = [_pseudonymous(rule) for rule in several(defaults.meta[name])]
        meta = {**defaults.meta, **own}
        components = {**defaults.components, **self.components}
        if defaults.components.keys() <= self.components.keys():
            components = dict(self.components)
        keeps_removed = any("*" in key for key in meta)  # so that `*` does not bring them back
        return MappingSection(
            meta={name: one for name, one in meta.items() if one is not None or keeps_removed},
            components={name: rules for name, rules in components.items() if rules is not None},
            scores={**defaults.scores, **self.scores},
        )


def asks_for_pseudonym(rules: Rules | None) -> bool:
    """Whether a rule asks for a pseudonym."""
    return any(isinstance(rule, Rule) and rule.pseudonym for rule in several(rules))


def _pseudonymous(rule: Rule | str) -> Rule:
    if isinstance(rule, str):
        return Rule(field=rule, pseudonym=True)
    return rule if rule.value is not None else msgspec.structs.replace(rule, pseudonym=True)


def fields_of(rules: Rules | ComponentRules | ScoreRules) -> set[str]:
    """The names of all fields that the value of rules depends on."""
    return set().union(
        *({rule} if isinstance(rule, str) else rule.fields for rule in several(rules))
    )


def several(given: Any) -> list[Any]:
    """What may be alone or in a list, or not at all, as a list; a number as the rule for it."""
    if given is None:
        return []
    items = given if isinstance(given, list) else [given]
    return [Rule(value=one) if isinstance(one, int | float) else one for one in items]


def patterns_of(rules: Any) -> list[Pattern]:
    """The regular expressions of rules and conditions, those of scores included."""
    found = []
    for rule in several(rules):
        if isinstance(rule, Rule):
            found += patterns_of(rule.only_if)
        if isinstance(rule, ComponentRule):
            found += [one for scores in rule.scores.values() for one in patterns_of(scores)]
        if isinstance(rule, Rule | Condition) and rule.matches is not None:
            found.append(pattern(rule.matches))
    return found
