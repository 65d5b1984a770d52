"""Ads of real schedds and shadows, one a file, without the attributes that nobody looks at."""

from pathlib import Path

from collector.source import Job, Unreadable
from collector_htcondor.epochs import EpochReader
from collector_htcondor.identity import Identifiers
from collector_htcondor.jobs import JobReader
from collector_htcondor.universes import NAMES

FOLDER = Path(__file__).parents[1] / "testcases" / "htcondor"
READ_S = 1796000000
"""When they are read, in epoch seconds."""
ANOTHER = b'\nOwner = "labalice"\nGlobalJobId = "ap1.lab.example#1.0#1795459561"\n'


def text(folder: str, name: str) -> bytes:
    """An ad with its banner, each line after a newline."""
    return b"\n" + (FOLDER / folder / f"{name}.ad").read_bytes().rstrip(b"\n")


def job(raw: bytes, **keys: object) -> Job | Unreadable | str:
    """What is made of an ad, of any universe, on a schedd whose name is known."""
    made = EpochReader if b"\n*** EPOCH " in raw else JobReader
    given = {"universes": list(NAMES.values()), "identifiers": Identifiers(lambda: [ANOTHER])}
    reader = made(None, **{**given, **keys})  # type: ignore[arg-type]
    reader.now_s = READ_S
    return reader.job(raw, "here")


def with_attributes(raw: bytes, **attributes: str | int | None) -> bytes:
    """An ad as its owner may have edited it; None takes an attribute out."""
    lines, _, banner = raw.rpartition(b"\n*** ")
    kept = [
        line
        for line in lines.split(b"\n")
        if line.partition(b" = ")[0].decode(errors="replace") not in attributes
    ]
    new = [f"{name} = {value}".encode() for name, value in attributes.items() if value is not None]
    return b"\n".join([*kept, *new]) + b"\n*** " + banner


def lasted(found: Job | Unreadable | str) -> int:
    """How long a run lasted, in seconds."""
    assert isinstance(found, Job), found
    assert found.stop_at is not None
    return int((found.stop_at - found.start_at).total_seconds())
