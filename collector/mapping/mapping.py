"""Turns the fields of a job into a Record, by the rules of the YAML file.

The rules are compiled once, to plain functions over the fields (`evaluation.py`). A rule that gives
no value either leaves it out (`optional`, or its condition does not hold) or makes the job
unmappable, with a reason that names the rule, the field and the value.

Text of a job is its user's: it is taken as one value whatever it holds, cut to what the Auditor
stores (256 characters, no control characters), and never interpreted.
"""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from collector.job import Job
from collector.mapping.evaluation import (
    Evaluate,
    Fields,
    Missing,
    Pseudonym,
    Site,
    holds,
    memoized,
    memoized_texts,
    of_each,
    of_rules,
    only_if,
    text_of,
)
from collector.mapping.rules import (
    EACH,
    ComponentRule,
    ComponentRules,
    Condition,
    MappingSection,
    Rule,
    Rules,
    ScoreRules,
    asks_for_pseudonym,
    fields_of,
    patterns_of,
    several,
)
from collector.mapping.structured import Item
from collector.record import (
    NAME_LIMIT_GRAPHEMES,
    Component,
    InvalidRecordError,
    Meta,
    Record,
    Score,
    check_name,
)

SCORED = "Cores"
"""The component whose scores can be given once for the whole mapping."""
_LIMIT_EACH = 32
"""How many entries of a structured field give a meta key each."""


class UnmappableError(ValueError):
    """Raised for a job of which the rules make no record: rule, field, value, what was expected."""


class Mapping:
    """The compiled rules of one source.

    Attributes:
        section: the rules, with the defaults.
        fields: the names of all fields that rules and filters look at.
        pseudonyms: the meta keys with pseudonyms.
        warnings: what of the rules works, but should be changed; each begins with the rule's name.
    """

    def __init__(
        self,
        section: MappingSection,
        record_prefix: str,
        filters: Iterable[Condition] = (),
        pseudonym: Pseudonym | None = None,
        folder: Path = Path(),
    ) -> None:
        """Compiles the rules.

        Args:
            section: the rules, with the plugin's defaults already in them.
            record_prefix: record ids are `<record_prefix>-<job id>`.
            filters: conditions that a job must meet to be accounted at all.
            pseudonym: for the rules that ask for it; without it their jobs cannot be mapped.
            folder: of the configuration, where the files of tables are.

        Raises:
            ValueError: for a name that no Auditor takes, a number that is none, and a table that
                cannot be read.
        """
        filters = list(filters)
        self.section = section
        self.pseudonyms = [key for key, rules in section.meta.items() if asks_for_pseudonym(rules)]
        self.fields = {condition.field for condition in filters}
        self.warnings = _warnings(section, filters)
        self._prefix = record_prefix
        self._site = Site(pseudonym or _without_key, folder)
        self._filters = [(condition.field, holds(condition)) for condition in filters]
        self._components: list[
            tuple[Callable[[Fields], Component | None], list[tuple[str, Evaluate]]]
        ] = []
        find_meta, of_meta = self._meta_of(section.meta)
        self._meta = memoized_texts(find_meta, of_meta)
        self.fields |= of_meta
        for name, amounts in section.components.items():
            if amounts is not None:
                find = of_rules(f"component {name}", amounts, "number", self._site)
                component = memoized(_component_of(name, find), fields_of(amounts))
                scores = section.scores if name == SCORED else {}
                self._components.append((component, self._scores(name, amounts, scores)))
                self.fields |= fields_of(amounts)
        if section.scores and section.components.get(SCORED) is None:
            raise ValueError(
                f"scores: there is no component {SCORED}; give them to their component"
            )

    def refuses(self, job: Job) -> str | None:
        """Why the filters leave a job out; None for one that is to be accounted."""
        for field, lets_through in self._filters:
            if not lets_through(job.fields):
                return f"only_if {field}"
        return None

    def record(self, job: Job) -> Record:
        """Makes the record of a job; meta and components may also be those of others.

        Raises:
            UnmappableError: when a rule finds no value, or one that is no text or amount.
        """
        fields = job.fields
        try:
            components = []
            for find_component, scores in self._components:
                component = find_component(fields)
                if component is None:
                    continue
                if scores:
                    component = component.of_amount(component.amount)
                    for name, find_score in scores:
                        value = find_score(fields)
                        if value is not None:
                            component.scores.append(Score(name, value))  # type: ignore[arg-type]
                components.append(component)
            return Record(
                f"{self._prefix}-{job.id}",
                job.start_at,
                job.stop_at,
                self._meta(fields),
                components,
            )
        except (InvalidRecordError, OverflowError) as error:
            raise UnmappableError(str(error)) from None

    def _scores(
        self, component: str, amounts: ComponentRules, general: dict[str, ScoreRules]
    ) -> list[tuple[str, Evaluate]]:
        """The scores of a component, each with its function; those of its own rules first."""
        own = [rule for rule in several(amounts) if isinstance(rule, ComponentRule)]
        given = [(rule.scores, several(rule.only_if)) for rule in own]
        named = {name for rule in own for name in rule.scores}
        given.append(({name: one for name, one in general.items() if name not in named}, []))
        scores = []
        for rules_of, conditions in given:
            for name, rules in rules_of.items():
                check_name(name, "score name")
                what = f"score {name} of component {component}"
                find = of_rules(what, rules, "number", self._site, optional=True)
                fields = fields_of(rules) | {condition.field for condition in conditions}
                scores.append((name, memoized(only_if(conditions, find), fields)))
                self.fields |= fields
        return scores

    def _meta_of(
        self, rules_of: dict[str, Rules | None]
    ) -> tuple[Callable[[Fields], Meta | None], set[str]]:
        """The function that makes the meta of a record, and the fields that it looks at."""
        meta: list[tuple[str, Callable[[Fields], list[str] | None]]] = []
        each: list[tuple[str, Callable[[Fields], dict[str, Item]]]] = []
        fields: set[str] = set()
        for key, rules in rules_of.items():
            check_name(key, "meta key")
            if rules is None:
                continue
            fields |= fields_of(rules)
            items = _items(rules)
            if (EACH in key or EACH in items) and (key.count(EACH), items) != (1, {EACH}):
                raise ValueError(
                    f"meta {key}: item: '*' goes with a meta key that has one *, and such a key "
                    "with rules that have it"
                )
            if EACH in items:
                each += [(key, of_each(rule)) for rule in several(rules)]
            else:
                find = of_rules(f"meta {key}", rules, "text", self._site)
                meta.append((key, memoized(_texts_of(key, find), fields_of(rules))))
        return _meta_of(meta, each, frozenset(rules_of)), fields


