"""One damaged entry costs itself: every other job of the input is read, in every mode of files."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.config import mapping_of
from collector.outbox import NewRecord
from collector.pipeline.entries import entries_of
from collector.pipeline.sources import MappedSource
from collector.source import Source, find_plugin
from collector.source.testing import context
from collector_slurm.section import SlurmSection
from collector_slurm.source import SlurmSource
from tests.htcondor.cases import CASES, source_of

HOSTILE = st.one_of(
    st.sampled_from(
        [
            *(b"", b"-1", b"0", b"99999999999999999999", b"1e400", b"nan", b"undefined", b"error"),
            *(b"0001-01-01T00:00:00", b"9999-12-31T23:59:59", b"None", b'"', b"'", b"\\", b"\xff"),
            *(b"A + A", b"(" * 5000, b"[" * 5000, b"{" * 5000, b"9" * 5000, b"a" * 70_000),
            *(b"ifThenElse(a, b, c)", b'"a#1.0#99999999999"', b"\x00", b"\xed\xa0\x80"),
        ]
    ),
    st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b"")),
)
"""What stands in the place of a value: no line breaks, which are the frame of the next entry."""

Make = Callable[[Path], Source]


def htcondor(case: str, key: str) -> Make:
    def make(path: Path) -> Source:
        keys: dict[str, Any] = {key: path}
        return source_of(case, **keys)

    return make


def slurm(path: Path) -> Source:
    section = SlurmSection(
        name="x",
        plugin="slurm",
        record_prefix="x",
        mode="jobcomp",
        jobcomp_path=path,
        time_zone="UTC",
        sacct="/bin/false",
    )
    return SlurmSource(section, context(now=datetime(2026, 12, 1, tzinfo=UTC)))


MODES: dict[str, tuple[Path, Make]] = {
    "history": (CASES / "endings" / "input" / "history", htcondor("endings", "history")),
    "epochs": (CASES / "epochs" / "input" / "epoch_history", htcondor("epochs", "epoch_history")),
    "jobcomp": (CASES.parent / "slurm" / "jobcomp" / "jobcomp.log", slurm),
}


def entries_in(text: bytes, mode: str) -> list[bytes]:
    """The entries of a file, each whole, together the file."""
    if mode == "jobcomp":
        return re.split(rb"(?<=\n)(?=JobId=)", text)
    return re.findall(rb"(?ms).*?^\*\*\* [^\n]*\n", text)


def moved(entry: bytes, by_bytes: int) -> bytes:
    """An entry after a longer one: the banner of a history has places in its file."""
    return re.sub(
        rb"(?m)^(\*\*\* Offset = )(\d+)",
        lambda found: found[1] + b"%d" % (int(found[2]) + by_bytes),
        entry,
    )


def ids(source: Source) -> set[str]:
    """The records of all jobs that are read and mapped."""
    mapping = mapping_of(source.section, find_plugin(source.section.plugin))
    mapped = MappedSource(source, mapping)
    return {
        entry.record_id
        for batch in source.poll(None)
        for entry in entries_of([*batch.jobs, *batch.unreadable], mapped)
        if isinstance(entry, NewRecord)
    }


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_a_damaged_entry_costs_itself(mode: str, tmp_path: Path, data: st.DataObject):
    """Any value of one entry is replaced by anything; the poll ends well and finds the others."""
    original, make = MODES[mode]
    path = tmp_path / original.name
    text = original.read_bytes()
    entries = entries_in(text, mode)[:12]
    path.write_bytes(b"".join(entries))
    number = data.draw(st.integers(0, len(entries) - 1), label="entry")
    before = ids(make(path))
    without = [*entries[:number], *entries[number + 1 :]]
    path.write_bytes(b"".join(without))
    others = ids(make(path))

    damaged = entries[number]
    separator = rb"=[^ \n]*" if mode == "jobcomp" else rb" = [^\n]*"
    places = list(re.finditer(separator, damaged))
    place = data.draw(st.sampled_from(places), label="place")
    sign = b"=" if mode == "jobcomp" else b" = "
    hostile = data.draw(HOSTILE, label="hostile")
    if mode == "epochs" and hostile.count(b'"') % 2:
        hostile += b'"'  # no schedd leaves a text open there; what follows would be part of it
    changed = damaged[: place.start()] + sign + hostile + damaged[place.end() :]
    longer_bytes = len(changed) - len(damaged)
    after = [moved(entry, longer_bytes) for entry in entries[number + 1 :]]
    path.write_bytes(b"".join([*entries[:number], changed, *after]))
    assert before & others <= ids(make(path))
