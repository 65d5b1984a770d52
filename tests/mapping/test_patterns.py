r"""Regular expressions of a site, on texts of its users: the results of `re`, in bounded time."""

import contextlib
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.mapping.backtracking import growth
from collector.mapping.patterns import Pattern
from collector.mapping.timed import SlowSearchError, timed_search

EXPONENTIAL = [
    r"^(\w+[-_.]?)*$",
    r"(a+)+$",
    r"(a|a)*$",
    r"(a|ab|b)*$",
    r"^(\w+|\d+)*$",
    r"((x?|y?)z)*$",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(?i)^([a-z]+[A-Z]?)*$",
    r"^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*@[a-z]+$",
    r"(\w{1,64}\.?){1,64}x",
    r"(.*?,){11}P",
    r"^((a{1,4}){1,4}){1,4}$",
    r"^(a?){20}a{20}$",
    "^" + "a?" * 25 + "a" * 25,
    r"(\w+)\1",
    r"(?=.*x)y",
]
OF_POWER = {
    r"": 1,
    r"^group_(\w+)": 1,
    r"/Role=(\w+)": 1,
    r"^(batch|gpu)$": 1,
    r"^[^.]+\.([^.]+)$": 1,
    r"^(\w+\.)*$": 1,
    r"^(?:\d{1,3}\.){3}\d{1,3}$": 1,
    r"^/(?:[^/]+/)*Role=([^/]+)": 1,
    r"^(?:atlas|cms)_(?P<vo>\w+?)_\d*$": 1,
    r"^\s*(\S+)\s*$": 1,
    "|".join(f"user{number:03}" for number in range(150)): 1,
    r"\s+$": 2,
    r"\w+@\w+\.\w+": 2,
    r"(?m)^\w+$": 2,
    r"^.*,.*,$": 2,
    r"\d+\d+": 3,
    r"^.*,.*,.*,$": 3,
}

CLASSES = ["a", "b", "é", "ß", "ı", "İ", "K", "ſ", "s", "{", "!", r"\w", r"\W", r"\d", r"\s", "."]
CLASSES += ["[ab]", "[^a]", "[a-é]", "[x[:]", r"[\w.]", r"\b", r"\B", "^", "$"]
PATTERNS = st.recursive(
    st.sampled_from(CLASSES),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds(
            "({}){}".format, inner, st.sampled_from(["*", "+", "?", "*?", "++", "{2}", "{0,20}"])
        ),
        st.builds(
            "({}{})".format, st.sampled_from(["?i:", "?s:", "?m:", "?=", "?!", "?>", "?a:"]), inner
        ),
    ),
    max_leaves=6,
)
TEXTS = st.text(st.sampled_from("aab1é ſKksSiİıIß!.\n{中٣x:["), max_size=9)


@pytest.mark.parametrize("pattern", EXPONENTIAL)
def test_a_pattern_that_can_backtrack_exponentially_is_found(pattern: str):
    """Repetition within repetition, in all its forms; and what cannot be decided."""
    assert growth(re.compile(pattern)) is None
    assert "exponentially" in str(Pattern(pattern).warning)


@pytest.mark.parametrize("pattern", OF_POWER, ids=lambda pattern: pattern[:40])
def test_the_power_of_other_patterns_is_that_of_loops_that_overlap(pattern: str):
    """Patterns as sites write them are linear, or nearly so; from 3 on a warning names them."""
    found = growth(re.compile(pattern))
    assert found is not None
    assert found.power == OF_POWER[pattern]
    assert (Pattern(pattern).warning is None) is (found.power < 3)


@settings(max_examples=60, deadline=None)
@given(PATTERNS, TEXTS)
def test_a_bounded_search_finds_what_re_finds(pattern: str, text: str):
    """Span and group are the same, in any script and case, for notation that differs, too."""
    try:
        compiled = re.compile(pattern)
        search = timed_search(compiled)
    except (re.error, ValueError):
        return
    # As `compiled.search`, which passes places by the flags outside of `(?a:…)`, against its own
    # documentation: `(?a:\W)` is found at a place (match), but never searched for there.
    places = (compiled.match(text, place) for place in range(len(text) + 1))
    expected, found = next(filter(None, places), None), search(text)
    assert (found is None) is (expected is None)
    if found is not None and expected is not None:
        assert found.span() == expected.span()
        assert found.groups()[:1] == expected.groups()[:1]


@settings(max_examples=50, deadline=None)
@given(PATTERNS, st.text(st.sampled_from("ab!é"), min_size=1, max_size=4))
def test_what_runs_in_re_is_fast_on_long_texts(pattern: str, part: str):
    """No pattern that was found harmless takes long on a text that repeats something."""
    try:
        search = Pattern(pattern + "$").search
    except ValueError:
        return
    before = time.process_time()
    with contextlib.suppress(SlowSearchError):
        search(part * 1000 + "?")
    assert time.process_time() - before < 2


@pytest.mark.parametrize("pattern", [*EXPONENTIAL, *OF_POWER], ids=lambda pattern: pattern[:40])
@pytest.mark.parametrize("text", ["a" * 40 + "!", "a" * 50_000 + "!", "ab," * 20_000, "1" * 9000])
def test_no_text_takes_long(pattern: str, text: str):
    """What would take years ends after a tenth of a second."""
    search = Pattern(pattern).search
    before = time.process_time()
    with contextlib.suppress(SlowSearchError):
        search(text)
    assert time.process_time() - before < 1


def test_a_search_that_takes_too_long_names_its_pattern():
    """The reason is one that the site can act on."""
    with pytest.raises(SlowSearchError, match=r"\(a\|a\).* takes more than 0.1 s"):
        Pattern(r"(a|a)*(a|aa)*$").search("a" * 40 + "!")


def test_a_long_text_gives_what_a_short_one_gives():
    """Where the length of the text decides on the engine, the result does not depend on it."""
    search = Pattern(r"(\w+)@(\w+)").search
    for length in (10, 10_000):
        found = search(" " * length + "ann@lab")
        assert found is not None
        assert found.group(1) == "ann"


def test_without_the_package_a_dangerous_pattern_is_refused(monkeypatch: pytest.MonkeyPatch):
    """The reason says what to install, or to change; harmless patterns work without it."""
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(ValueError, match="install the Python package `regex`"):
        Pattern(r"(a+)+$")
    assert Pattern(r"^group_(\w+)").search("group_atlas") is not None


def test_text_that_is_no_pattern_is_refused_with_the_reason():
    """The configuration's mistake is a ValueError, as the reader of the file expects."""
    with pytest.raises(ValueError, match=r"is not a regular expression: .*unterminated"):
        Pattern("(a")


def test_the_package_is_loaded_only_for_patterns_that_need_it():
    """A daemon whose patterns are harmless does not pay for the second engine."""
    code = (
        "import sys\n"
        "from collector.mapping.patterns import Pattern\n"
        "Pattern(r'^group_(\\w+)').search('group_atlas'); Pattern(r'\\w+@').search('a@b')\n"
        "assert 'regex' not in sys.modules\n"
        "Pattern(r'(a+)+$'); assert 'regex' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
