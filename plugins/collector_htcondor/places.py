"""Where a system keeps what the modes read: HTCondor's knobs, and the folders of its packages."""

import os
from pathlib import Path

import msgspec


class Place(msgspec.Struct, frozen=True):
    """What a mode reads."""

    knob: str
    """The name of its path in HTCondor's configuration."""
    subsystem: str
    """The daemon that writes it, and may have a knob of its own, as SCHEDD.HISTORY."""
    key: str
    """The name of its path in ours."""
    limits: str = ""
    """The knobs that say how much of it is kept."""


PLACES = {
    "history": Place("HISTORY", "SCHEDD", "history", "MAX_HISTORY_LOG and MAX_HISTORY_ROTATIONS"),
    "epochs": Place(
        "JOB_EPOCH_HISTORY",
        "SHADOW",
        "epoch_history",
        "MAX_EPOCH_HISTORY_LOG and MAX_EPOCH_HISTORY_ROTATIONS",
    ),
    "per_job": Place("PER_JOB_HISTORY_DIR", "SCHEDD", "per_job_history"),
}
"""Mode → what it reads."""

_SPOOLS = (
    *("/var/lib/condor/spool", "/var/spool/condor"),  # of HTCondor's packages; of Debian's
    "/var/lib/condor-ce/spool",
)


def elsewhere(path: Path) -> str:
    """Says where this system has what is not at `path`; empty if nowhere that is known."""
    found = [
        other
        for spool in _SPOOLS
        if (other := Path(spool) / path.name) != path and os.path.exists(other)  # noqa: PTH110
    ]
    return f"; this system has {' and '.join(map(str, found))}" if found else ""


def missing(path: Path, mode: str) -> str:
    """Says that a mode's path is missing, where this system has it, and how to find it."""
    place = PLACES[mode]
    return (
        f"{path}: is missing{elsewhere(path)}; expected what `condor_config_val -subsystem "
        f"{place.subsystem} {place.knob}` says on the machine of the schedd (key {place.key})"
    )
