"""Query strings are those of the public client; what the server would ignore is refused."""

import random
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pyauditor
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import collector.auditor as ours
from collector.auditor import MetaOperator, Operator, QueryBuilder, SortBy, Value

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20
).filter(lambda text: not text.isspace())
AT = Value.set_datetime(datetime(2026, 1, 31, tzinfo=UTC))
FIVE = Value.set_count(5)


def build(package: ModuleType, choose: random.Random, texts: list[str], at: datetime) -> str:
    """Builds a query with a package's classes, as the random numbers have it."""

    def operator(value: Any, *, equals: bool) -> Any:
        made = package.Operator()
        kinds = [("gt", "lt"), ("gte", "lte"), ("gt",), ("lte",), ("lt", "gte")]
        for name in choose.choice([*kinds, ("equals",)] if equals else kinds):
            getattr(made, name)(value)
        return made

    query = package.QueryBuilder()
    if choose.random() < 0.5:
        query.with_record_id(texts[0])
    if choose.random() < 0.5:
        query.with_start_time(operator(package.Value.set_datetime(at), equals=False))
    if choose.random() < 0.5:
        query.with_stop_time(operator(package.Value.set_datetime(at), equals=False))
    if choose.random() < 0.5:
        query.with_runtime(operator(package.Value.set_runtime(len(texts[0])), equals=True))
    if choose.random() < 0.5:
        meta = package.MetaOperator().contains(texts)
        if choose.random() < 0.5:
            meta.does_not_contain(texts[:1])
        query.with_meta_query(package.MetaQuery().meta_operator(texts[-1], meta))
    if choose.random() < 0.5:
        component = operator(package.Value.set_count(len(texts)), equals=True)
        query.with_component_query(
            package.ComponentQuery().component_operator(texts[-1], component)
        )
    if choose.random() < 0.5:
        column = choose.choice(["start_time", "stop_time", "runtime", "record_id"])
        query.sort_by(getattr(package.SortBy(), choose.choice(["ascending", "descending"]))(column))
    if choose.random() < 0.5:
        query = query.limit(choose.randrange(1000))
    return str(query.build())


@example(0, ["0"], datetime(2000, 1, 1, microsecond=19_000, tzinfo=UTC))  # no zeros behind .019
@given(
    st.integers(),
    st.lists(names, min_size=1, max_size=3),
    st.datetimes(datetime.fromisoformat("1971-01-01"), timezones=st.just(UTC)),
)
def test_query_strings_are_those_of_the_public_client(
    seed: int, texts: list[str], at: datetime
) -> None:
    """The same calls give the same string, whatever the texts."""
    assert build(ours, random.Random(seed), texts, at) == build(
        pyauditor, random.Random(seed), texts, at
    )


def test_contains_takes_one_text_or_a_list() -> None:
    """The tutorial gives a text, current releases a list."""
    for texts in ("site 1", ["site 1"]):
        operator = MetaOperator().contains(texts).does_not_contain(texts)
        assert operator.parts("k") == ["meta[k][c][0]=site+1", "meta[k][dnc][0]=site+1"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Operator().gt(AT).gte(AT),
        lambda: Operator().lte(AT).lt(AT),
        lambda: Operator().equals(AT),
        lambda: QueryBuilder().with_start_time(Operator().gt(FIVE)),
        lambda: QueryBuilder().with_runtime(Operator().gt(AT)),
        lambda: QueryBuilder().limit(-1),
        lambda: QueryBuilder().with_record_id(" "),
        lambda: SortBy().ascending("meta"),
        lambda: MetaOperator().contains([""]),
        lambda: Value.set_count(-1),
        lambda: Value.set_count(1.5),  # type: ignore[arg-type] # what is tried
        lambda: Value.set_datetime(datetime.fromisoformat("2026-01-31")),
    ],
)
def test_a_query_that_the_server_would_not_carry_out_is_refused(make: Any) -> None:
    """It would answer with far too many records, or with an error."""
    with pytest.raises(ValueError):
        make()
