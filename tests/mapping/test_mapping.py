"""The mapping makes of a job's fields the record that its rules say, or says why it cannot."""

import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config import Config, Plugin, SourceSection, default_mapping, mapping_of
from collector.config.yamlfile import Reader
from collector.job import Job
from collector.mapping import Mapping, UnmappableError, storable
from collector.mapping.rules import Condition, MappingSection
from collector.record import Record, decode

START, STOP = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)


def section_of(text: str) -> MappingSection:
    reader = Reader(text)
    assert reader.root is not None
    section = reader.convert_struct(reader.root, MappingSection)
    assert not reader.mistakes
    return section


def record_of(text: str, **fields: Any) -> Record:
    job = Job("1.0", START, STOP, fields, b"raw", "log:1")
    return Mapping(section_of(text), "site", pseudonym="<{}>".format).record(job)


def meta_of(rule: str, **fields: Any) -> list[str] | None:
    return (record_of(f"{{meta: {{m: {rule}}}}}", **fields).meta or {}).get("m")


def amount_of(rule: str, **fields: Any) -> int | None:
    components = record_of(f"{{components: {{c: {rule}}}}}", **fields).components
    return components[0].amount if components else None


def test_a_record_carries_id_times_meta_components_and_scores():
    """One rule of each kind gives the whole record, in the order of the rules."""
    record = record_of(
        """
        meta: {user: Owner, site: {value: SITE}}
        components:
          Cores: {field: Cpus, scores: {HEPSPEC: Hep}}
          CPU: {expr: User + Sys}
        """,
        Owner="alice",
        Cpus=4,
        Hep=9.5,
        User=1.2,
        Sys=2,
    )
    assert decode(record.encode()) == record
    assert record.to_json() == (
        '{"components":[{"amount":4,"name":"Cores","scores":[{"name":"HEPSPEC","value":9.5}]},'
        '{"amount":3,"name":"CPU","scores":[]}],"meta":{"site":["SITE"],"user":["alice"]},'
        '"record_id":"site-1.0","runtime":3600,"start_time":"2026-01-01T00:00:00Z",'
        '"stop_time":"2026-01-01T01:00:00Z"}'
    )


