"""The configuration is read strictly, and every mistake in it is reported at once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.config import Config, ConfigError, SourceSection, load, parse
from collector.source import find_plugin

SOURCE = "{name: a, plugin: slurm, record_prefix: p}"
GOOD = f"sources: [{SOURCE}]"


def mistakes_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, find_plugin)
    return [str(mistake) for mistake in caught.value.mistakes]


def source(**keys: str) -> str:
    given = {"name": "a", "plugin": "slurm", "record_prefix": "p"} | keys
    return "sources: [{" + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}]"


def test_three_lines_are_a_configuration():
    """Everything but a source's name, plugin and prefix has a default."""
    config = parse(GOOD, find_plugin)
    assert isinstance(config, Config)
    assert config.sources[0].record_prefix == "p"
    assert config.auditor.url == "http://127.0.0.1:8000"


def test_a_plugin_brings_its_own_keys():
    """The section of a source has the type that its plugin names."""
    section = parse(GOOD, find_plugin).sources[0]
    assert type(section) is find_plugin("slurm").Section
    assert isinstance(section, SourceSection)


def test_every_mistake_is_reported_at_once_with_line_and_path():
    """Unknown keys, wrong types, ambiguous words, unknown plugins: all in one go, in order."""
    text = """
auditor: {urll: x, timeout_s: no}
sender: {batch_records: 0}
log: {level: inof}
sources:
  - {name: a, plugin: slurm, record_prefix: 0123, since: 2026-01-01T00:00:00}
  - {name: b, plugin: slrum, record_prefix: p}
  - {name: c, plugin: slurm, record_prefix: p, mapping: {components: {C: {exprs: a}}}}
"""
    found = mistakes_of(text)
    expected = [
        ("line 2: auditor.timeout_s: ", "no means different things", "'no'"),
        ("line 2: auditor.urll: ", "unknown key", 'did you mean "url"?'),
        ("line 3: sender.batch_records: ", "whole number", ">= 1"),
        ("line 4: log.level: ", "debug, info, warning, error", "inof"),
        ("line 6: sources[0].record_prefix: ", "0123", "'0123'"),
        ("line 6: sources[0].since: ", "time zone", "2026-01-31T12:00:00+01:00"),
        ("line 7: sources[1].plugin: ", "slrum", "installed are: htcondor, slurm"),
        ("line 8: sources[2].mapping.components.C.exprs: ", "unknown key", '"expr"'),
    ]
    assert len(found) == len(expected), found
    for text, parts in zip(found, expected, strict=True):
        assert text.startswith(parts[0]), text
        assert all(part in text for part in parts[1:]), text


@pytest.mark.parametrize("word", ["NO", "yes", "on", "0123", "12:30", "1_000", "0x1F", "y", ".inf"])
def test_a_word_that_yaml_may_take_for_something_else_is_refused(word: str):
    """In quotes it is text."""
    assert f"write '{word}'" in mistakes_of(source(record_prefix=word))[0]
    assert parse(source(record_prefix=f"'{word}'"), find_plugin).sources[0].record_prefix == word


def test_a_key_that_is_given_twice_is_refused():
    """Neither of two values wins silently."""
    assert "given before, in line 2" in mistakes_of(f"{GOOD}\nlog: {{level: info}}\nlog: {{}}")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a: [", "not YAML"),
        ("[]", "expected keys and values"),
        ("sources: []", "at least one"),
        ("log: {}", "sources: missing"),
        (f"sources: [{SOURCE}, {SOURCE}]", "sources[0] has the same"),
        ("sources: [{name: a, record_prefix: p, plugin: [x]}]", "plugin"),
        (source(record_prefix="' '"), "blank"),
        (source(since="2026-02-30"), "2026-02-30"),
        (source(interval_s="0"), "> 0"),
        (source(interval_s="'5'"), "a number"),
        (source(mapping="{meta: {a: {field: x, value: y1}}}"), "exactly one of"),
        (source(mapping="{meta: {a: {field: x, matches: '('}}}"), "regular expression"),
        (source(mapping="{components: {a: {expr: 'b ** 2'}}}"), "not allowed"),
        (source(mapping="{components: {a: {value: b}}}"), "component a: expected a number"),
        (source(mapping="{meta: {' ': x}}"), "blank"),
        (source(mapping="{meta: {a: {value: x, pseudonym: true}}}"), "pseudonym does not go with"),
        (source(mapping="{meta: {a: {value: x, default: 0}}}"), "default does not go with"),
        (f"{GOOD}\nauditor: {{url: 'ftp://x'}}", "http://127.0.0.1:8000"),
        (f"{GOOD}\nauditor: {{url: 'http://me:secret@x'}}", "no user name or password"),
        (f"{GOOD}\nauditor: {{tls: {{key: /k}}}}", "certificate and key"),
        (f"{GOOD}\noutbox: {{path: [a]}}", "outbox.path"),
        (f"{GOOD}\n? [a]\n: b", "a text as key"),
    ],
)
def test_a_mistake_says_what_is_expected(text: str, words: str):
    """One mistake, one message, with the words that help."""
    found = mistakes_of(text)
    assert any(words in one for one in found), found


def test_a_password_in_the_address_is_not_repeated():
    """A secret that was put into the wrong place does not reach the log."""
    assert "secret" not in "".join(mistakes_of(f"{GOOD}\nauditor: {{url: 'http://me:secret@x'}}"))


def test_a_date_is_its_midnight_in_utc():
    """Times of any zone are kept in UTC."""
    midnight = datetime(2026, 1, 31, tzinfo=UTC)
    for text in ("2026-01-31", "'2026-01-31'", "2026-01-31T01:00:00+01:00", "2026-01-31T00:00:00Z"):
        assert parse(source(since=text), find_plugin).sources[0].since == midnight


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path: Path):
    """Missing, or not UTF-8: the path stands in the message."""
    for path in (tmp_path / "none.yaml", tmp_path / "latin1.yaml"):
        if path.name == "latin1.yaml":
            path.write_bytes(b"caf\xe9: 1")
        with pytest.raises(ConfigError, match=path.name):
            load(path, find_plugin)
