"""Makes jobs of ads: who ran, from when to when, and what in an ad can be believed.

A job's owner can write most attributes of his own ad: in the submit file (`+CompletionDate = 5`),
with `condor_qedit` while the job is in the queue, and with `condor_chirp` from inside of it. What
is believed is decided in one module each:

- `identity.py`: whose job it is, so that nobody takes the id of another's;
- `proof.py`: whether it ran, by its contact with a machine;
- `run_end.py`: when its last run began and ended, by a table of witnesses;
- `usage.py`: cores, memory and CPU time.

What they do not believe is named in the field `Suspicious`. The job that a job router made of
another is the one that ran: the other is filtered.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from collector.source import Job, Unreadable, Value
from collector_htcondor.classad import AttributeReader
from collector_htcondor.identity import Identifiers, Identity
from collector_htcondor.proof import on_a_slot, ran, uncounted
from collector_htcondor.run_end import Run, last_run
from collector_htcondor.texts import Texts, instant, number, unreadable
from collector_htcondor.universes import TRANSFER_SHADOW, WITH_SLOT, Universes, filter_reason
from collector_htcondor.usage import NO_DOUBTS, PARALLEL, USAGE, Doubts, doubts
from collector_htcondor.usual import USUAL, Usual, usual_run
from collector_htcondor.witnesses import (
    AGREE_S,
    CLOCK_STEP_S,
    COMPLETED,
    REMOVED,
    WITHOUT_SLOT,
    WITNESSES,
)

Runs = Literal["last", "named", "total"]
Suspicious = Literal["flag", "reject"]

NEVER_STARTED = "never started"
ROUTED = "ran as a routed job"

RUN_FIELDS = frozenset({"RunUserCpu", "RunSysCpu", "RunWallClockTime", "ScheddName", "Suspicious"})
"""Fields that this plugin adds to those of the ad; an ad's own of these names are not read."""

_NEEDED = (
    WITNESSES
    | USAGE
    | {"EpochWriteDate", "GlobalJobId", "ClusterId", "ProcId", "QDate", "RoutedToJobId"}
)
_OF_ONE_NODE = ("CpusProvisioned", "MemoryProvisioned")
"""Of a parallel job: its schedd writes none, its shadow those of the first node, its user any."""
_ON_A_SLOT = frozenset((b"StartdPrincipal", b"LastJobLeaseRenewal"))
_OF_NO_MACHINE = frozenset((b"7", b"12"))
"""Scheduler and local universe: a process on the access point, whatever it asked for."""
_WRITTEN = re.compile(rb" CurrentTime ?= ?(\d{1,11})\Z")
LONG_AGO, FOR_EVER = 10**9, 2**40
_YEARS_S = 10 * 365 * 86400


