"""What `auditor-collector init` writes for an HTCondor access point, or an HTCondor-CE.

Which file is read: the epoch history if the schedd writes it, since every run of a job is in it;
else the history, which every schedd has; else the directory of files for each job.
"""

import os
import re
import socket
from pathlib import Path

from collector.source.proposal import Key, Proposal, ask, quoted

_FILES = (
    ("epochs", "JOB_EPOCH_HISTORY", "epoch_history", "every run of a job, also evicted ones"),
    ("history", "HISTORY", "history", "one entry for each job that left the queue"),
    ("per_job", "PER_JOB_HISTORY_DIR", "per_job_history", "a file for each job"),
)
_SITES = ("GLIDEIN_Site", "GLIDEIN_SITE", "OSG_RESOURCE_NAME", "OSG_RESOURCE")


def propose(kind: str) -> Proposal:
    """The section for this machine.

    Args:
        kind: `htcondor`, or `htcondor-ce`.
    """
    tool = "condor_ce_config_val" if kind == "htcondor-ce" else "condor_config_val"
    version, why = ask([tool, "-version"])
    host = re.sub(r"[^A-Za-z0-9_]+", "-", socket.gethostname().split(".")[0]) or "ap1"
    name = f"{host}-ce" if kind == "htcondor-ce" else host
    if version is None:
        spool = "condor-ce" if kind == "htcondor-ce" else "condor"
        place = f"/var/lib/{spool}/spool/history"
        key = Key("history", place, f"{tool} HISTORY, on the schedd's machine", fill_in=True)
        return Proposal(name, [key], found=False, said=[f"{tool} gave no answer: {why}"])
    keys, also, said = _places(tool)
    site = next((value for knob in _SITES if (value := _setting(tool, knob))), None)
    mapping = f"{{meta: {{site: {{value: {quoted(site or 'MY-SITE')}}}}}}}"
    (keys if site else also).append(
        Key("mapping", mapping, "the site's name, as your Auditor has it", fill_in=site is None)
    )
    return Proposal(name, keys, found=True, said=said, also=also)


def _places(tool: str) -> tuple[list[Key], list[Key], list[str]]:
    """The keys of the best mode, those of the others, and what is in the way."""
    usable: list[list[Key]] = []
    said: list[str] = []
    for mode, knob, key, why in _FILES:
        place = _setting(tool, knob)
        if place is None:
            said.append(f"{knob} is not set, so mode: {mode} cannot be used ({why})")
        elif not os.access(place, os.R_OK):
            state = "cannot be read by this user" if Path(place).exists() else "is not there yet"
            said.append(f"{place} ({knob}) {state}")
            if mode == "history":
                usable.append(_mode(mode, key, place, f"{why}; it {state}"))
        else:
            usable.append(_mode(mode, key, place, why))
    if not usable:
        unknown = Key("history", "/var/lib/condor/spool/history", f"{tool} HISTORY", fill_in=True)
        return [unknown], [], said
    return usable[0], [key for other in usable[1:] for key in other], said


def _mode(mode: str, key: str, place: str, why: str) -> list[Key]:
    return [Key("mode", mode, why), Key(key, quoted(place), "found on this machine")]


def _setting(tool: str, knob: str) -> str | None:
    value, _ = ask([tool, knob])
    return None if not value or value.startswith("Not defined") else value.splitlines()[0]
