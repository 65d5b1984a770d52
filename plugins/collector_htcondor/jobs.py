"""Makes jobs of ads: which ran, from when to when, and what in an ad can be believed.

A user can write most attributes of his own ad (`+CompletionDate = 5` in the submit file). The
schedd alone writes `GlobalJobId` (with the time at which the job was made), `JobStatus`,
`LastJobStatus` and `EnteredCurrentStatus`; whatever starts a run overwrites
`JobCurrentStartDate`, `LastRemoteWallClockTime`, `CpusProvisioned` and the CPU times. So:

- Did it run? A job that completed did. One that was removed did if it was running or completed
  just before, or if the schedd counted a start of it (`JobRunCount`, `NumShadowStarts`) at a time
  that lies in its life.
- Start of the last run: `JobCurrentStartDate`.
- End of the last run: for a completed job the time at which it became so; for one removed while it
  ran, the removal; for one removed later, `LastRemoteWallClockTime` after the start (and
  `CompletionDate`, if it had completed); never `CompletionDate` alone.
- The job that a job router made of another is the one that ran: the other is filtered, if nothing
  here was ever matched to it.

Source of the attributes' meaning: what a schedd of HTCondor 25.14 was seen to write, see
`docs/htcondor.md`.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from collector.source import Job, Unreadable, Value
from collector_htcondor.classad import AttributeReader, Texts

Runs = Literal["last", "named", "total"]
Suspicious = Literal["flag", "reject"]

NEVER_STARTED = "never started"
ROUTED = "ran as a routed job"

RUN_FIELDS = frozenset({"RunUserCpu", "RunSysCpu", "RunWallClockTime", "ScheddName", "Suspicious"})
"""Fields that this plugin adds to those of the ad; an ad's own of these names are not read."""

_NEEDED = frozenset(
    {
        *("GlobalJobId", "JobStatus", "LastJobStatus", "EnteredCurrentStatus", "JobUniverse"),
        *("JobStartDate", "JobCurrentStartDate", "CompletionDate", "JobRunCount"),
        *("RemoteWallClockTime", "LastRemoteWallClockTime", "NumShadowStarts", "LastMatchTime"),
        *("RoutedToJobId", "EpochWriteDate", "CpusProvisioned", "RemoteUserCpu", "RemoteSysCpu"),
    }
)
_CUMULATIVE = frozenset({"CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu"})
IDENTITY = re.compile(rb'"(.+#\d+\.\d+#(\d{1,11}))"\Z')
"""The text of a GlobalJobId: what is in its quotes, and the time at which the job was made."""
_COMPLETED, _REMOVED = b"4", b"3"
_ON_A_SLOT = frozenset((b"2", b"6", b"7"))
"""Running, transferring output, suspended."""
WITHOUT_SLOT = frozenset((b"7", b"12"))
"""Scheduler and local universe: they run on the access point itself."""
_PARALLEL = b"11"
_OF_ONE_NODE = ("CpusProvisioned", "MemoryProvisioned")
"""Of a parallel job: its schedd writes none, its shadow those of the first node, its user any."""
_UNSET = frozenset((b"0", b"-1", b"undefined"))
_INSTANT_DIGITS = 11
CLOCK_STEP_S = 3600
"""How far the clock of an access point may have been set back during a job."""
_CPU_FACTOR, _CPU_SLACK_S = 20, 3600
"""CPU time beyond 20 times cores × wall-clock plus an hour is not what ran: without cgroups a
job can use more cores than it was given, but not that."""


