"""A pseudonym is the same wherever the key is, and says nothing to those without it."""

import os
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from collector.config import ConfigError, parse, pseudonyms
from collector.job import Job
from collector.mapping import Mapping, UnmappableError
from collector.mapping.rules import MappingSection, Rule
from collector.pipeline.sources import make_sources
from collector.record import decode
from collector.source import find_plugin

AT = datetime(2026, 1, 1, tzinfo=UTC)
RULE = MappingSection(meta={"user": Rule(field="Owner", pseudonym=True)})
KEY = "k" * 32
ANY_TEXT = st.text(st.characters(), min_size=1)
CONFIG = """
sources:
  - {name: a, plugin: slurm, record_prefix: p, mapping: {meta: {user_id: User}}}
  - name: b
    plugin: slurm
    record_prefix: p
    mapping:
      meta: {x: [{field: A, optional: true}, {field: B, pseudonym: true}], y: C}
  - name: c
    plugin: htcondor
    record_prefix: q
    mapping: {meta: {user: {field: Owner, pseudonym: true}}}
"""


def users_of(mapping: Mapping, text: str) -> list[str]:
    record = mapping.record(Job("1", AT, AT, {"Owner": text}, b"", ""))
    assert decode(record.encode()) == record
    assert record.meta is not None
    return record.meta["user"]


@pytest.mark.parametrize(
    ("key", "text", "mac"),
    [
        (b"\x0b" * 20, "Hi There", "b0344c61d8db38535ca8"),
        (b"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a04"),
        (
            b"\xaa" * 131,
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a",
        ),
    ],
)
def test_it_is_the_hmac_of_the_standard(key: bytes, text: str, mac: str):
    """RFC 4231, test cases 1, 2 and 6: so it can be made again with any other program."""
    assert pseudonyms.keyed(key)(text) == mac


@given(ANY_TEXT)
def test_any_text_has_one_that_every_auditor_stores(text: str):
    """Twenty digits, the same each time and for each source, whatever the text is."""
    one, other = (Mapping(RULE, name, pseudonym=pseudonyms.keyed(b"k" * 32)) for name in "ab")
    (found,) = users_of(one, text)
    assert users_of(other, text) == users_of(one, text) == [found]
    assert len(found) == pseudonyms.DIGITS
    assert set(found) <= set("0123456789abcdef")


@given(st.text(st.characters(), min_size=8))
def test_the_text_does_not_stand_in_it(text: str):
    """Not even its first characters; shorter ones may be there by chance."""
    assert text[:8] not in pseudonyms.keyed(b"k" * 32)(text)


@given(ANY_TEXT, ANY_TEXT)
def test_others_are_others(text: str, another: str):
    """Of another text, and of the same text under another key."""
    ours, theirs = pseudonyms.keyed(b"k" * 32), pseudonyms.keyed(b"k" * 31 + b"l")
    assert (ours(text) == ours(another)) == (text == another)
    assert ours(text) != theirs(text)


def test_long_texts_that_begin_alike_are_not_mixed_up():
    """It is made of the whole text, not of what the Auditor would store."""
    mapping = Mapping(RULE, "p", pseudonym=pseudonyms.keyed(b"k" * 32))
    assert users_of(mapping, "a" * 300) != users_of(mapping, "a" * 300 + "b")


def test_without_a_key_no_record_is_made():
    """Rather none than one with a name."""
    with pytest.raises(UnmappableError, match="no key"):
        users_of(Mapping(RULE, "p"), "alice")


# ------------------------------------------------------------------ the key


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


def mistakes_of(text: str) -> list[str]:
    config = parse(text, find_plugin)
    with pytest.raises(ConfigError) as caught:
        make_sources(config, structlog.get_logger(), threading.Event())
    return [str(mistake) for mistake in caught.value.mistakes]


def pseudonym_of(text: str, config: str) -> str:
    pseudonym = pseudonyms.of_site(parse(config, find_plugin))
    assert pseudonym is not None
    return pseudonym(text)