@pytest.mark.parametrize(
    ("rule", "fields", "expected"),
    [
        ("F", {"F": "x"}, ["x"]),
        ("F", {"F": "007"}, ["007"]),
        ("F", {"F": 12345}, ["12345"]),
        ("F", {"F": True}, ["true"]),
        ("{field: F}", {"F": 1.5}, ["1.5"]),
        ("{value: [a, b]}", {}, ["a", "b"]),
        ("{field: F, optional: true}", {}, None),
        ("{field: F, default: none}", {}, ["none"]),
        ("{field: F, default: none}", {"F": ""}, ["none"]),
        ("{field: F, type: id}", {"F": "alice(1001)"}, ["alice"]),
        ("{field: F, type: id}", {"F": "odd(name)"}, ["odd(name)"]),
        ("{field: F, matches: '^group_(\\w+)\\.'}", {"F": "group_atlas.prod"}, ["atlas"]),
        ("{field: F, matches: prod}", {"F": "group_atlas.prod"}, ["group_atlas.prod"]),
        ("{field: F, matches: '(a)|b', default: d}", {"F": "b"}, ["d"]),
        ("{field: F, item: voms}", {"F": "{'voms': '/cms'}"}, ["/cms"]),
        ("{field: F, item: vos}", {"F": '{"vos": ["a", "b"]}'}, ["a", "b"]),
        ("[{field: A}, B]", {"B": "second"}, ["second"]),
        ("[{field: A}, B]", {"A": "first", "B": "second"}, ["first"]),
        ("{value: X, only_if: {field: F, matches: '^a'}}", {"F": "ab"}, ["X"]),
        ("{value: X, only_if: {field: F, matches: '^a'}}", {"F": "ba"}, None),
        ("{value: X, only_if: {field: F, matches: '^a'}}", {}, None),
        (
            "[{value: X, only_if: [{field: F, matches: a}, {field: G, matches: b}]}, {value: Z}]",
            {"F": "a", "G": "c"},
            ["Z"],
        ),
        ("{expr: A + B}", {"A": 1, "B": 2}, ["3"]),
        ("{field: F, pseudonym: true}", {"F": "a"}, ["<a>"]),
        ("{field: F, pseudonym: false}", {"F": "a"}, ["a"]),
        ("{field: F, pseudonym: true}", {"F": 1001}, ["<1001>"]),
        ("{field: F, pseudonym: true}", {"F": " "}, ["< >"]),
        ("{field: F, type: id, pseudonym: true}", {"F": "alice(1001)"}, ["<alice>"]),
        ("{field: F, matches: '^(.*)@', pseudonym: true}", {"F": "a@ap1"}, ["<a>"]),
        ("{field: F, item: s, pseudonym: true}", {"F": "{'s': '/CN=a'}"}, ["</CN=a>"]),
        ("{field: F, item: s, pseudonym: true}", {"F": '{"s": ["a", "b"]}'}, ["<a>", "<b>"]),
        ("{field: F, pseudonym: true, optional: true}", {}, None),
        ("{field: F, pseudonym: true, default: none}", {}, ["none"]),
        ("[{field: A, pseudonym: true}, B]", {"B": "b"}, ["b"]),
        (
            "{field: F, pseudonym: true, only_if: {field: G, matches: x}}",
            {"F": "a", "G": "y"},
            None,
        ),
    ],
)
def test_meta_is_made_by_its_rule(rule: str, fields: dict[str, Any], expected: list[str] | None):
    """Each key of the language does what it says, for text."""
    assert meta_of(rule, **fields) == expected


@pytest.mark.parametrize(
    ("rule", "fields", "expected"),
    [
        ("F", {"F": 4}, 4),
        ("F", {"F": "4"}, 4),
        ("F", {"F": 2**62 + 1}, 2**62 + 1),
        ("F", {"F": 3.7}, 4),
        ("{value: 3}", {}, 3),
        ("{field: F, default: 1}", {}, 1),
        ("{field: F, optional: true}", {}, None),
        ("{field: F, optional: true}", {"F": "unknown"}, None),
        ("{field: F, type: duration}", {"F": "1-00:00:01"}, 86_401),
        ("{field: F, type: duration, factor: 1000}", {"F": "00:00.003"}, 3),
        ("{field: F, type: memory, factor: 0.000001}", {"F": "64M"}, 67),
        ("{field: F, item: mem, type: memory}", {"F": "cpu=1,mem=1K"}, 1024),
        ("{field: F, item: gres/gpu, default: 0}", {"F": "cpu=1,mem=1K"}, 0),
        ("{field: F, factor: 0.5}", {"F": 8}, 4),
        ("{expr: A * (B + 1)}", {"A": 2, "B": 3}, 8),
        ("{expr: A + B, default: 9}", {"A": 2}, 9),
        ("[{field: A, only_if: {field: U, matches: '^5$'}}, {value: 0}]", {"A": 7, "U": 5}, 7),
        ("[{field: A, only_if: {field: U, matches: '^5$'}}, {value: 0}]", {"A": 7, "U": 7}, 0),
    ],
)
def test_an_amount_is_made_by_its_rule(rule: str, fields: dict[str, Any], expected: int | None):
    """Each key of the language does what it says, for numbers; integers stay exact."""
    assert amount_of(rule, **fields) == expected


