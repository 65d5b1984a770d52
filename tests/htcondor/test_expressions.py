"""Expressions are computed as HTCondor computes them, or have no value; and never for long."""

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector_htcondor.classad import AttributeReader, plain
from collector_htcondor.expressions import Expressions

try:
    import classad2  # HTCondor's own parser, of the package `htcondor`
except ImportError:
    classad2 = None

with_classad2 = pytest.mark.skipif(classad2 is None, reason="no htcondor package here")

AD = b'\nN = 7\nR = 2.5\nT = true\nS = "abc"\nU = undefined\nE = N * 2 + 1\nL = { 1,2,30 }\nMe = Me'


def ours(text: str) -> object:
    return Expressions(AD, plain).value(text.encode())


def theirs(text: str) -> object:
    """What HTCondor finds; None for undefined, error, and what is no number, boolean or text."""
    ad = classad2.parseOne(f"{AD.decode()}\nX = {text}\n", classad2.ParserType.Old)
    if "X" not in ad:
        return None
    try:
        found = ad.eval("X")
    except (classad2.ClassAdException, ValueError, TypeError, KeyError):
        return None
    return found if type(found) in (bool, int, float, str) else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ifThenElse(isUndefined(WantCores), 4, WantCores)", 4),
        ("ifThenElse(isUndefined(N), 4, N)", 7),
        ("max({ 1,N,3 })", 7),
        ("min({ N,R })", 2.5),
        ('"a" == "A"', True),
        ('"a" =?= "A"', False),
        ('S == "abc" ? "yes" : "no"', "yes"),
        ("Nope ?: 3", 3),
        ("Nope =?= undefined", True),
        ('isString(S) && N > 3 ? int(R) : "x"', 2),
        ('strcat(S, "\\"", N)', 'abc"7'),
        ("quantize(N, 4)", 8),
        ("-7 / 2", -3),
        ("E", 15),
        ("Me", None),
        ("TARGET.N", None),
        ("MY.N", 7),
        ("L[2]", 30),
        ("N +", None),
        ("1 / 0", None),
        ("noSuchFunction(1)", None),
    ],
)
def test_expressions_of_submit_files_and_transforms_are_computed(text: str, value: object):
    """What stands in a RequestCpus of real jobs; what is not known has no value."""
    found = ours(text)
    assert (found, type(found)) == (value, type(value))


leaves = st.sampled_from(
    [
        "N",
        "R",
        "T",
        "S",
        "U",
        "E",
        "Nope",
        "true",
        "false",
        "undefined",
        "error",
        '"abc"',
        '"B"',
        '""',
    ]
) | st.one_of(
    st.integers(-20, 20).map(str),
    st.sampled_from(["0.5", "2.0", "1E+3", "9223372036854775807", "3.75"]),
)
BINARY = (
    *("+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "=?=", "=!=", "&&", "||"),
    *("&", "|", "^", "is", "isnt"),
)
ALWAYS_KNOWN = tuple(sign for sign in BINARY[:15] if sign not in "/%")
FUNCTIONS = (
    *("isUndefined", "isError", "isString", "isInteger", "isReal", "isBoolean", "int", "real"),
    *("string", "floor", "ceiling", "toUpper", "toLower", "size", "strcat"),
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda three: f"({' '.join(three)})"),
        st.tuples(inner, inner, inner).map(lambda of: f"{of[0]} ? {of[1]} : {of[2]}"),
        st.tuples(inner, inner).map(" ?: ".join),
        st.tuples(inner, inner, inner).map(lambda of: f"ifThenElse({', '.join(of)})"),
        st.tuples(st.sampled_from(FUNCTIONS), inner).map(lambda of: f"{of[0]}({of[1]})"),
        st.tuples(st.sampled_from(("min", "max", "sum")), st.lists(inner, max_size=3)).map(
            lambda of: f"{of[0]}({{ {','.join(of[1])} }})"
        ),
        st.tuples(st.sampled_from(("-", "!", "+", "~")), inner).map(lambda of: f"{of[0]}({of[1]})"),
    )


@with_classad2
@settings(max_examples=400, deadline=None)
@given(st.recursive(leaves, _compound, max_leaves=8))
@example('"a" == "b"')
@example("true + 1 < 2.5 && N % 4 == 3")
@example("U ?: N ?: 3")
@example("1 ? 2 : 3 ? 4 : 5")
def test_what_is_computed_is_what_htcondor_computes(text: str):
    """Each expression has HTCondor's value, of its type; or, if it is not known here, none."""
    found = ours(text)
    if found is not None:
        expected = theirs(text)
        assert (found, type(found)) == (expected, type(expected))


@with_classad2
@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["N", "R", "E", "Nope", "true", "false", "3", "2.5"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(ALWAYS_KNOWN), inner).map(
                lambda three: f"({' '.join(three)})"
            ),
            st.tuples(inner, inner, inner).map(lambda of: f"ifThenElse({', '.join(of)})"),
            inner.map(lambda of: f"isUndefined({of})"),
        ),
        max_leaves=6,
    )
)
def test_what_htcondor_computes_of_numbers_is_computed(text: str):
    """Numbers, comparisons and conditions are all known: none of them is a silent None."""
    expected = theirs(text)
    if not isinstance(expected, float) or math.isfinite(expected):
        assert (ours(text), type(ours(text))) == (expected, type(expected))


@pytest.mark.parametrize("width", [2, 60])
def test_an_expression_that_doubles_at_each_step_costs_milliseconds(width: int):
    """Eighteen attributes, each many times in the one before (a way to stop all accounting)."""
    lines = [f"\nA{k} = " + " + ".join([f"A{k + 1}"] * width) for k in range(1, 18)]
    ad = "".join(lines).encode() + b"\nA18 = 1\nX = " + b" + ".join([b"A1"] * width)
    reader = AttributeReader({"X", "A1"})
    began = time.process_time()
    reader.values(reader.texts(ad), ad, [("X", b"X"), ("A1", b"A1")])
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "text",
    ["(" * 150 + "1" + ")" * 150, "-" * 300 + "1", "1 ? " * 90 + "1", "{" * 200, "!" * 390 + "T"],
)
def test_an_expression_that_nests_too_deeply_has_no_value(text: str):
    """And raises nothing."""
    assert ours(text) is None


@settings(deadline=None)
@given(st.text(alphabet='()"\\{}[]?:=<>!&|+-*/%.,aN1_ ', max_size=60))
def test_any_text_has_a_value_or_none(text: str):
    """Nothing that a user writes raises an exception."""
    ours(text)
