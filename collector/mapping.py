"""Turns the fields of a job into a Record, by the rules of the YAML file.

The rules are compiled once, to plain functions over the fields; `Mapping.record` then costs about
ten microseconds. A rule that gives no value either leaves it out (`optional`, or its condition does
not hold) or makes the job unmappable, with a reason that names the rule, the field and the value.

Text of a job is its user's: it is taken as one value whatever it holds, cut to what the Auditor
stores (256 characters, no control characters), and never interpreted.

A rule is a pure function of the fields that it names, and jobs have few users, groups and machines:
what a rule gave for a text is remembered, a bounded number of short ones for each rule.
"""

from collections.abc import Callable, Iterable
from types import NoneType
from typing import TypeVar

import msgspec

from collector import quantities
from collector.arithmetic import Expression, UnknownFieldError
from collector.job import Job, Value
from collector.record import (
    NAME_LIMIT_GRAPHEMES,
    Component,
    InvalidRecordError,
    Meta,
    Record,
    Score,
    check_name,
)
from collector.rules import (
    ComponentRule,
    ComponentRules,
    Condition,
    Kind,
    MappingSection,
    Rule,
    Rules,
    pattern,
    several,
)
from collector.structured import item_of

Fields = dict[str, Value]


class UnmappableError(ValueError):
    """Raised for a job of which the rules make no record: rule, field, value, what was expected."""


class _Missing(msgspec.Struct, frozen=True):
    """What a rule gives that finds no value; raising would be slow, as most jobs lack something."""

    why: str


T = TypeVar("T")
Found = Value | list[str] | _Missing | None
Evaluate = Callable[[Fields], Found]
Pseudonym = Callable[[str], str]
"""Gives the pseudonym of a text; see `pseudonyms.py`."""

_REMEMBERED = 500
"""How many values of its field a rule remembers; texts of at most NAME_LIMIT_GRAPHEMES."""
_REMEMBERED_TYPES = frozenset({str, int, NoneType})
"""Not all: to a dict, 1, 1.0 and true are the same, but they are different texts."""