@pytest.mark.parametrize(
    ("rule", "fields", "words"),
    [
        ("{components: {Cores: Cpus}}", {}, ["component Cores", "Cpus"]),
        (
            "{components: {Cores: Cpus}}",
            {"Cpus": "four"},
            ["component Cores", "Cpus", "four", "number"],
        ),
        ("{components: {Cores: Cpus}}", {"Cpus": -1}, ["Cores", "-1"]),
        ("{components: {Cores: Cpus}}", {"Cpus": 2**63}, ["Cores", "2^63"]),
        ("{components: {Cores: Cpus}}", {"Cpus": True}, ["Cores", "True"]),
        ("{components: {C: {expr: A / B}}}", {"A": 1, "B": 0}, ["component C", "A / B"]),
        ("{components: {C: {expr: A + B}}}", {"A": 1}, ["component C", "B", "A + B"]),
        (
            "{meta: {vo: {field: F, matches: '^x(.)'}}}",
            {"F": "abc"},
            ["meta vo", "F", "abc", "^x(.)"],
        ),
        ("{meta: {vo: {field: F, item: voms}}}", {"F": "a=b"}, ["meta vo", "F", "voms"]),
        ("{components: {M: {field: F, type: memory}}}", {"F": "4Gc"}, ["M", "F", "4Gc", "size"]),
        ("{meta: {u: {field: F, pseudonym: true}}}", {}, ["meta u", "no F"]),
        (
            "{meta: {u: {field: F, type: id, pseudonym: true}}}",
            {"F": "(7)"},
            ["meta", "u", "blank"],
        ),
    ],
)
def test_what_a_rule_cannot_compute_is_told(rule: str, fields: dict[str, Any], words: list[str]):
    """The reason names the rule, the field and the value."""
    with pytest.raises(UnmappableError) as caught:
        record_of(rule, **fields)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_score_without_value_is_left_out():
    """A machine without a benchmark does not reject its jobs, and a score has its own condition."""
    rule = """
    components:
      Cores:
        field: Cpus
        scores:
          HEPSPEC: {field: Hep, matches: 'HEPSPEC\\D+(\\d+(\\.\\d+)?)'}
          Other: {value: 2, only_if: {field: Host, matches: new}}
    """
    found = record_of(rule, Cpus=1, Hep="HEPSPEC = 10.45", Host="new1").components[0].scores
    assert [(score.name, score.value) for score in found] == [("HEPSPEC", 10.45), ("Other", 2.0)]
    assert record_of(rule, Cpus=1, Host="old1").components[0].scores == []


@given(st.text(st.characters(), min_size=1))
def test_any_text_of_a_user_can_be_stored(text: str):
    """Control characters, NUL, surrogates, blanks and length never reject the job."""
    record = record_of("{meta: {name: F}}", F=text)
    assert decode(record.encode()) == record
    assert len(storable(text)) <= 256


def test_text_is_kept_as_it_is_where_that_is_possible():
    """Pipes, quotes, commas, emoji and leading blanks are part of the value."""
    for text in ("a|b", ' "x", y ', "作业-🚀", "a" * 256, "JobState=FAILED UserId=root(0)"):
        assert meta_of("F", F=text) == [text]
    assert meta_of("F", F="a\nb\0c") == ["a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"]
    assert meta_of("F", F="a" * 300) == ["a" * 255 + "…"]


def test_the_fields_that_rules_name_are_known():
    """A source reads no more than the mapping, its conditions and its filters look at."""
    mapping = Mapping(
        section_of(
            "{meta: {a: A, b: [{field: B, only_if: {field: C, matches: x}}]},"
            " components: {d: {expr: D + E, scores: {f: F}}}}"
        ),
        "p",
    )
    assert mapping.fields == set("ABCDEF")


class Defaults(Plugin):
    Section = SourceSection
    mapping = "{meta: {user: U, group: G}, components: {Cores: C, Memory: M}}"


