"""Which modes of this plugin a machine offers, and why another than the chosen one would be better.

Asks `condor_config_val`, if it is there, and looks at files; changes nothing.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from collector.source import Finding, SourceError
from collector.source.command import FailedError, output_of
from collector_htcondor.places import PLACES, elsewhere
from collector_htcondor.section import HTCondorSection
from collector_htcondor.usage import USAGE
from collector_htcondor.witnesses import WITNESSES

_TIMEOUT_S = 10
_BETTER = {
    "history": "it is there on every schedd, and asks no daemon",
    "epochs": "it has every run of a job, so evicted, held and retried ones are accounted too",
    "per_job": "nothing of it is rotated away, so no outage of the collector loses a job",
}
"""Mode → what it has that others have not."""
_OUTRANKED_BY = {
    "history": ("epochs", "per_job"),
    "epochs": (),
    "per_job": ("epochs",),
    "condor_history": ("history", "epochs", "per_job"),
}
"""Mode → those for which one would leave it, if the machine has them."""


_TO_PROTECT = ("GlobalJobId", "RoutedToJobId", "AcctGroup")
"""What a job's owner can edit, and nothing that runs has to write."""
_WRITTEN_BY_SHADOWS = (WITNESSES | USAGE) - {"RequestCpus", "RequestMemory", "MaxHosts"}


def offers(section: HTCondorSection, stop: threading.Event) -> Iterator[Finding]:
    """What the machine offers: a finding for each mode, none of them an error.

    Args:
        section: of the source; its own mode is checked elsewhere.
        stop: ends the waiting for `condor_config_val`.
    """
    command = shutil.which(_config_val(section))
    if command is None:
        name = Path(_config_val(section)).name
        yield Finding.note(f"{name} is not here: HTCondor's paths are not known")
    for mode, place in PLACES.items():
        if command is not None:
            path, unknown = _setting(command, place.knob, place.subsystem, stop)
        else:
            path, unknown = str(getattr(section, place.key)), ""
        text = _offer(mode, section, path, unknown)
        yield Finding(True, text) if mode == section.mode else Finding.note(text)
    found = shutil.which(section.condor_history)
    text = "mode: condor_history can be used" if found else "mode: condor_history cannot be used"
    where = found or f"{section.condor_history} is not here"
    yield Finding.note(f"{text} ({where}); it is for schedds on other machines")
    found = shutil.which(section.condor_q)
    text = "track_running can be used" if found else "track_running cannot be used"
    yield Finding.note(f"{text} ({found or f'{section.condor_q} is not here'})")
    if command is not None and not section.schedd_names:
        protected, _ = _setting(command, "PROTECTED_JOB_ATTRS", "SCHEDD", stop)
        yield from _protection(protected)


def _config_val(section: HTCondorSection) -> str:
    """The command beside the others: `condor_ce_config_val` beside `condor_ce_history`."""
    history = Path(section.condor_history)
    ce = history.name.startswith("condor_ce_")
    return str(history.with_name("condor_ce_config_val" if ce else "condor_config_val"))


def _protection(protected: str | None) -> Iterator[Finding]:
    """Whether owners can edit what says whose job it is."""
    names = {name.strip().lower() for name in (protected or "").replace(",", " ").split()}
    open_to_all = [name for name in _TO_PROTECT if name.lower() not in names]
    if open_to_all:
        yield Finding.note(
            f"a job's owner can edit {', '.join(open_to_all)} (condor_qedit); to forbid it, set "
            f"PROTECTED_JOB_ATTRS = {', '.join(_TO_PROTECT)} in HTCondor's configuration"
        )
    fatal = sorted(name for name in _WRITTEN_BY_SHADOWS if name.lower() in names)
    if fatal:
        yield Finding.warning(
            f"PROTECTED_JOB_ATTRS has {', '.join(fatal)}, which shadows write: no job ends any "
            "more; take them out"
        )


def _offer(mode: str, section: HTCondorSection, path: str | None, unknown: str) -> str:
    shown, place, better = f"mode: {mode}", PLACES[mode], _BETTER[mode]
    ours = str(getattr(section, place.key))
    if mode == section.mode and (path is None or not os.access(path, os.R_OK)):
        found = f"is {unknown}" if path is None else f"of this machine is {path}"
        return f"{shown} is used, for {ours}; {place.knob} {found}"
    if path is None:
        there = elsewhere(Path("/nowhere") / Path(ours).name)
        return f"{shown} cannot be used: {place.knob} is {unknown}{there}; {better}"
    if not os.access(path, os.R_OK):
        why = "is not readable here" if Path(path).exists() else "is not here"
        return f"{shown} cannot be used: {path} {why}; {better}"
    if mode == section.mode:
        if ours == path:
            return f"{shown} is used"
        return f"{shown} is used, for {ours}; {place.knob} of this machine is {path}"
    remote = bool(section.schedd_names)
    if not remote and mode in _OUTRANKED_BY[section.mode]:
        return f"{shown} can be used ({place.key}: {path}), and may be better: {better}"
    return f"{shown} can be used ({place.key}: {path})"


def _setting(
    command: str, knob: str, subsystem: str, stop: threading.Event
) -> tuple[str | None, str]:
    """What HTCondor's configuration says for a daemon, or None and why it says nothing."""
    try:
        arguments = [command, "-subsystem", subsystem, knob]
        output = b"".join(output_of(arguments, _TIMEOUT_S, stop))
    except FailedError as error:
        if not error.said or "not defined" in error.said.lower():
            return None, "not set in HTCondor's configuration"
        return None, f"not known ({error})"
    except SourceError as error:
        return None, f"not known ({error})"
    text = output.decode(errors="replace").strip()
    return (text, "") if text else (None, "not set in HTCondor's configuration")
