"""ReqMem means the same on every release: what the whole job asked for."""

from pathlib import Path

import pytest

from collector.source import Value
from collector_slurm.reqmem import with_whole_memory
from tests.slurm.standin import jobs, quiet, row, source, standin, written


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("64Mc", "192M"),
        ("4Gn", "8G"),
        ("1.50Gc", "4.5G"),
        ("0n", "0"),
        ("65000Mn", "130000M"),
        ("192M", "192M"),
        ("?", "?"),
        ("64Mx", "64Mx"),
    ],
)
def test_what_was_asked_for_by_core_or_node_is_multiplied(text: str, whole: str):
    """Up to 20.11 it ends with c or n; a text that is none of this is left to the mapping."""
    fields: dict[str, Value] = {"ReqMem": text, "ReqCPUS": 3, "ReqNodes": 2}
    assert with_whole_memory(fields)["ReqMem"] == whole


def test_without_the_number_it_is_left_alone():
    """The mapping says then what is wrong with it."""
    assert with_whole_memory({"ReqMem": "64Mc"}) == {"ReqMem": "64Mc"}
    assert with_whole_memory({}) == {}


def test_the_numbers_are_asked_for_with_it(tmp_path: Path):
    """A mapping that an import made of another collector's names only ReqMem."""
    rows = [row("1", ReqMem="64Mc", ReqCPUS="3", ReqNodes="1")]
    sacct = standin(tmp_path, written(tmp_path, rows))
    given = source(quiet(fields=frozenset({"ReqMem"})), sacct=sacct, rescan_s=90_000)
    (job,) = jobs(given.poll(None)).values()
    assert job.fields["ReqMem"] == "192M"
