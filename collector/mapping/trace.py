"""What each mapping rule makes of a job, key by key of the rule: for `explain`.

A rule is compiled by the same function as for records (`evaluation.of_rules`), once with its first
key, once with its first two, and so on. So what is shown cannot differ from what happens.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from collector.mapping.evaluation import Fields, Found, Missing, Site, holds, of_each, of_rules
from collector.mapping.mapping import SCORED
from collector.mapping.rules import (
    EACH,
    ComponentRule,
    Condition,
    Kind,
    MappingSection,
    Rule,
    several,
)


class Step(msgspec.Struct):
    """What one key of a rule made of the value so far."""

    key: str
    """The key as the configuration has it, e.g. `type: memory`."""
    value: Any = None
    problem: str = ""
    """Why there is no value after it."""


class Traced(msgspec.Struct):
    """One rule, and what it makes of the job."""

    name: str
    """`meta user`, `component Cores`, `score HS23 of component Cores`."""
    steps: list[Step]
    counts: bool
    """Whether this rule gives the value; of several for one name, the first with a value does."""
    value: Any = None
    left_out: str = ""
    """Why it gives no value, or is not needed."""


def trace(section: MappingSection, fields: Fields, site: Site) -> list[Traced]:
    """Traces all rules of a mapping.

    Args:
        section: with the defaults in it.
        fields: of the job.
        site: for the rules that ask for a pseudonym or a table.
    """
    found: list[Traced] = []
    for key, meta in section.meta.items():
        if isinstance(meta, Rule) and meta.item == EACH:
            entries = dict(of_each(meta)(fields))
            steps = [Step(f"field: {meta.field}", fields.get(meta.field or ""))]
            left_out = "" if entries else "no entry"
            found.append(Traced(f"meta {key}", steps, bool(entries), entries, left_out))
        else:
            found += _alternatives(f"meta {key}", several(meta), "text", fields, site)
    for key, amounts in section.components.items():
        what = f"component {key}"
        found += _alternatives(what, several(amounts), "number", fields, site)
        own: set[str] = set()
        for rule in several(amounts):
            for name, score in rule.scores.items() if isinstance(rule, ComponentRule) else ():
                own.add(name)
                of_score = f"score {name} of {what}"
                if failed := _failed(several(rule.only_if), fields):
                    found.append(Traced(of_score, [], counts=False, left_out=failed))
                else:
                    found += _alternatives(
                        of_score, several(score), "number", fields, site, optional=True
                    )
        for name, score in section.scores.items() if key == SCORED else ():
            if name not in own:
                of_score = f"score {name} of {what}"
                found += _alternatives(
                    of_score, several(score), "number", fields, site, optional=True
                )
    return found


def _alternatives(
    what: str,
    rules: list[Rule | str],
    kind: Kind,
    fields: Fields,
    site: Site,
    *,
    optional: bool = False,
) -> Iterator[Traced]:
    """The rules of one name, of which the first with a value counts."""
    is_given = False
    for written in rules:
        rule = Rule(field=written) if isinstance(written, str) else written
        traced = Traced(what, list(_steps(what, rule, kind, fields, site)), counts=False)
        value = of_rules(what, rule, kind, site, optional=optional)(fields)
        if isinstance(value, Missing):
            traced.left_out = value.why
        elif value is None:
            traced.left_out = _failed(several(rule.only_if), fields) or "optional, and no value"
        else:
            traced.value = value
            traced.counts = not is_given
            traced.left_out = "an earlier rule has a value" if is_given else ""
            is_given = True
        yield traced


def _steps(what: str, rule: Rule, kind: Kind, fields: Fields, site: Site) -> Iterator[Step]:
    for condition in several(rule.only_if):
        failed = _failed([condition], fields)
        shown = f"only_if: {condition.field} matches {condition.matches}"
        yield Step(shown, fields.get(condition.field), failed)
    given: dict[str, Any] = {}
    for key in (
        "value",
        "field",
        "expr",
        "item",
        "matches",
        "table",
        "type",
        "factor",
        "pseudonym",
    ):
        value = getattr(rule, key)
        is_number = key == "type" and kind == "number" and value is None and rule.value is None
        if (value is None or value is False) and not is_number:
            continue
        given[key] = value
        # Before its type, a number is the text that item and matches work on.
        so_far: Kind = kind if {"type", "factor", "value"} & given.keys() else "text"
        made = of_rules(what, Rule(**given), so_far, site)(fields)
        yield _step(f"{key}: {kind if is_number else value}", made)
    if rule.default is not None:
        yield Step(f"default: {rule.default}", rule.default)


def _step(key: str, made: Found) -> Step:
    return Step(key, problem=made.why) if isinstance(made, Missing) else Step(key, made)


def _failed(conditions: list[Condition], fields: Fields) -> str:
    """Which condition does not hold; empty if all do."""
    for condition in conditions:
        if not holds(condition)(fields):
            return f"only_if {condition.field} does not match {condition.matches}"
    return ""
