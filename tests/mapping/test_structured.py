"""Entries of structured fields are found; hostile ones give nothing and do no harm."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.mapping.structured import item_of, items_of

TRES = "billing=1,cpu=2,gres/gpu:lab=2,gres/gpu=2,mem=64M,node=1"
ARC = "{'voms': '/atlas/Role=production', 'subject': '/DC=org/CN=Jane O\\'Neill', 'vo': None}"


def test_an_entry_of_a_tres_list_is_found():
    """The whole name of the resource counts."""
    assert item_of(TRES, "gres/gpu") == "2"
    assert item_of(TRES, "gres/gpu:lab") == "2"
    assert item_of(TRES, "mem") == "64M"
    assert item_of(TRES, "gres") is None


def test_json_with_single_quotes_is_read_as_arc_writes_it():
    """The comment of an ARC-CE's job is a Python dict."""
    assert item_of(ARC, "voms") == "/atlas/Role=production"
    assert item_of(ARC, "subject") == "/DC=org/CN=Jane O'Neill"
    assert item_of(ARC, "vo") is None


def test_a_path_goes_into_nested_objects():
    """Dots separate keys; a key with a dot in it is found as it stands."""
    text = json.dumps({"a": {"b": {"c": 7}}, "a.b": "x", "l": ["one", "two"], "n": [1], "t": True})
    assert item_of(text, "a.b") == "x"
    assert item_of(text, "a.b.c") == 7
    assert item_of(text, "l") == ["one", "two"]
    assert item_of(text, "n") is None
    assert item_of(text, "t") == "true"
    assert item_of(text, "a") is None


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, TEXTS, min_size=1))
def test_any_json_object_and_any_python_dict_gives_its_entries(given_dict: dict[str, str]):
    """Whatever characters keys and values hold."""
    for key, value in given_dict.items():
        if key:
            assert item_of(json.dumps(given_dict), key) == value
            assert item_of(json.dumps(given_dict, ensure_ascii=False), key) == value


@given(st.text())
def test_any_text_gives_a_value_or_nothing(text: str):
    """A user's comment cannot raise."""
    item_of(text, "voms")
    item_of("{" + text, "voms")


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        '{"a":' * 13_000,
        "{'" * 30_000,
        "{" + "'\\" * 30_000,
        "{" + '"\\' * 30_000,
        "{" + "\"'" * 30_000,
        "{\ud800'a': 'b'}",
        '"{' * 30_000,
    ],
    ids=[
        "nested",
        "nested objects",
        "single",
        "escaped",
        "escaped double",
        "mixed",
        "lone",
        "outer",
    ],
)
def test_deep_or_broken_text_gives_nothing(text: str):
    """Nesting beyond reason, or quotes that nothing closes: no value, no error, no time."""
    before = time.process_time()
    assert item_of(text, "a") is None
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    "text",
    [
        "\"{'voms': '/atlas', 'n': 1}\"",
        '"{\\"voms\\": \\"/atlas\\", \\"n\\": 1}"',
        '"{"voms": "/atlas", "n": 1}"',
        " \"{'voms': '/atlas', 'n': 1}\" ",
    ],
)
def test_a_comment_that_is_quoted_as_a_whole_is_read(text: str):
    """Submit scripts quote a comment for the shell once too often."""
    assert items_of(text) == {"voms": "/atlas", "n": 1}


def test_all_entries_are_found():
    """Those that are texts, numbers or lists of texts; nested ones have no value of their own."""
    assert items_of(ARC) == {"voms": "/atlas/Role=production", "subject": "/DC=org/CN=Jane O'Neill"}
    assert items_of('{"a": {"b": 1}, "c": ["x", "y"], "d": true}') == {"c": ["x", "y"], "d": "true"}
    assert items_of("cpu=2,gres/gpu=1,cpu=9") == {"cpu": "2", "gres/gpu": "1"}
    assert items_of("no list of anything") == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("billing=2,cpu=2,gres/gpu:tesla=4,mem=1G,node=1", "4"),
        ("cpu=2,gres/gpu:a100=2,gres/gpu=2,mem=1G", "2"),
        ("cpu=2,gres/gpu:a100=1,gres/gpu:h100=2,mem=1G", "3"),
        ("cpu=2,mem=1G", None),
    ],
)
def test_gpus_that_are_counted_by_type_only_are_summed_up(text: str, count: str | None):
    """The untyped count where there is one: it holds the typed ones already."""
    assert item_of(text, "gres/gpu") == count
    assert items_of(text).get("gres/gpu") == count