def _warnings(section: MappingSection, filters: list[Condition]) -> list[str]:
    """The regular expressions that can backtrack, each with where it is."""
    named: list[tuple[str, Any]] = [("only_if", filters)]
    named += [(f"mapping.meta.{key}", rules) for key, rules in section.meta.items()]
    named += [(f"mapping.components.{key}", rules) for key, rules in section.components.items()]
    named += [(f"mapping.scores.{key}", rules) for key, rules in section.scores.items()]
    return [
        f"{name}: {pattern.warning}"
        for name, rules in named
        for pattern in patterns_of(rules)
        if pattern.warning is not None
    ]


def _without_key(_: str) -> str:
    raise UnmappableError("a rule asks for a pseudonym, and there is no key")


def _component_of(name: str, find: Evaluate) -> Callable[[Fields], Component | None]:
    """The component of a rule; raises for one that finds no value.

    It may be a part of several records, which nobody changes on their way to the outbox.
    """
    unit = Component(name, 0)

    def component(fields: Fields) -> Component | None:
        found = find(fields)
        if found is None:
            return None
        if isinstance(found, Missing):
            raise UnmappableError(found.why)
        return unit.of_amount(round(found))  # type: ignore[arg-type] # numbers only: see _rule

    return component


def _texts_of(key: str, find: Evaluate) -> Callable[[Fields], list[str] | None]:
    """The texts that a rule gives, as every Auditor stores them; raises for no value."""

    def texts(fields: Fields) -> list[str] | None:
        found = find(fields)
        if found is None:
            return None
        if isinstance(found, Missing):
            raise UnmappableError(found.why)
        if found == "":
            check_name("", "value of meta", key)
        return [storable(text_of(one)) for one in (found if isinstance(found, list) else [found])]

    return texts


def _meta_of(
    rules: list[tuple[str, Callable[[Fields], list[str] | None]]],
    each: list[tuple[str, Callable[[Fields], dict[str, Item]]]],
    named: frozenset[str],
) -> Callable[[Fields], Meta | None]:
    """The meta of a record, by the function of each key; it may be that of several records.

    Args:
        rules: key → its texts.
        each: key with `*` → the entries that give a key each.
        named: the keys that have a rule: no entry takes their place, whatever a user calls it.
    """

    def meta(fields: Fields) -> Meta | None:
        texts = {key: found for key, find in rules if (found := find(fields)) is not None}
        for key, entries in each:
            for name, value in itertools.islice(entries(fields).items(), _LIMIT_EACH):
                values = [text_of(one) for one in (value if isinstance(value, list) else [value])]
                full = storable(key.replace(EACH, name))
                if full not in named and all(values):
                    texts[full] = [storable(one) for one in values]
        return Meta.of_checked(texts) if texts else None

    return meta


def _items(rules: Rules) -> set[str | None]:
    return {rule.item if isinstance(rule, Rule) else None for rule in several(rules)}


def storable(text: str) -> str:
    """A user's text as an Auditor can store it: control characters replaced, cut to 256 characters.

    Blank text becomes an open box, since the server refuses it and a job must not be lost by it.
    """
    clean = text if len(text) <= NAME_LIMIT_GRAPHEMES else text[: NAME_LIMIT_GRAPHEMES - 1] + "…"
    if not clean.isprintable():
        clean = "".join(
            char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in clean
        )
    return clean if clean.strip() else "\N{OPEN BOX}"