class JobReader:
    """Turns the text of an ad into a Job, or into the reason why it is none."""

    expected_id = '"<schedd>#<cluster>.<proc>#<time>", or ClusterId, ProcId and QDate'

    def __init__(
        self,
        fields: Iterable[str] | None,
        runs: Runs = "last",
        suspicious: Suspicious = "flag",
        universes: Universes = WITH_SLOT,
        identifiers: Identifiers | None = None,
    ) -> None:
        """Prepares.

        Args:
            fields: the fields that are wanted; None for all.
            runs: whether a job stands for its last run, or for all its runs together.
            suspicious: whether a job with impossible values is recorded with the field
                `Suspicious` that names them, or unreadable.
            universes: those whose jobs are accounted.
            identifiers: know the schedds whose jobs these are.
        """
        self._total = runs == "total"
        self._rejects = suspicious == "reject"
        self._universes = frozenset(universes)
        self._counts_vanilla = "vanilla" in self._universes
        self.identifiers = Identifiers() if identifiers is None else identifiers
        self.of_schedd("")
        self.now_s = 0
        """When the ads are read, in epoch seconds; 0 where that is not known."""
        self.left: dict[str, int] | None = None
        """To fill: a job's id → all its runs that began before this epoch second are over."""
        wanted = set(() if fields is None else fields) - RUN_FIELDS
        self._wanted = (
            None if fields is None else [(name, name.encode()) for name in sorted(wanted)]
        )
        everything = fields is None
        self._wants_cores = everything or "RequestCpus" in wanted
        self._reader = AttributeReader(USUAL | wanted, everything=everything)
        self._others = None if everything else AttributeReader(_NEEDED - USUAL - wanted)
        add = RUN_FIELDS if fields is None else RUN_FIELDS.intersection(fields)
        self._add_runtime = "RunWallClockTime" in add
        self._add_schedd = "ScheddName" in add
        self._add_suspicious = "Suspicious" in add
        self._add_cpu = [
            (name, b"Remote" + name[3:].encode()) for name in sorted(add) if name.endswith("Cpu")
        ]

    def of_schedd(self, name: str) -> None:
        """Says whose ads follow: a schedd's name, "" for the one of this machine."""
        self._identifier = self.identifiers.of(name)

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad.

        Args:
            raw: the ad; each of its lines after a newline.
            where: where it is.

        Returns:
            The job; or what is wrong with the ad; or why it is not accounted.
        """
        texts = self._reader.texts(raw)
        usual = usual_run(texts, raw, self._identifier.usual)
        if usual is not None and self._takes_usual(texts):
            return self._usual_job(texts, raw, where, usual)
        if reason := self._plain_reason(texts):
            return reason
        texts = self._all_texts(texts, raw)
        entered = instant(texts.get(b"EnteredCurrentStatus"))
        latest = self._latest(texts, raw, entered)
        known = latest if latest > LONG_AGO else FOR_EVER
        identity = self._identifier.identify(texts, raw, known)
        if identity is None:
            return unreadable(raw, where, texts, b"GlobalJobId", self.expected_id)
        if self.left is not None:
            self.left[identity.job_id] = FOR_EVER
        contradicted: list[str] = ["GlobalJobId"] if identity.forged else []
        run = self._look_closer(texts, raw, where, identity, latest, contradicted)
        if not isinstance(run, Run):
            return run
        start, stop = run.start, run.stop
        if self._total:
            earliest = identity.made - CLOCK_STEP_S
            start = _start_of_all(texts, start, stop, identity.made, earliest)
        wrong = self._doubts(texts, run, identity.made, max(entered, run.stop))
        return self._made(texts, raw, where, identity, run, start, contradicted, wrong)

    def _takes_usual(self, texts: Texts) -> bool:  # noqa: ARG002 - see RunReader
        """Whether a usual job needs no more than the attributes of one."""
        return self._counts_vanilla and not self._total

    def _usual_job(self, texts: Texts, raw: bytes, where: str, usual: Usual) -> Job:
        if self.left is not None:
            self.left[usual.job_id] = FOR_EVER
        schedd = usual.job_id.partition("#")[0] if self._add_schedd else ""
        return Job(
            id=self._id_of(usual.job_id, texts, usual.start),
            start_at=datetime.fromtimestamp(usual.start, UTC),
            stop_at=datetime.fromtimestamp(usual.stop, UTC),
            fields=self._fields(texts, raw, usual.stop - usual.start, schedd),
            raw=raw,
            where=where,
        )

    def _plain_reason(self, texts: Texts) -> str:
        """Why a job that surely had no slot is not accounted; empty if it may be."""
        if self.left is None and not (texts.keys() & _ON_A_SLOT):
            return filter_reason(texts.get(b"JobUniverse"), self._universes)
        return ""

    def _all_texts(self, texts: Texts, raw: bytes) -> Texts:
        return texts if self._others is None else texts | self._others.texts(raw)

    def _made(
        self,
        texts: Texts,
        raw: bytes,
        where: str,
        identity: Identity,
        run: Run,
        start: int,
        contradicted: list[str],
        wrong: Doubts,
    ) -> Job | Unreadable:
        """The job of a run; `start` is that of its record."""
        try:
            fields = self._fields(texts, raw, run.stop - start, identity.schedd, wrong)
        except ValueError as error:
            return Unreadable(raw, where, str(error))
        names = ""
        if contradicted or run.contradicted or wrong is not NO_DOUBTS:
            names = ", ".join(dict.fromkeys([*contradicted, *run.contradicted, *wrong.names]))
            if names and self._rejects:
                reason = f"impossible values, which a user can set: {names}"
                return Unreadable(raw, where, reason)
            if names and self._add_suspicious:
                fields["Suspicious"] = names
        return Job(
            id=self._id_of(identity.job_id, texts, run.start),
            start_at=datetime.fromtimestamp(start, UTC),
            stop_at=datetime.fromtimestamp(run.stop, UTC),
            fields=fields,
            raw=raw,
            where=where,
            suspicious=bool(names),
        )

    def _id_of(self, job_id: str, texts: Texts, start: int) -> str:  # noqa: ARG002
        """The id of a run; that of its job."""
        return job_id

    def _latest(self, texts: Texts, raw: bytes, entered: int) -> int:
        """The epoch second after which nothing in an ad happened: when it was written, or read."""
        written = _WRITTEN.search(raw, max(raw.rfind(b"\n*** "), 0))
        if written is not None:
            return int(written[1])
        return max(self.now_s, entered, instant(texts.get(b"JobFinishedHookDone")))

    def _look_closer(
        self,
        texts: Texts,
        raw: bytes,
        where: str,
        identity: Identity,
        latest: int,
        contradicted: list[str],
    ) -> Run | Unreadable | str:
        """The last run of an ad whose witnesses do not all agree, or why there is none."""
        if texts.get(b"ProcId", b"").startswith(b"-"):
            return TRANSFER_SHADOW
        earliest, made = identity.made - CLOCK_STEP_S, identity.made
        slot = on_a_slot(texts, earliest)
        if slot and texts.get(b"JobUniverse") in WITHOUT_SLOT:
            texts[b"JobUniverse"] = b"5"  # a local job has no claim on a machine
            contradicted.append("JobUniverse")
        if reason := filter_reason(texts.get(b"JobUniverse"), self._universes):
            return reason
        if _was_routed(texts, earliest):
            return ROUTED
        status, entered = texts.get(b"JobStatus"), instant(texts.get(b"EnteredCurrentStatus"))
        if status not in (COMPLETED, REMOVED):
            if not slot:
                return unreadable(raw, where, texts, b"JobStatus", "3 (removed) or 4 (completed)")
            contradicted.append("JobStatus")
        if not 0 < earliest <= entered:
            if not slot:
                expected = f"a time after {made}, when the job was made"
                return unreadable(raw, where, texts, b"EnteredCurrentStatus", expected)
            contradicted.append("EnteredCurrentStatus")
        if slot:
            contradicted += uncounted(texts)
        elif not ran(
            texts,
            earliest,
            latest + CLOCK_STEP_S,
            new_release=b"\nCondorVersion = " in raw,
        ):
            return NEVER_STARTED
        run = last_run(texts, earliest, latest)
        if run is None and slot:
            contradicted.append("GlobalJobId")  # its time is after the run
            run = last_run(texts, latest - _YEARS_S, latest)
        if run is None:
            expected = f"a time between {made} and {latest}, the job's life, since it ran"
            return unreadable(raw, where, texts, b"JobCurrentStartDate", expected)
        return run

    def _doubts(self, texts: Texts, run: Run, made: int, latest: int) -> Doubts:
        start = min(made, run.start) if self._total else run.start
        return doubts(texts, start, run.stop, made, latest)

    def _fields(
        self, texts: Texts, raw: bytes, runtime_s: int, schedd: str, wrong: Doubts = NO_DOUBTS
    ) -> dict[str, Value]:
        """The wanted fields of a run.

        Raises:
            ValueError: when an ad says of cores what cannot be computed.
        """
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
            found = number(text if text is not None else texts.get(last))
            if last in wrong.instead:
                found = wrong.instead[last]
            if found is not None:
                fields[name] = found
        if texts.get(b"JobUniverse") in _OF_NO_MACHINE and "RequestCpus" in fields:
            fields["RequestCpus"] = 1  # nobody was asked for them
        if self._add_runtime:
            fields["RunWallClockTime"] = runtime_s
        if self._add_schedd:
            fields["ScheddName"] = schedd
        if texts.get(b"JobUniverse") == PARALLEL:
            for name in _OF_ONE_NODE:
                fields.pop(name, None)
        for key, value in wrong.instead.items():
            name = key.decode()
            if value is not None and name in fields:
                fields[name] = value
            else:
                fields.pop(name, None)
        if self._wants_cores and "CpusProvisioned" not in fields and "RequestCpus" not in fields:
            _refuse_unknown_cores(texts)
        return fields


def _was_routed(texts: Texts, earliest: int) -> bool:
    """Whether what the ad says of a run is that of the job that a router made of it.

    A router copies the start of that run, but neither match nor contact: those are missing, or of
    an earlier run here.
    """
    if b"RoutedToJobId" not in texts or texts.get(b"JobUniverse") != b"5":
        return False
    start = instant(texts.get(b"JobCurrentStartDate"))
    matched = instant(texts.get(b"LastMatchTime"))
    contact = instant(texts.get(b"LastJobLeaseRenewal"))
    if matched >= max(start - AGREE_S, 1) or contact >= max(start, 1):
        return False
    return not on_a_slot(texts, earliest) or (matched >= earliest and contact >= earliest)


def _start_of_all(texts: Texts, start: int, stop: int, made: int, earliest: int) -> int:
    """The start of a record that is as long as all runs of the job were together."""
    first = instant(texts.get(b"JobStartDate"))
    if not earliest <= first <= start:
        first = start if texts.get(b"JobRunCount") == b"1" else made
    all_s = number(texts.get(b"RemoteWallClockTime")) or 0
    return round(min(start, max(first, stop - all_s)))


def _refuse_unknown_cores(texts: Texts) -> None:
    asked = texts.get(b"RequestCpus")
    if asked is not None and texts.get(b"JobUniverse") not in _OF_NO_MACHINE:
        shown = asked[:60].decode(errors="replace")
        raise ValueError(f"RequestCpus is {shown}, whose value is not known; nor are other cores")
