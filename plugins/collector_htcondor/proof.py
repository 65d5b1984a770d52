"""Whether a job ran at all: proved by its contact with a machine, not by what its owner can count.

The counts of starts (`JobRunCount`, `NumShadowStarts`, `NumJobStarts`) can be set to 3 in the
submit file of a job that never ran, and to 0 by `condor_qedit` of one that did. Whatever starts a
run on a slot leaves five traces: `LastMatchTime`, `LastJobLeaseRenewal`, the name of the slot, the
public part of its claim, and the identity of the machine (all five in all 638 runs on slots of
real pools, 23.9 and 25.14; none of them in the 19 jobs that never ran). Two of the last four are
proof. Releases that do not write them, and universes without a slot, are judged by the rest.
"""

from collector_htcondor.texts import Texts, instant
from collector_htcondor.witnesses import COMPLETED, ON_A_SLOT, REMOVED, WITHOUT_SLOT

_TRACES = (
    (b"LastRemoteHost", b"RemoteHost"),
    (b"LastPublicClaimId", b"PublicClaimId"),
    (b"StartdPrincipal",),
)
_COUNTS = (b"JobRunCount", b"NumShadowStarts", b"NumJobStarts")
_ENOUGH = 2


def on_a_slot(texts: Texts, earliest: int) -> bool:
    """Whether an ad has the traces of a slot.

    Args:
        texts: of the ad.
        earliest: epoch second before which no run began.
    """
    found = instant(texts.get(b"LastJobLeaseRenewal")) >= earliest
    if found and texts.get(b"StartdPrincipal", b"")[:1] == b'"':
        return True
    return (
        found
        + sum(any(texts.get(name, b"undefined")[:1] == b'"' for name in names) for names in _TRACES)
        >= _ENOUGH
    )


def uncounted(texts: Texts) -> list[str]:
    """The counts of starts that say that there was none."""
    return [name.decode() for name in _COUNTS[:2] if texts.get(name) in (b"0", b"undefined")]


def ran(texts: Texts, earliest: int, latest: int, *, new_release: bool) -> bool:
    """Whether a job without the traces of a slot ran.

    Args:
        texts: of the ad.
        earliest: epoch second before which no run began.
        latest: epoch second after which none began.
        new_release: whether its schedd writes those traces.
    """

    def within(name: bytes) -> bool:
        return earliest <= instant(texts.get(name)) <= latest

    if texts.get(b"JobUniverse") not in WITHOUT_SLOT:
        if new_release:
            return False
        matched = within(b"LastMatchTime")
    else:
        matched = within(b"JobCurrentStartDate")
    status, before = texts.get(b"JobStatus"), texts.get(b"LastJobStatus")
    counted = any(instant(texts.get(name)) for name in _COUNTS)
    if status == COMPLETED or (status == REMOVED and (before == COMPLETED or before in ON_A_SLOT)):
        return matched or counted or within(b"JobCurrentStartDate")
    return matched and counted and within(b"JobCurrentStartDate")
