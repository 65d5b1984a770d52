"""Which modes of this plugin a machine offers, and why another than the chosen one would be better.

Asks `condor_config_val`, if it is there, and looks at files; changes nothing.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from collector.source import Finding, SourceError
from collector.source.command import FailedError, output_of
from collector_htcondor.section import HTCondorSection

_TIMEOUT_S = 10


class _Kind(msgspec.Struct, frozen=True):
    """A mode that reads files."""

    mode: str
    knob: str
    """The name of their place in HTCondor's configuration."""
    key: str
    """The name of their place in ours."""
    better: str
    """What it has that others have not."""


_KINDS = (
    _Kind("history", "HISTORY", "history", "it is there on every schedd, and asks no daemon"),
    _Kind(
        "epochs",
        "JOB_EPOCH_HISTORY",
        "epoch_history",
        "it has every run of a job, so evicted, held and retried ones are accounted too",
    ),
    _Kind(
        "per_job",
        "PER_JOB_HISTORY_DIR",
        "per_job_history",
        "nothing of it is rotated away, so no outage of the collector loses a job",
    ),
)
_OUTRANKED_BY = {
    "history": ("epochs", "per_job"),
    "epochs": (),
    "per_job": ("epochs",),
    "condor_history": ("history", "epochs", "per_job"),
}
"""Mode → those for which one would leave it, if the machine has them."""


def offers(section: HTCondorSection, stop: threading.Event) -> Iterator[Finding]:
    """What the machine offers: a finding for each mode, none of them a fault.

    Args:
        section: of the source; its own mode is checked elsewhere.
        stop: ends the waiting for `condor_config_val`.
    """
    command = shutil.which(str(Path(section.condor_history).with_name("condor_config_val")))
    if command is None:
        yield Finding.note("condor_config_val is not here: HTCondor's paths are not known")
    for kind in _KINDS:
        if command is not None:
            place, unknown = _setting(command, kind.knob, stop)
        else:
            place, unknown = str(getattr(section, kind.key)), ""
        yield _finding(kind, section, place, unknown)
    found = shutil.which(section.condor_history)
    text = "mode: condor_history can be used" if found else "mode: condor_history cannot be used"
    where = found or f"{section.condor_history} is not here"
    yield Finding.note(f"{text} ({where}); it is for schedds on other machines")
    found = shutil.which(section.condor_q)
    text = "track_running can be used" if found else "track_running cannot be used"
    yield Finding.note(f"{text} ({found or f'{section.condor_q} is not here'})")


def _finding(kind: _Kind, section: HTCondorSection, place: str | None, unknown: str) -> Finding:
    text = _told(kind, section, place, unknown)
    return Finding(True, text) if kind.mode == section.mode else Finding.note(text)


def _told(kind: _Kind, section: HTCondorSection, place: str | None, unknown: str) -> str:
    shown = f"mode: {kind.mode}"
    if place is None:
        return f"{shown} cannot be used: {kind.knob} is {unknown}; {kind.better}"
    if not os.access(place, os.R_OK):
        why = "is not readable here" if Path(place).exists() else "is not here"
        return f"{shown} cannot be used: {place} {why}; {kind.better}"
    if kind.mode == section.mode:
        ours = str(getattr(section, kind.key))
        if ours == place:
            return f"{shown} is used"
        return f"{shown} is used, for {ours}; {kind.knob} of this machine is {place}"
    remote = bool(section.schedd_names)
    if not remote and kind.mode in _OUTRANKED_BY[section.mode]:
        return f"{shown} can be used ({kind.key}: {place}), and may be better: {kind.better}"
    return f"{shown} can be used ({kind.key}: {place})"


def _setting(command: str, knob: str, stop: threading.Event) -> tuple[str | None, str]:
    """What HTCondor's configuration says, or None and why it says nothing."""
    try:
        output = b"".join(output_of([command, knob], _TIMEOUT_S, stop))
    except FailedError:
        return None, "not set in HTCondor's configuration"
    except SourceError as error:
        return None, f"not known ({error})"
    return output.decode(errors="replace").strip(), ""