def test_a_source_adds_replaces_and_removes_defaults_by_name():
    """The plugin's defaults are first; null removes; the collector says what it is."""
    section = SourceSection(
        name="s",
        plugin="p",
        record_prefix="p",
        mapping=section_of(
            "{meta: {group: null, site: {value: S}}, components: {Memory: null, Cores: X, T: T}}"
        ),
    )
    record = mapping_of(section, Defaults).record(
        Job("1", START, STOP, {"U": "u", "X": 2, "T": 3}, b"", "")
    )
    assert record.meta is not None
    assert list(record.meta) == ["collector", "collector_type", "user", "site"]
    assert record.meta["collector"][0] == "auditor-collector"
    assert record.meta["collector_type"] == ["p", record.meta["collector"][1]]
    assert [(c.name, c.amount) for c in record.components] == [("Cores", 2), ("T", 3)]
    assert default_mapping(Defaults).meta["user"] == "U"


def test_components_that_all_have_a_rule_of_the_site_keep_its_order():
    """A query of an Auditor looks at the first component only."""
    defaults = section_of("{components: {Cores: C, Memory: M}}")
    of_some = section_of("{components: {T: T, Memory: X}}").over(defaults)
    assert list(of_some.components) == ["Cores", "Memory", "T"]
    of_all = section_of("{components: {T: T, Memory: X, Cores: null}}").over(defaults)
    assert list(of_all.components) == ["T", "Memory"]


DEFAULTS = """
meta:
  user_id: U
  user: U
  subject: [{field: S, optional: true}, {field: T, optional: true}]
  headnode: H
  submithost: H
"""


def test_a_rule_for_one_of_two_names_is_that_of_both():
    """A rule of before the second name came: removed stays removed, hidden stays hidden."""
    own = section_of("{meta: {user: {field: U, pseudonym: true}, submithost: null}}")
    fields: dict[str, str | int | float] = {"U": "ann", "S": "/CN=ann", "H": "ann-laptop"}
    mapping = Mapping(own.over(section_of(DEFAULTS)), "p", pseudonym="<{}>".format)
    meta = mapping.record(Job("1", START, STOP, fields, b"", "")).meta
    assert meta == {"user_id": ["<ann>"], "user": ["<ann>"], "subject": ["</CN=ann>"]}


def test_two_names_can_have_rules_of_their_own():
    """Whoever writes both is believed; without pseudonyms a subject is what it is."""
    own = section_of("{meta: {user: {value: all}, user_id: U}}")
    mapping = Mapping(own.over(section_of(DEFAULTS)), "p")
    fields: dict[str, str | int | float] = {"U": "ann", "S": "/CN=ann", "H": "h"}
    meta = mapping.record(Job("1", START, STOP, fields, b"", "")).meta
    assert meta is not None
    assert (meta["user"], meta["user_id"], meta["subject"]) == (["all"], ["ann"], ["/CN=ann"])


def test_a_site_is_named_once_for_all_sources():
    """`site_id:` at the top counts more than a plugin's default, and less than a source's rule."""
    own = SourceSection(
        name="o", plugin="p", record_prefix="p", mapping=section_of("{meta: {site: {value: OWN}}}")
    )
    config = Config(sources=[own], site_id="SITE")
    record = mapping_of(own, Defaults, config=config).record(
        Job("1", START, STOP, {"U": "u", "G": "g", "C": 1, "M": 1}, b"", "")
    )
    assert record.meta is not None
    assert (record.meta["site_id"], record.meta["site"]) == (["OWN"], ["OWN"])
    other = SourceSection(name="s", plugin="p", record_prefix="p")
    record = mapping_of(other, Defaults, config=config).record(
        Job("1", START, STOP, {"U": "u", "G": "g", "C": 1, "M": 1}, b"", "")
    )
    assert record.meta is not None
    assert (record.meta["site_id"], record.meta["site"]) == (["SITE"], ["SITE"])


