"""The id of a job: its `GlobalJobId`, as long as that is its own.

A job's owner can write `GlobalJobId` (`condor_qedit`, `condor_chirp`), so he could take another
job's id, whose record would then be refused as a collision, or give his own run two ids. He cannot
write `ClusterId`, `ProcId` and `Owner`, nor the banner that follows the ad. So a GlobalJobId counts
if

- its number is that of the banner, or of the ad where there is none,
- its time is between the submission (`QDate`; late materialization is later, a router's copy a few
  seconds earlier) and the end of the job,
- its schedd is the one whose jobs these are: its name is the one that most users' jobs have, or at
  least two users' jobs.

Otherwise the id is made of the schedd's name, the number and `QDate` (or the time, if only the
schedd is wrong): nobody else's, and the same however often the ad is read. An honest job keeps its
id to the letter.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from collector_htcondor.texts import Texts, instant

IDENTITY = re.compile(rb'"(.+)#(\d+\.-?\d+)#(\d{1,11})"\Z')
"""The text of a GlobalJobId: the schedd, the number, the time at which the job was made."""
_ID = re.compile(r"(.+)#\d+\.-?\d+#\d{1,11}(?:#\d{1,11})?\Z")
_NUMBER = re.compile(rb"\n\*\*\* [^\n]*? ?ClusterId ?= ?(\d+) ProcId ?= ?(-?\d+) ")
_SAMPLE = re.compile(rb'\nGlobalJobId = "([^\n]+)#\d+\.\d+#\d+"(?=\n)')
_OWNER = re.compile(rb'\nOwner = ("[^\n]*")')
_QUEUED_S = 3600
"""How much earlier than its submission a job may have been made: a router's copy, a clock."""
_ENOUGH_OWNERS = 2
_OWNERS_LIMIT = 1000

Sample = Callable[[], Iterable[bytes]]
"""Gives ads of the same schedd."""


class Identity(msgspec.Struct, frozen=True):
    """Who a job is."""

    job_id: str
    schedd: str
    made: int
    """When it was made, in epoch seconds."""
    forged: bool = False
    """Whether the ad says otherwise."""


class Identifier:
    """Finds the identities of the jobs of one schedd."""

    def __init__(self, name: str = "", sample: Sample | None = None) -> None:
        """Prepares.

        Args:
            name: under which the schedd was asked; it may call itself otherwise.
            sample: gives ads of the schedd, from which its name is learned when it is in doubt.
        """
        self._sample = sample
        self.usual = name.encode() or None
        """The name that most users' jobs have, if it is known."""
        self._owners: dict[bytes, set[bytes]] = {self.usual: set()} if self.usual else {}

    def identify(self, texts: Texts, raw: bytes, latest: int) -> Identity | None:
        """Who the job of an ad is; None if it cannot be known.

        Args:
            texts: of the ad: GlobalJobId, ClusterId, ProcId, QDate.
            raw: the ad, with its banner if it has one.
            latest: epoch second after which the job was not made.
        """
        found = IDENTITY.match(texts.get(b"GlobalJobId", b""))
        number = _number(texts, raw)
        if found is not None:
            schedd, said, made_text = found.groups()
            made, queued = int(made_text), instant(texts.get(b"QDate"))
            own = number in (said, None) and queued - _QUEUED_S <= made <= latest + _QUEUED_S
            if own and (schedd == self.usual or self._known(schedd, raw)):
                name = schedd.decode(errors="replace")
                return Identity(f"{name}#{said.decode()}#{made}", name, made)
            made = made if own else queued
        else:
            made = queued = instant(texts.get(b"QDate"))
        usual = self._usual_name()
        if number is None or not made or usual is None:
            return None
        return Identity(f"{usual}#{number.decode()}#{made}", usual, made, forged=True)

    def learn(self, raw: bytes) -> None:
        """Takes note of the schedd's name in an ad."""
        name, owner = _SAMPLE.search(raw), _OWNER.search(raw)
        if name is None or owner is None:
            return
        owners = self._owners.setdefault(name[1], set())
        if len(owners) < _OWNERS_LIMIT:
            owners.add(owner[1])
        usual = 0 if self.usual is None else len(self._owners[self.usual])
        if len(owners) > usual:
            self.usual = name[1]

    def _known(self, schedd: bytes, raw: bytes) -> bool:
        """Whether jobs of this schedd are to be expected."""
        self._ask()
        self.learn(raw)
        if schedd == self.usual or self.usual is None:
            return True
        mine = len(self._owners.get(schedd, ()))
        return mine >= _ENOUGH_OWNERS or len(self._owners[self.usual]) < _ENOUGH_OWNERS

    def _usual_name(self) -> str | None:
        self._ask()
        return None if self.usual is None else self.usual.decode(errors="replace")

    def _ask(self) -> None:
        if self._sample is not None:
            sample, self._sample = self._sample, None
            for ad in sample():
                self.learn(ad)


class Identifiers:
    """The identifiers of the schedds that a source reads."""

    def __init__(self, sample: Sample | None = None) -> None:
        """Prepares; see `Identifier`."""
        self._sample = sample
        self._known: dict[str, Identifier] = {}

    def of(self, name: str) -> Identifier:
        """That of the schedd that was asked under a name."""
        if name not in self._known:
            self._known[name] = Identifier(name, None if name else self._sample)
        return self._known[name]


def id_of_run(job_id: str, texts: Texts, start: int) -> str:
    """The id of a run: its job's, if it is the first; else also its start.

    Of a further run, JobStartDate and JobLastStartDate are earlier. A job's owner can edit both: an
    impossible JobStartDate says nothing, and one that was set to this start makes it no first run.
    """
    first, last = instant(texts.get(b"JobStartDate")), instant(texts.get(b"JobLastStartDate"))
    if first == start and not last:
        return job_id
    earliest = int(job_id.rpartition("#")[2]) - _QUEUED_S
    several = instant(texts.get(b"JobRunCount")) > 1
    further = earliest <= first < start or (several and earliest <= last < start)
    return f"{job_id}#{start}" if further else job_id


def schedd_of(run_id: str) -> str | None:
    """The schedd that the id of a run names; None for a text that is no such id."""
    found = _ID.match(run_id)
    return None if found is None else found[1]


def _number(texts: Texts, raw: bytes) -> bytes | None:
    """The number of a job, as `12.0`: of the banner, which nobody but the schedd writes."""
    at = raw.rfind(b"\n*** ")
    banner = _NUMBER.match(raw, at) if at >= 0 else None
    if banner is not None:
        return b"%s.%s" % banner.groups()
    cluster, proc = texts.get(b"ClusterId"), texts.get(b"ProcId")
    return None if cluster is None or proc is None else b"%s.%s" % (cluster, proc)
