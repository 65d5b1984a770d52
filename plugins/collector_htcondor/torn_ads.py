r"""Tells whether the text of a record is one ad, and saves the whole one of two that ran together.

A schedd that is killed while it appends leaves the beginning of an ad. Restarted, it appends behind
this stump, so that two ads stand under the second one's banner, the torn line and the first line
of the second ad being one:

    JobCurrentStartExecutingIn = "/dev/null"
    Cmd = "/srv/condor-lab/jobs/sleep.sh"

HTCondor's own tools take that for one ad, in which what the second one lacks is the first one's.
Here only the second counts. Where it begins is known exactly: the banner's `Offset` is where the
torn line begins, and both ads begin with the same attribute (a schedd writes them in one order). A
record for which that does not hold is refused, not guessed at. (A schedd counts the Offset in an
`int`: beyond 2 GiB of a file it is right but for multiples of 2³². Not seen: an ad torn within the
first line of a whole file, since Offset is 0 there in any case; it spoils just the first attribute
of the ad that follows.)
"""

import re

import msgspec

from collector_htcondor import classad

_BANNER = re.compile(
    rb"(?:Offset = (-?\d+)|[A-Z]+) ClusterId ?= ?(\d+) ProcId ?= ?(-?\d+) "  # of history, of epochs
)


_APPENDED = 4
"""How many lines a shadow appends to the ad of a job, at most."""


class TornError(ValueError):
    """Raised for a record that is not surely one whole ad; says why."""


class Whole(msgspec.Struct):
    """An ad that is surely whole, and what stood before it."""

    raw: bytes
    """A newline, the ad's lines, its banner line without its newline."""
    begin: int = 0
    """How many bytes of the record stood before it: the beginning of another ad, torn."""


def whole(raw: bytes, at: int | None) -> Whole:
    """Finds the whole ad in a record that was not surely appended to an intact file.

    Args:
        raw: a newline, the lines of the record, its banner line without its newline.
        at: byte position of the record's first line in its file; None where it is not known.

    Raises:
        TornError: when there is none, or it is not sure where it begins.
    """
    end = raw.rfind(b"\n*** ") + 1
    banner = _BANNER.match(raw, end + 4) if end else None
    if banner is None:
        raise TornError("its banner is damaged")
    begin = 0
    if at is not None and (offset := int(banner[1] or 0)):
        line = (offset - at) % 2**32 + 1
        if line < end and raw[line - 1 : line] == b"\n" and (line == 1 or _begins_again(raw)):
            begin = _second(raw, line) - 1
    found = Whole(b"\n" + raw[begin + 1 :], begin)
    names = classad.names(found.raw)
    if len(set(names)) != len(names) and not (banner[1] is None and _appended_to(names)):
        raise TornError(
            "an attribute stands twice: two ads ran together, and its banner's Offset does not "
            "say where the second begins"
        )
    for name, expected in (("ClusterId", banner[2]), ("ProcId", banner[3])):
        if classad.attribute(found.raw, name) != expected:
            raise TornError(f"its {name} is not the one of its banner ({expected.decode()})")
    return found


def _appended_to(names: list[bytes]) -> bool:
    """Whether what stands twice in an epoch ad is only what its shadow appends to the job's ad, as
    EpochWriteDate: a user may have set the same. The last value counts.
    """
    body = names[:-_APPENDED]
    once = {b"clusterid", b"procid", b"globaljobid", b"owner"}
    return len(set(body)) == len(body) and all(names.count(name) <= 1 for name in once)


def _begins_again(raw: bytes) -> bool:
    """Whether the first attribute comes again, as it does where a second ad follows whole lines.

    A file whose length was changed before this record has wrong Offsets, which may point anywhere.
    """
    return _opening(raw) in raw[2:]


def _opening(raw: bytes) -> bytes:
    return raw[1 : raw.find(b" = ", 1) + 3]


def _second(raw: bytes, line: int) -> int:
    """Where the second of two ads begins, whose torn line begins at `line`.

    Raises:
        TornError: when that is not sure.
    """
    opening = _opening(raw)
    after = raw.find(b"\n", line) + 1
    if raw.startswith(opening, after):  # torn between two lines: that line is the first ad's last
        return after
    begin = raw.rfind(opening, line, after)
    if len(opening) > 3 and begin > line:  # noqa: PLR2004 - of " = "
        return begin
    raise TornError("two ads ran together, and it is not sure where the second begins")