@pytest.mark.parametrize(
    "text",
    [
        "{components: {Cores: {field: C, scores: {S: 12.5}}}}",
        "{components: {Cores: C}, scores: {S: 12.5}}",
        (
            "{components: {Cores: [{field: X, optional: true, only_if: {field: X, matches: x}}, "
            "{field: C}]}, scores: {S: 12.5, T: X}}"
        ),
        "{components: {Cores: {field: C, scores: {S: 12.5}}}, scores: {S: 99}}",
    ],
)
def test_a_score_is_a_number_in_one_line(text: str):
    """Under its component, or for Cores whatever rules that has; its own rule counts more."""
    (cores,) = record_of(text, C=8).components
    assert [(score.name, score.value) for score in cores.scores] == [("S", 12.5)]


def test_scores_without_their_component_are_a_mistake():
    """They would be forgotten without a word."""
    with pytest.raises(ValueError, match="no component Cores"):
        Mapping(section_of("{components: {CPUs: C}, scores: {S: 12.5}}"), "p")


COMMENT = "{'voms': '/atlas', 'headnode': 'ce1', 'n': 3, 'site_id': 'FORGED', 'empty': '', 'd': {}}"


def test_each_entry_of_a_comment_can_be_a_meta_key():
    """Of texts, numbers and lists; a key that has a rule keeps it, whatever a user wrote."""
    rules = "{meta: {site_id: {field: S, optional: true}, 'arc_*': {field: C, item: '*'}}}"
    assert record_of(rules, C=COMMENT).meta == {
        "arc_voms": ["/atlas"],
        "arc_headnode": ["ce1"],
        "arc_n": ["3"],
        "arc_site_id": ["FORGED"],
    }
    rules = rules.replace("arc_*", "*")
    assert "site_id" not in (record_of(rules, C=COMMENT).meta or {})
    assert record_of(rules, C="no JSON").meta is None
    many = "{" + ", ".join(f"'k{number}': 1" for number in range(500)) + "}"
    assert len(record_of(rules, C=many).meta or {}) == 32


def test_a_removed_key_is_not_brought_back_by_each_entry():
    """null keeps a name out of the records, also where the comment has it."""
    rules = section_of("{meta: {subject: null, '*': {field: C, item: '*'}}}")
    section = rules.over(section_of("{meta: {subject: {field: C, item: subject}}}"))
    job = Job("1", START, STOP, {"C": "{'subject': '/CN=ann', 'voms': '/atlas'}"}, b"", "")
    assert Mapping(section, "p").record(job).meta == {"voms": ["/atlas"]}


@pytest.mark.parametrize(
    "rule",
    ["'m*': {field: C}", "m: {field: C, item: '*'}", "'*': [{field: C, item: '*'}, C]", "'*': C"],
)
def test_a_star_goes_with_a_star(rule: str):
    """In the key and in `item`, of each of its rules."""
    with pytest.raises(ValueError, match=r"item: '\*' goes with a meta key that has one"):
        Mapping(section_of(f"{{meta: {{{rule}}}}}"), "p")