class Mapping:
    """The compiled rules of one source.

    Attributes:
        fields: the names of all fields that rules and filters look at.
        pseudonyms: the meta keys under which pseudonyms stand.
    """

    def __init__(
        self,
        section: MappingSection,
        record_prefix: str,
        only_if: Iterable[Condition] = (),
        pseudonym: Pseudonym | None = None,
    ) -> None:
        """Compiles the rules.

        Args:
            section: the rules, with the plugin's defaults already in them.
            record_prefix: record ids are `<record_prefix>-<job id>`.
            only_if: conditions that a job must meet to be accounted at all.
            pseudonym: for the rules that ask for it; without it their jobs cannot be mapped.

        Raises:
            ValueError: for a name that no Auditor takes, and a number that is none.
        """
        only_if = list(only_if)
        self.fields = {condition.field for condition in only_if}
        self.pseudonyms = [key for key, rules in section.meta.items() if _asks_for_one(rules)]
        self._prefix = record_prefix
        self._pseudonym = pseudonym or _without_key
        self._only_if = [self._condition(condition) for condition in only_if]
        self._meta: list[tuple[str, Callable[[Fields], list[str] | None]]] = []
        self._components: list[
            tuple[Component, Callable[[Fields], int | None], list[tuple[str, Evaluate]]]
        ] = []
        for key, rules in section.meta.items():
            check_name(key, "meta key")
            if rules is not None:
                find = self._rules(f"meta {key}", rules, "text")
                self._meta.append((key, self._remembered(_texts_of(key, find), rules)))
        for name, amounts in section.components.items():
            if amounts is not None:
                unit = Component(name, 0)
                find = self._rules(f"component {name}", amounts, "number")
                scores = [
                    score
                    for rule in several(amounts)
                    if isinstance(rule, ComponentRule)
                    for score in self._scores(name, rule)
                ]
                amount = self._remembered(_amount_of(find), amounts)
                self._components.append((unit, amount, scores))

    def refuses(self, job: Job) -> str | None:
        """Why the filters leave a job out; None for one that is to be accounted."""
        for holds, field in self._only_if:
            if not holds(job.fields):
                return f"only_if {field}"
        return None

    def record(self, job: Job) -> Record:
        """Makes the record of a job.

        Raises:
            UnmappableError: when a rule finds no value, or one that is no text or amount.
        """
        fields = job.fields
        try:
            meta = {key: texts for key, find in self._meta if (texts := find(fields)) is not None}
            components = []
            for unit, find_amount, scores in self._components:
                amount = find_amount(fields)
                if amount is None:
                    continue
                component = unit.of_amount(amount)
                for name, find_score in scores:
                    value = find_score(fields)
                    if value is not None:
                        component.scores.append(Score(name, value))  # type: ignore[arg-type]
                components.append(component)
            return Record(
                f"{self._prefix}-{job.id}",
                job.start_at,
                job.stop_at,
                Meta.of_checked(meta) if meta else None,
                components,
            )
        except (InvalidRecordError, OverflowError) as error:
            raise UnmappableError(str(error)) from None

    def _remembered(
        self, find: Callable[[Fields], T], rules: Rules | ComponentRules, *more: Condition
    ) -> Callable[[Fields], T]:
        """The same function with a memory, if the rules and conditions look at one field only."""
        looked_at = {condition.field for condition in more}.union(
            *({rule} if isinstance(rule, str) else rule.fields for rule in several(rules))
        )
        self.fields |= looked_at
        if not looked_at:
            constant = find({})
            return lambda _: constant
        if len(looked_at) != 1:
            return find
        (field,) = looked_at
        memo: dict[object, T] = {}

        def remembered(fields: Fields) -> T:
            value = fields.get(field)
            if value.__class__ not in _REMEMBERED_TYPES:
                return find(fields)
            if value in memo:
                return memo[value]
            found = find(fields)
            if value.__class__ is not str or len(value) <= NAME_LIMIT_GRAPHEMES:
                if len(memo) >= _REMEMBERED:
                    memo.clear()
                memo[value] = found
            return found

        return remembered

    def _scores(self, component: str, rule: ComponentRule) -> list[tuple[str, Evaluate]]:
        found = []
        for name, rules in rule.scores.items():
            check_name(name, "score name")
            what = f"score {name} of component {component}"
            find = self._rules(what, rules, "number", optional=True)
            conditions = several(rule.only_if)
            if conditions:
                find = _only_if(self._conditions(conditions), find)
            found.append((name, self._remembered(find, rules, *conditions)))
        return found

    def _rules(
        self, what: str, rules: Rules | ComponentRules, kind: Kind, *, optional: bool = False
    ) -> Evaluate:
        """The function of a rule, or of a list of rules of which the first with a value counts."""
        finds = [self._rule(what, rule, kind, optional=optional) for rule in several(rules)]
        if len(finds) == 1:
            return finds[0]

        def first(fields: Fields) -> Found:
            missing = None
            for find in finds:
                found = find(fields)
                if found.__class__ is _Missing:
                    missing = missing or found
                elif found is not None:
                    return found
            return missing

        return first

    def _rule(self, what: str, rule: Rule | str, kind: Kind, *, optional: bool) -> Evaluate:
        if isinstance(rule, str):
            rule = Rule(field=rule)
        if kind == "number" and (
            rule.type in ("text", "id") or isinstance(rule.value or rule.default, str | list)
        ):
            raise ValueError(f"{what}: expected a number, as value, default or type")
        if rule.pseudonym and kind == "number":
            raise ValueError(f"{what}: pseudonym goes with meta, not with numbers")
        find = self._value(what, rule, rule.type or kind)
        if rule.pseudonym:
            find = self._pseudonymous(find)
        default = rule.default
        if default is not None or rule.optional or optional:
            required = find

            def find(fields: Fields) -> Found:
                found = required(fields)
                return default if found.__class__ is _Missing else found

        if rule.only_if is not None:
            return _only_if(self._conditions(rule.only_if), find)
        return find

    def _value(self, what: str, rule: Rule, kind: Kind) -> Evaluate:
        """The function that takes a rule's value, in its type, or says that it is missing."""
        if rule.value is not None:
            constant = rule.value
            return lambda _: constant
        get = self._expression(what, rule.expr) if rule.expr else self._field(what, rule)
        if kind == "text" and rule.factor is None:
            return get
        convert, factor = _CONVERT[kind], rule.factor
        source = rule.expr or rule.field

        def converted(fields: Fields) -> Found:
            value = get(fields)
            if value.__class__ is _Missing or (value.__class__ is int and factor is None):
                return value
            try:
                found = convert(value)
            except ValueError as error:
                return _Missing(f"{what}: {source} = {_shown(value)}: {error}")
            return found if factor is None else found * factor  # type: ignore[operator]

        return converted

    def _pseudonymous(self, find: Evaluate) -> Evaluate:
        """The function that gives the pseudonym of a value; nothing found stays nothing."""
        pseudonym = self._pseudonym

        def hashed(fields: Fields) -> Found:
            value = find(fields)
            if value == "" or value.__class__ is _Missing:
                return value
            if isinstance(value, list):
                return [pseudonym(text) for text in value]
            return pseudonym(_text(value))

        return hashed

    def _expression(self, what: str, text: str) -> Evaluate:
        expression = Expression(text)

        def evaluate(fields: Fields) -> Found:
            try:
                return expression(fields)
            except UnknownFieldError as error:
                return _Missing(f"{what}: the job has no {error.args[0]} ({text})")
            except ValueError as error:
                return _Missing(f"{what}: {error}")

        return evaluate

    def _field(self, what: str, rule: Rule) -> Evaluate:
        field = str(rule.field)
        item, regex = rule.item, pattern(rule.matches) if rule.matches else None
        group = 1 if regex and regex.groups else 0
        absent = _Missing(f"{what}: the job has no {field}")

        def get(fields: Fields) -> Found:
            value: Found = fields.get(field)
            if value is None or value == "":
                return absent
            if item is not None:
                text = value
                value = item_of(_text(text), item)
                if value is None:
                    return _Missing(f"{what}: {field} = {_shown(text)} has no item {item}")
            if regex is not None:
                text = _text(value)
                match = regex.search(text)
                if match is None or match[group] is None:
                    return _Missing(
                        f"{what}: {field} = {_shown(text)} does not match {regex.pattern}"
                    )
                value = match[1] if group else text
            return value

        return get

    def _conditions(self, given: Condition | list[Condition]) -> Callable[[Fields], bool]:
        conditions = [self._condition(condition)[0] for condition in several(given)]
        return lambda fields: all(holds(fields) for holds in conditions)

    def _condition(self, condition: Condition) -> tuple[Callable[[Fields], bool], str]:
        field, search = condition.field, pattern(condition.matches).search

        def holds(fields: Fields) -> bool:
            value = fields.get(field)
            return value is not None and search(_text(value)) is not None

        return holds, field


