"""What a run had and used: cores, memory, CPU time, as far as an ad can be believed.

A reader of records needs cores and CPU time, so neither is left out for what a job's owner wrote:
impossible CPU time is 0, and cores and memory are those of the best other witness. What was not
believed is named.
"""

import re
from typing import NamedTuple

from collector_htcondor.texts import Texts, instant, number
from collector_htcondor.witnesses import CLOCK_STEP_S, WITHOUT_SLOT

USAGE = frozenset(
    {
        *("CpusProvisioned", "MemoryProvisioned", "MachineAttrCpus0", "RequestCpus"),
        *("RequestMemory", "MaxHosts", "RemoteUserCpu", "RemoteSysCpu", "JobRunCount"),
        *("CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu"),
        *("CompletionDate", "JobStartDate", "RemoteWallClockTime"),
    }
)
"""The attributes that are looked at."""

PARALLEL = b"11"
_DATES = (
    (b"CompletionDate", b"EnteredCurrentStatus"),
    (b"JobStartDate", b"JobCurrentStartDate"),
)
_CPU = (
    (b"RemoteUserCpu", b"CumulativeRemoteUserCpu"),
    (b"RemoteSysCpu", b"CumulativeRemoteSysCpu"),
)
_UNSET = frozenset((b"0", b"-1", b"undefined"))
_CPU_FACTOR, _CPU_SLACK_S = 20, 3600
"""CPU time beyond 20 times cores × wall-clock plus an hour is not what ran: without cgroups a
job can use more cores than it was given, but not that."""
_CPU_AGREE_S = 1
_PROVISIONED = (b"CpusProvisioned", b"MemoryProvisioned")
_NONE = frozenset((None, b"0"))
_INTEGER = re.compile(rb"-?\d{1,18}\Z").match


class Doubts(NamedTuple):
    """What of an ad's usage is not believed."""

    names: list[str]
    instead: dict[bytes, int | float | None]
    """Attribute → the value that counts; None: it has none."""


NO_DOUBTS = Doubts([], {})


def doubts(texts: Texts, start: int, stop: int, made: int, latest: int) -> Doubts:
    """Finds attributes whose values cannot be what the schedd or a run wrote.

    Args:
        texts: of the ad, with those of `USAGE`.
        start: of the run or runs that the record is for, in epoch seconds.
        stop: of them.
        made: when the job was made.
        latest: when its ad was written.
    """
    get = texts.get
    names: list[str] = []
    instead: dict[bytes, int | float | None] = {}
    for name, usual in _DATES:
        text = get(name)
        if text is None or text == get(usual) or text in _UNSET:
            continue
        if not made - CLOCK_STEP_S <= instant(text) <= latest + CLOCK_STEP_S:
            names.append(name.decode())
    if (number(get(b"RemoteWallClockTime")) or 0) > latest + CLOCK_STEP_S - made:
        names.append("RemoteWallClockTime")
    cores = get(b"CpusProvisioned")
    if cores is None or cores != get(b"MachineAttrCpus0") or get(b"MemoryProvisioned") in _NONE:
        instead = provided(texts)
        cores = b"%d" % (instead.get(b"CpusProvisioned") or instant(cores))
    for name, of_all in _CPU:
        text = get(name)
        if text is None or text == b"0.0" == get(of_all):
            continue
        used_s = number(text)
        limit_s = _CPU_FACTOR * max(instant(cores), 1) * (stop - start) + _CPU_SLACK_S
        if used_s is None or used_s > limit_s:
            instead[name] = 0
        elif get(b"JobRunCount") == b"1":
            all_s = number(get(of_all)) or 0
            if used_s + _CPU_AGREE_S < all_s <= limit_s:  # nobody else than its owner lowered it
                instead[name] = all_s
    if not names and not instead:
        return NO_DOUBTS
    return Doubts(names + named(instead), instead)


def named(instead: dict[bytes, int | float | None]) -> list[str]:
    """The names of attributes that are not believed; one for what no slot can have provisioned."""
    never = [name for name, value in instead.items() if value is None]
    return [name.decode() for name in instead if name not in never[1:]]


def provided(texts: Texts) -> dict[bytes, int | float | None]:
    """What is said to be provided or asked for, but cannot be → what counts instead."""
    get = texts.get
    instead: dict[bytes, int | float | None] = {}
    universe = get(b"JobUniverse")
    if universe in WITHOUT_SLOT:
        instead |= {name: None for name in _PROVISIONED if name in texts}
    elif universe != PARALLEL:  # there they are those of its first node, in an epoch ad
        cores, memory = get(b"CpusProvisioned"), get(b"MemoryProvisioned")
        if cores is not None and (voted := _vote(texts)) != instant(cores):
            instead[b"CpusProvisioned"] = voted
        if memory is not None and not (number(memory) or 0) > 0:
            instead[b"MemoryProvisioned"] = number(get(b"RequestMemory")) or None
    if b"CpusProvisioned" not in texts or universe in WITHOUT_SLOT or universe == PARALLEL:
        for name in (b"RequestCpus", b"MaxHosts"):
            value = get(name)
            if value is not None and _INTEGER(value) and int(value[:20]) <= 0:
                of_machine = instant(get(b"MachineAttrCpus0")) if name == b"RequestCpus" else 0
                instead[name] = max(of_machine, 1)
    return instead


def _vote(texts: Texts) -> int:
    """The cores of a slot: what two of slot, machine and request say; else the most of them."""
    slot, machine = instant(texts.get(b"CpusProvisioned")), instant(texts.get(b"MachineAttrCpus0"))
    asked = instant(texts.get(b"RequestCpus"))
    if slot and machine in (0, slot):
        return slot
    if not slot:
        return machine or asked or 1
    return asked if asked in (slot, machine) else max(slot, machine)