TABLE = """\ufeff# owner or subject    VO
atlas*       atlas
atlasprd     atlas-production

/DC=ch/CN=Jane Doe   cms
*/CN=Robot *  007
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("atlasprd", "atlas-production"),
        ("atlas001", "atlas"),
        ("/DC=ch/CN=Jane Doe", "cms"),
        ("/DC=ch/CN=Robot 1", "007"),
        ("somebody", None),
        ("", None),
    ],
)
def test_a_table_beside_the_configuration_says_what_a_text_is(
    tmp_path: Path, text: str, value: str | None
):
    """Exact entries before those with `*`; texts may have blanks; a value stays the text it is."""
    (tmp_path / "vos.txt").write_text(TABLE)
    section = section_of("{meta: {vo: {field: O, table: vos.txt, optional: true}}}")
    job = Job("1", START, STOP, {"O": text}, b"", "")
    meta = Mapping(section, "p", folder=tmp_path).record(job).meta
    assert meta == (None if value is None else {"vo": [value]})


def test_a_score_can_come_from_a_table():
    """By partition, node or machine attribute; given in the file, or in the rule itself."""
    rule = "{components: {Cores: C}, scores: {S: {field: P, table: {batch: 12.5, 'gpu-*': 14}}}}"
    scores = [record_of(rule, C=1, P=name).components[0].scores for name in ("batch", "gpu-1", "x")]
    assert [[one.value for one in each] for each in scores] == [[12.5], [14.0], []]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"alone\n", "line 1: expected a text, a blank, and its value"),
        (b"a 1\nb 2\na 3\n", "line 3: a was given before"),
        (b"\xff 1\n", "is not UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_table_that_cannot_be_used_is_a_mistake(tmp_path: Path, text: bytes | None, words: str):
    """With file, line and what is expected; at start, not at the first job."""
    if text is not None:
        (tmp_path / "t").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        Mapping(section_of("{meta: {m: {field: F, table: t}}}"), "p", folder=tmp_path)


def test_a_filter_leaves_out_what_does_not_match():
    """`only_if` of a source names the field that decided."""
    section = section_of("{meta: {a: A}}")
    reader = Reader("{field: Queue, matches: '^(batch|gpu)$'}")
    assert reader.root is not None
    mapping = Mapping(section, "p", [reader.convert_struct(reader.root, Condition)])
    assert mapping.refuses(Job("1", START, STOP, {"Queue": "test"}, b"", "")) == "only_if Queue"
    assert mapping.refuses(Job("1", START, STOP, {"Queue": "gpu"}, b"", "")) is None


@pytest.mark.parametrize("rule", ["{value: x}", "{field: F, type: text}", "{field: F, default: x}"])
def test_a_text_is_no_amount(rule: str):
    """A component whose rule can only give text is a mistake of the configuration."""
    with pytest.raises(ValueError, match="number"):
        Mapping(section_of(f"{{components: {{c: {rule}}}}}"), "p")


def test_a_number_has_no_pseudonym():
    """Amounts and scores are added up."""
    for rule in (
        "{field: F, pseudonym: true}",
        "{value: 1, scores: {s: {field: F, pseudonym: true}}}",
    ):
        with pytest.raises(ValueError, match="pseudonym goes with meta"):
            Mapping(section_of(f"{{components: {{c: {rule}}}}}"), "p")


EVERY_KIND = """
meta:
  text: {field: F, default: none}
  site: [{value: A, only_if: {field: F, matches: '^a'}}, {value: B}]
  number: {field: F, type: number, optional: true}
  other: {field: G, optional: true}
components:
  Both: {expr: F + G, default: 3, optional: true}
  Amount:
    field: F
    optional: true
    only_if: {field: F, matches: '^[0-9]'}
    scores: {S: {field: F}}
  Item: {field: F, item: a, type: memory, default: 7}
"""
VALUES = st.sampled_from(
    [None, 1, 1.0, True, 0, False, "1", "a", "a=2K", "a=3K,b", "", " ", "x" * 300]
)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=8))
def test_what_a_rule_remembers_is_what_it_would_give_anew(values: list[tuple[Any, Any]]):
    """Whatever jobs came before, a job's record is the same; 1, 1.0 and true stay different."""
    used = Mapping(section_of(EVERY_KIND), "site")
    for pair in values:
        fields = {name: v for name, v in zip("FG", pair, strict=True) if v is not None}
        job = Job("1.0", START, STOP, fields, b"", "")
        anew = Mapping(section_of(EVERY_KIND), "site").record(job)
        assert used.record(job).encode() == anew.encode()


def test_a_rule_remembers_a_bounded_number_of_short_texts():
    """Ten thousand users, and texts of 20 kB, do not stay in memory."""
    mapping = Mapping(section_of("{meta: {m: F}}"), "site")
    tracemalloc.start()
    try:
        for number in range(10_000):
            for text in (f"user{number}", f"{number} " * 3000):
                mapping.record(Job("1.0", START, STOP, {"F": text}, b"", ""))
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