def _asks_for_one(rules: Rules | None) -> bool:
    """Whether a rule asks for a pseudonym."""
    return any(isinstance(rule, Rule) and rule.pseudonym for rule in several(rules))


def _without_key(_: str) -> str:
    raise UnmappableError("a rule asks for a pseudonym, and there is no key")


def _only_if(holds: Callable[[Fields], bool], find: Evaluate) -> Evaluate:
    return lambda fields: find(fields) if holds(fields) else None


def _identifier(value: Found) -> str:
    """Drops the `(1001)` of Slurm's `labalice(1001)`."""
    text = _text(value)
    name, paren, number = text.partition("(")
    return name if paren and number.endswith(")") and number[:-1].isdigit() else text


_CONVERT: dict[Kind, Callable[[Found], Found]] = {
    "text": lambda value: value,
    "id": _identifier,
    "integer": quantities.integer,
    "number": quantities.number,
    "duration": quantities.duration_s,
    "memory": quantities.memory_bytes,
}


def _text(value: Found) -> str:
    """A value as the scheduler writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return str(value)


def _amount_of(find: Evaluate) -> Callable[[Fields], int | None]:
    """The whole number that a rule gives; raises for one that finds no value."""

    def amount(fields: Fields) -> int | None:
        found = find(fields)
        if found is None or found.__class__ is int:
            return found
        if isinstance(found, _Missing):
            raise UnmappableError(found.why)
        return round(found)  # type: ignore[arg-type] # numbers only: see _rule

    return amount


def _texts_of(key: str, find: Evaluate) -> Callable[[Fields], list[str] | None]:
    """The texts that a rule gives, as every Auditor stores them; raises for no value."""

    def texts(fields: Fields) -> list[str] | None:
        found = find(fields)
        if found is None:
            return None
        if isinstance(found, _Missing):
            raise UnmappableError(found.why)
        if found == "":
            check_name("", "value of meta", key)
        return [storable(_text(one)) for one in (found if isinstance(found, list) else [found])]

    return texts


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


def _shown(value: object) -> str:
    """A value for a message: quoted, and not longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"  # noqa: PLR2004 - a line