def test_a_missing_key_is_one_mistake(monkeypatch: pytest.MonkeyPatch):
    """At the first rule that asks for it, with its line, the other rules, and how to make a key."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (found,) = mistakes_of(CONFIG)
    line = next(i for i, text in enumerate(CONFIG.splitlines(), 1) if "pseudonym: true" in text)
    assert found.startswith(f"line {line}: sources[1].mapping.meta.x: ")
    assert "nor for sources[2].mapping.meta.user" in found
    assert "head -c 32 /dev/urandom" in found
    assert "pseudonym_key" in found


def test_the_command_that_makes_a_key_makes_one_that_is_accepted(tmp_path: Path):
    """As the message has it, run by a shell; the group may read it, as the service has to."""
    made = tmp_path / "pseudonym-key"
    how = mistakes_of(f"{CONFIG}pseudonym_key: {tmp_path}/none\n")[0]
    command = how.split("as root: ")[1].split("; and name it")[0]
    command = command.replace("/etc/auditor-collector/pseudonym-key", str(made))
    command = command.replace("-g auditor-collector", f"-g {os.getgid()}")
    subprocess.run(["sh", "-ec", command], check=True)
    assert made.stat().st_mode & 0o777 == 0o640
    if made.stat().st_uid != 0:  # nobody but root may share a key with a group
        made.chmod(0o600)
    assert pseudonym_of("a", f"{CONFIG}pseudonym_key: {made}\n")


def test_the_key_is_what_stands_in_its_file(key: Path):
    """Without the line end that editors put there, or not."""
    config = f"{CONFIG}pseudonym_key: {key}\n"
    expected = pseudonyms.keyed(KEY.encode())("alice")
    assert pseudonym_of("alice", config) == expected
    key.write_text(f"  {KEY}")
    assert pseudonym_of("alice", config) == expected
    make_sources(parse(config, find_plugin), structlog.get_logger(), threading.Event())


def test_the_key_of_systemd_is_found_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`$CREDENTIALS_DIRECTORY/pseudonym-key`; a file that the configuration names comes first."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert pseudonyms.of_site(parse(CONFIG, find_plugin)) is None
    for name in ("pseudonym-key", "other"):
        (tmp_path / name).write_text(name * 4)
        (tmp_path / name).chmod(0o400)
    assert pseudonym_of("a", CONFIG) == pseudonyms.keyed(b"pseudonym-key" * 4)("a")
    (tmp_path / "other").chmod(0o600)
    (tmp_path / "other").write_text(KEY)
    config = f"{CONFIG}pseudonym_key: {tmp_path}/other\n"
    assert pseudonym_of("a", config) == pseudonyms.keyed(KEY.encode())("a")


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "cannot be read: No such file"),
        ("k" * 31 + "\n", 0o600, "has 31 bytes; expected 32 or more"),
        ("", 0o600, "has 0 bytes"),
        (KEY, 0o644, "mode is 0644"),
        (KEY, 0o660, "chmod"),
    ],
)
def test_a_key_that_is_none_is_told(key: Path, content: str | None, mode: int, words: str):
    """Missing, too short, readable by others: which file, why, and how to make one."""
    if content is None:
        key.unlink()
    else:
        key.write_text(content)
        key.chmod(mode)
    (told,) = mistakes_of(f"{CONFIG}pseudonym_key: {key}\n")
    assert f": pseudonym_key: {key}: " in told
    assert words in told
    assert "head -c 32 /dev/urandom | base64" in told
    assert KEY not in told


def test_a_folder_is_no_key(key: Path):
    """As when somebody names the folder of credentials."""
    key.unlink()
    key.mkdir(mode=0o700)
    key.chmod(0o600)
    assert "Is a directory" in mistakes_of(f"{CONFIG}pseudonym_key: {key}\n")[0]
