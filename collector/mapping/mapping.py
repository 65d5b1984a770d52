"""Turns the fields of a job into a Record, by the rules of the YAML file.

The rules are compiled once, to plain functions over the fields (`evaluation.py`). A rule that gives
no value either leaves it out (`optional`, or its condition does not hold) or makes the job
unmappable, with a reason that names the rule, the field and the value.

Text of a job is its user's: it is taken as one value whatever it holds, cut to what the Auditor
stores (256 characters, no control characters), and never interpreted.
"""

from collections.abc import Callable, Iterable
from typing import Any

from collector.job import Job
from collector.mapping.evaluation import (
    Evaluate,
    Fields,
    Missing,
    Pseudonym,
    holds,
    memoized,
    memoized_texts,
    of_rules,
    only_if,
    text_of,
)
from collector.mapping.rules import (
    ComponentRule,
    ComponentRules,
    Condition,
    MappingSection,
    Rule,
    Rules,
    fields_of,
    patterns_of,
    several,
)
from collector.record import (
    NAME_LIMIT_GRAPHEMES,
    Component,
    InvalidRecordError,
    Meta,
    Record,
    Score,
    check_name,
)


class UnmappableError(ValueError):
    """Raised for a job of which the rules make no record: rule, field, value, what was expected."""


class Mapping:
    """The compiled rules of one source.

    Attributes:
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
    ) -> None:
        """Compiles the rules.

        Args:
            section: the rules, with the plugin's defaults already in them.
            record_prefix: record ids are `<record_prefix>-<job id>`.
            filters: conditions that a job must meet to be accounted at all.
            pseudonym: for the rules that ask for it; without it their jobs cannot be mapped.

        Raises:
            ValueError: for a name that no Auditor takes, and a number that is none.
        """
        filters = list(filters)
        self.pseudonyms = [key for key, rules in section.meta.items() if _asks_for_one(rules)]
        self.fields = {condition.field for condition in filters}
        self.warnings = _warnings(section, filters)
        self._prefix = record_prefix
        self._pseudonym = pseudonym or _without_key
        self._filters = [(condition.field, holds(condition)) for condition in filters]
        meta: list[tuple[str, Callable[[Fields], list[str] | None]]] = []
        of_meta: set[str] = set()
        self._components: list[
            tuple[Callable[[Fields], Component | None], list[tuple[str, Evaluate]]]
        ] = []
        for key, rules in section.meta.items():
            check_name(key, "meta key")
            if rules is not None:
                find = of_rules(f"meta {key}", rules, "text", self._pseudonym)
                meta.append((key, memoized(_texts_of(key, find), fields_of(rules))))
                of_meta |= fields_of(rules)
        self._meta = memoized_texts(_meta_of(meta), of_meta)
        self.fields |= of_meta
        for name, amounts in section.components.items():
            if amounts is not None:
                find = of_rules(f"component {name}", amounts, "number", self._pseudonym)
                component = memoized(_component_of(name, find), fields_of(amounts))
                self._components.append((component, self._scores(name, amounts)))
                self.fields |= fields_of(amounts)

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

    def _scores(self, component: str, amounts: ComponentRules) -> list[tuple[str, Evaluate]]:
        """The scores of a component, each with its function."""
        scores = []
        for rule in several(amounts):
            for name, rules in rule.scores.items() if isinstance(rule, ComponentRule) else ():
                check_name(name, "score name")
                what = f"score {name} of component {component}"
                find = of_rules(what, rules, "number", self._pseudonym, optional=True)
                conditions = several(rule.only_if)
                fields = fields_of(rules) | {condition.field for condition in conditions}
                scores.append((name, memoized(only_if(conditions, find), fields)))
                self.fields |= fields
        return scores


def _warnings(section: MappingSection, filters: list[Condition]) -> list[str]:
    """The regular expressions that can backtrack, each with where it is."""
    named: list[tuple[str, Any]] = [("only_if", filters)]
    named += [(f"mapping.meta.{key}", rules) for key, rules in section.meta.items()]
    named += [(f"mapping.components.{key}", rules) for key, rules in section.components.items()]
    return [
        f"{name}: {pattern.warning}"
        for name, rules in named
        for pattern in patterns_of(rules)
        if pattern.warning is not None
    ]


def _asks_for_one(rules: Rules | None) -> bool:
    """Whether a rule asks for a pseudonym."""
    return any(isinstance(rule, Rule) and rule.pseudonym for rule in several(rules))


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
) -> Callable[[Fields], Meta | None]:
    """The meta of a record, by the function of each key; it may be that of several records."""

    def meta(fields: Fields) -> Meta | None:
        texts = {key: found for key, find in rules if (found := find(fields)) is not None}
        return Meta.of_checked(texts) if texts else None

    return meta


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
