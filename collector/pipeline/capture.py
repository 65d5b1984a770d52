"""Makes a test case of real jobs, without the names of people and machines.

Words of a job's text are replaced, each by the same word everywhere; numbers, times, the
scheduler's own words and the names of fields stay, as do words that the mapping's rules look for.
What is expected is what the replaced text gives, so the case runs as it is, on any machine.
"""

import json
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
import yaml

from collector.config import SourceSection, parse
from collector.job import Job
from collector.mapping.keys import conditions_of
from collector.outbox import NewRecord
from collector.pipeline.entries import Entry, Read, entries_of
from collector.pipeline.sources import MappedSource, make_sources
from collector.source import Filtered, Unreadable, find_plugin, guarded
from collector.source.guard import text_of

_TOKEN = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)|\w+(?:[.-]\w+)*", re.DOTALL)
"""An escape of JSON, or what people would call a word, a number, an address, a date."""
_IS_ADDRESS = re.compile(r"\d+(?:\.\d+){3}")
_IS_WORD = re.compile(r"[^\W\d_]\w{2,}|.*[^\W\d_]{3}", re.DOTALL)
_IS_NAME = re.compile(r"\s*=(?!=)|\"\s*:")
"""After a word that is the name of a field: `Name = `, `Name=`, `"Name":`."""


def _words(text: str) -> list[str]:
    return text.split()


_KEPT = frozenset(
    _words("""
        true false undefined error unknown none null invalid normal batch extern interactive
        billing cpu mem node gres gpu energy disk vmem pages license fs usage condorversion
        condorplatform x86_64 linux vanilla docker parallel local scheduler ifthenelse
        strcat time int real string regexp member stringlistmember toupper tolower
    """)
)
"""Words of the schedulers, in lower case."""
_NOT_OF_A_CASE = frozenset(
    _words("""
        name plugin record_prefix interval_s since schedd_names pool constraint partitions
        users groups accounts qos clusters states sacct condor_q condor_history
        track_running remove
    """)
)
"""Keys that say what is read and where; a case has its own."""


class Words:
    """Replaces words, each by the same one wherever it is."""

    def __init__(self, kept: Iterable[str]) -> None:
        """Begins a case.

        Args:
            kept: words that stay, in any case of letters, beside the schedulers' own.
        """
        self._kept = _KEPT | {word.lower() for word in kept}
        self._by_word: dict[str, str] = {}

    def replaced(self, text: str) -> str:
        """The text with other words."""
        return _TOKEN.sub(self._other, text)

    def _other(self, match: re.Match[str]) -> str:
        token = match[0]
        is_address = _IS_ADDRESS.fullmatch(token) is not None
        if token[0] == "\\" or not (is_address or _IS_WORD.match(token)):
            return token
        is_name = _IS_NAME.match(match.string, match.end()) is not None
        is_state = token.isupper() and "." not in token  # as OUT_OF_MEMORY
        if token.lower() in self._kept or is_name or is_state:
            return token
        number = len(self._by_word) + 1
        other = f"192.0.2.{number % 256}" if is_address else f"word{number}"
        return self._by_word.setdefault(token, other)


def anonymous(reads: Sequence[Read], mapped: MappedSource) -> list[str]:
    """The texts of jobs with other words.

    Args:
        reads: as the source read them; what has no text is left out.
        mapped: the source, and the mapping of its jobs.
    """
    section = mapped.source.section
    kept = set(mapped.mapping.fields)
    for one in reads:
        if isinstance(one, Job):
            kept |= one.fields.keys()
    for rules in (section.mapping, section.only_if):
        kept |= set(re.findall(r"\w+", repr(rules)))
    words = Words(kept)
    return [
        words.replaced(text_of(one.raw).decode(errors="surrogateescape"))
        for one in reads
        if isinstance(one, Job | Unreadable)
    ]


def write(texts: Sequence[str], section: SourceSection, folder: Path, readme: str) -> None:
    """Writes a case: its jobs, its configuration, and what becomes of each job by these.

    Args:
        texts: of the jobs.
        section: of their source.
        folder: to be made.
        readme: for those who find the folder.

    Raises:
        OSError: when it cannot be written, or is there.
    """
    folder.mkdir(parents=True)
    encoded = [text.encode(errors="surrogateescape") for text in texts]
    for number, text in enumerate(encoded, 1):
        (folder / f"job-{number:03}.txt").write_bytes(text)
    (folder / "input").write_bytes(b"".join(encoded))
    document = yaml.safe_dump({"sources": [section_of(section)]}, sort_keys=False)
    (folder / "config.yaml").write_text(document, encoding="utf-8")
    lines = "".join(f"{json.dumps(one, sort_keys=True)}\n" for one in run(folder))
    (folder / "expected.jsonl").write_text(lines, encoding="utf-8")
    (folder / "README").write_text(readme, encoding="utf-8")


def run(folder: Path) -> list[dict[str, Any]]:
    """What becomes of the jobs of a case, in the form of its `expected.jsonl`."""
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    config = parse(text.replace("{folder}", str(folder)), find_plugin, folder / "config.yaml")
    (mapped,) = make_sources(config, structlog.get_logger(), threading.Event())
    return [
        expected_of(path.read_bytes().decode(errors="surrogateescape"), mapped)
        for path in sorted(folder.glob("job-*.txt"))
    ]


def expected_of(text: str, mapped: MappedSource) -> dict[str, Any]:
    """What becomes of a job's text, as a case has it; the program's version is not in it."""
    read = guarded(mapped.source.parse, text.encode(errors="surrogateescape"), "case:0")
    (entry,) = entries_of([read], mapped)
    return _expected(entry)


def _expected(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, NewRecord):
        record = msgspec.json.decode(entry.body)
        for key in ("collector", "collector_type"):
            record.get("meta", {}).pop(key, None)
        return {"record": record}
    kind = "left_out" if isinstance(entry, Filtered) else "rejected"
    return {kind: entry.reason}


def section_of(section: SourceSection) -> dict[str, Any]:
    """The keys of a case's source: those that decide what becomes of a job's text."""
    keys: dict[str, Any] = {"name": "case", "plugin": section.plugin, "record_prefix": "case"}
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        conditions = conditions_of(type(section), field.name, field.type)
        is_used = all(getattr(section, key) in wanted for key, wanted in conditions.items())
        if isinstance(value, Path):
            if is_used and conditions:  # what its mode reads
                keys[field.encode_name] = "{folder}/input"
        elif is_used and field.name not in _NOT_OF_A_CASE and value != default:
            keys[field.encode_name] = _given(msgspec.to_builtins(value))
    return keys


def _given(value: Any) -> Any:
    """Keys of rules that have a value: the others are defaults."""
    if isinstance(value, dict):
        given = {key: _given(one) for key, one in value.items()}
        empty: tuple[Any, ...] = (None, False, {}, [])
        return {
            key: one
            for key, one in given.items()
            if not any(one is no or (one == no and not isinstance(one, int)) for no in empty)
        }
    return [_given(one) for one in value] if isinstance(value, list) else value