class JobReader:
    """Turns the text of an ad into a Job, or into the reason why it is none."""

    def __init__(
        self,
        fields: Iterable[str] | None,
        runs: Runs = "last",
        suspicious: Suspicious = "flag",
    ) -> None:
        """Prepares.

        Args:
            fields: the fields that are wanted; None for all.
            runs: whether a job stands for its last run, or for all its runs together.
            suspicious: whether a job with impossible values is recorded with the field
                `Suspicious` that names them, or unreadable.
        """
        self._total = runs == "total"
        self._rejects = suspicious == "reject"
        needed = _NEEDED | _CUMULATIVE if self._total else _NEEDED
        wanted = set(() if fields is None else fields) - RUN_FIELDS
        self._wanted = (
            None if fields is None else [(name, name.encode()) for name in sorted(wanted)]
        )
        self._reader = AttributeReader(needed | wanted, everything=fields is None)
        add = RUN_FIELDS if fields is None else RUN_FIELDS.intersection(fields)
        self._add_runtime = "RunWallClockTime" in add
        self._add_schedd = "ScheddName" in add
        self._add_cpu = [
            (name, b"Remote" + name[3:].encode()) for name in sorted(add) if name.endswith("Cpu")
        ]

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad.

        Args:
            raw: the ad; each of its lines after a newline.
            where: where it stands.

        Returns:
            The job; or what is wrong with the ad; or why it is not accounted.
        """
        texts = self._reader.texts(raw)
        get = texts.get
        identity = IDENTITY.match(get(b"GlobalJobId", b""))
        status = get(b"JobStatus")
        if identity is None:
            return unreadable(raw, where, texts, b"GlobalJobId", '"<schedd>#<job>#<time>"')
        if status != _COMPLETED and status != _REMOVED:  # noqa: PLR1714 - the hot path
            return unreadable(raw, where, texts, b"JobStatus", "3 (removed) or 4 (completed)")
        made, entered = int(identity[2]), instant(get(b"EnteredCurrentStatus"))
        earliest = made - CLOCK_STEP_S
        if not 0 < earliest <= entered:
            expected = f"a time after {made}, when the job was made"
            return unreadable(raw, where, texts, b"EnteredCurrentStatus", expected)
        universe = get(b"JobUniverse")
        if b"RoutedToJobId" in texts and universe == b"5" and b"LastMatchTime" not in texts:
            return ROUTED

        start = instant(get(b"JobCurrentStartDate"))
        in_life = earliest <= start <= entered + CLOCK_STEP_S
        stop = entered
        if status == _REMOVED and (before := get(b"LastJobStatus")) not in _ON_A_SLOT:
            if before != _COMPLETED and not (
                in_life and (instant(get(b"JobRunCount")) or instant(get(b"NumShadowStarts")))
            ):
                return NEVER_STARTED
            last_s = _number(get(b"LastRemoteWallClockTime", get(b"RemoteWallClockTime"))) or 0
            stop = round(min(entered, start + last_s))
            completed = instant(get(b"CompletionDate"))
            if before == _COMPLETED and stop < completed <= entered:
                stop = completed
        if not in_life:
            expected = f"a time between {made} and {entered}, the job's life, since it ran"
            return unreadable(raw, where, texts, b"JobCurrentStartDate", expected)
        stop = max(start, stop)

        wrong = impossible(texts, start, stop, made, entered)
        if wrong and self._rejects:
            return Unreadable(raw, where, f"impossible values, which a user can set: {wrong}")
        if self._total:
            first = instant(get(b"JobStartDate"))
            if not earliest <= first <= start:
                first = start if get(b"JobRunCount") == b"1" else made
            all_s = _number(get(b"RemoteWallClockTime")) or 0
            start = round(min(start, max(first, stop - all_s)))
        return Job(
            id=identity[1].decode(errors="replace"),
            start_at=datetime.fromtimestamp(start, UTC),
            stop_at=datetime.fromtimestamp(stop, UTC),
            fields=self._fields(texts, raw, stop - start, wrong),
            raw=raw,
            where=where,
            suspicious=bool(wrong),
        )

    def _fields(self, texts: Texts, raw: bytes, runtime_s: int, wrong: str) -> dict[str, Value]:
        wanted = self._wanted
        if wanted is None:
            wanted = [
                (name, key)
                for key in texts
                if (name := key.decode(errors="replace")) not in RUN_FIELDS
            ]
        fields = self._reader.values(texts, raw, wanted)
        for name, last in self._add_cpu:
            text = texts.get(b"Cumulative" + last) if self._total else None
            found = _number(text if text is not None else texts.get(last))
            if found is not None:
                fields[name] = found
        if self._add_runtime:
            fields["RunWallClockTime"] = runtime_s
        if self._add_schedd:
            schedd = texts[b"GlobalJobId"][1:].rsplit(b"#", 2)[0]
            fields["ScheddName"] = schedd.decode(errors="replace")
        if wrong:
            fields["Suspicious"] = wrong
            if "CpusProvisioned" in wrong:
                fields.pop("CpusProvisioned", None)
        if texts.get(b"JobUniverse") == _PARALLEL:
            for name in _OF_ONE_NODE:
                fields.pop(name, None)
        return fields


def impossible(texts: Texts, start: int, stop: int, made: int, entered: int) -> str:
    """The attributes whose values cannot be what the schedd or a run wrote."""
    get = texts.get
    wrong = []
    earliest, latest = made - CLOCK_STEP_S, entered + CLOCK_STEP_S
    for name, usual in (
        (b"CompletionDate", b"EnteredCurrentStatus"),
        (b"JobStartDate", b"JobCurrentStartDate"),
    ):
        text = get(name)
        if text is None or text == get(usual) or text in _UNSET:
            continue
        if not earliest <= instant(text) <= latest:
            wrong.append(name.decode())
    if (_number(get(b"RemoteWallClockTime")) or 0) > latest - made:
        wrong.append("RemoteWallClockTime")
    cores = get(b"CpusProvisioned")
    if cores is not None and get(b"JobUniverse") in WITHOUT_SLOT:
        wrong.append("CpusProvisioned")
    for name in (b"RemoteUserCpu", b"RemoteSysCpu"):
        text = get(name)
        if text is not None and text != b"0.0":
            limit_s = _CPU_FACTOR * max(instant(cores), 1) * (stop - start) + _CPU_SLACK_S
            if (_number(text) or 0) > limit_s:
                wrong.append(name.decode())
    return ", ".join(wrong)


def unreadable(raw: bytes, where: str, texts: Texts, name: bytes, expected: str) -> Unreadable:
    text = texts.get(name)
    shown = "is missing" if text is None else f"is {text[:60].decode(errors='replace')}"
    return Unreadable(raw, where, f"{name.decode()} {shown}; expected {expected}")


def instant(text: bytes | None) -> int:
    """An instant in epoch seconds, or a count; 0 for what is none."""
    if text is not None and text.isdigit() and len(text) <= _INSTANT_DIGITS:
        return int(text)
    return 0


def _number(text: bytes | None) -> float | None:
    """A finite number that is not negative; None for what is none."""
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 <= found < math.inf else None
