"""Arithmetic over fields computes what is written, and nothing else can be written."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.mapping.arithmetic import Expression, UnknownFieldError


@given(
    st.integers(-(2**63), 2**64 - 1), st.integers(-(2**63), 2**64 - 1), st.integers(1, 2**64 - 1)
)
def test_the_four_operations_are_those_of_arithmetic(a: int, b: int, c: int):
    """Precedence and parentheses are the usual ones; integers stay exact."""
    fields = {"a": a, "b": b, "c": c}
    assert Expression("a + b * c - (a - b)")(fields) == a + b * c - (a - b)
    assert Expression("-a")(fields) == -a


def test_functions_are_the_named_ones():
    """Min, max, round, ceil, floor and abs compute what they say."""
    fields = {"a": 1.5, "b": -2}
    assert Expression("max(a, b) + min(a, b)")(fields) == -0.5
    assert Expression("ceil(a) + floor(a) + abs(b) + round(2.4)")(fields) == 7


def test_the_fields_of_an_expression_are_known():
    """What has to be read of a job stands in `fields`."""
    assert Expression("RemoteUserCpu + max(RemoteSysCpu, 0)").fields == {
        "RemoteUserCpu",
        "RemoteSysCpu",
    }


def test_text_that_is_a_number_counts_as_one():
    """Schedulers print numbers as text."""
    assert Expression("a * 2")({"a": "21"}) == 42


def test_a_missing_field_is_named():
    """The error carries the name of the field."""
    with pytest.raises(UnknownFieldError, match="b"):
        Expression("a + b")({"a": 1})


@pytest.mark.parametrize("fields", [{"a": "x"}, {"a": True}, {"a": 0}, {"a": "1e999"}])
def test_what_cannot_be_computed_says_why(fields: dict[str, object]):
    """Text, booleans, division by zero and infinities are refused, not guessed."""
    with pytest.raises(ValueError, match="a"):
        Expression("1 / a")(fields)


@pytest.mark.parametrize(
    "text",
    [
        "a.b",
        "a[0]",
        "__import__('os')",
        "a ** 9",
        "a if b else c",
        "lambda: 1",
        "a < b",
        "'text'",
        "True",
        "f(a)",
        "min(a)",
        "round(a, 2)",
        "max(*a)",
        "max(a, key=b)",
        "a; b",
        "",
        "a" * 1001,
        "(" * 500,
        "[1]",
        "a and b",
        "~a",
        "a := 1",
    ],
)
def test_everything_else_is_refused_when_it_is_read(text: str):
    """Attributes, calls, powers, comparisons, text: a configuration cannot run code."""
    with pytest.raises(ValueError, match=r"allowed|expression|takes|longer"):
        Expression(text)


@pytest.mark.parametrize("value", [3, 1e308, "9" * 4000, 10**4000, "1e300", 2**63])
@pytest.mark.parametrize("text", ["a*" * 499 + "a", "+".join(["a"] * 499), "-" * 900 + "a"])
def test_no_value_of_a_field_makes_it_slow(text: str, value: object):
    """The text of the expression bounds its time."""
    expression = Expression(text)
    before = time.process_time()
    with contextlib.suppress(ValueError):
        expression({"a": value})
    assert time.process_time() - before < 0.5
