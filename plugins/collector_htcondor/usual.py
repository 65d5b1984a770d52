"""The usual job, fast: it completed, and all that its ad says of its run agrees.

Nine of ten jobs are so, and half of the witnesses are enough to see it. Any doubt at all, and the
ad is looked at with all of them (`jobs.py`), with the same result where there was no reason for it.
"""

from typing import NamedTuple

from collector_htcondor.texts import Texts
from collector_htcondor.witnesses import AGREE_S, CLOCK_STEP_S

USUAL = frozenset(
    {
        *("GlobalJobId", "QDate", "JobStatus", "JobUniverse", "JobRunCount", "RoutedToJobId"),
        *("EnteredCurrentStatus", "CompletionDate", "JobCurrentStartDate", "LastMatchTime"),
        *("JobStartDate", "LastJobLeaseRenewal", "LastRemoteWallClockTime", "ActivationDuration"),
        *("RemoteWallClockTime", "StartdPrincipal", "CpusProvisioned", "MachineAttrCpus0"),
        *("MemoryProvisioned", "RemoteUserCpu", "RemoteSysCpu"),
        *("CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu"),
    }
)
"""The attributes that are asked."""
_QUEUED_S = 3600
_CPU_FACTOR = 20
_NONE = frozenset((None, b"0"))


class Usual(NamedTuple):
    """A run without any doubt."""

    job_id: str
    start: int
    """Epoch seconds."""
    stop: int


def usual_run(texts: Texts, raw: bytes, schedd: bytes | None) -> Usual | None:
    """The run of a usual job; None if there is any doubt.

    Args:
        texts: of the ad, with those of `USUAL`.
        raw: the ad, with its banner.
        schedd: whose jobs these are; None if that is not known.
    """
    get = texts.get
    began, ended = get(b"JobCurrentStartDate"), get(b"EnteredCurrentStatus")
    runs = get(b"JobRunCount")
    if (
        get(b"JobStatus") != b"4"
        or get(b"JobUniverse") != b"5"
        or began is None
        or began != get(b"LastMatchTime")
        or ended is None
        or runs in _NONE
        or b"StartdPrincipal" not in texts
        or b"RoutedToJobId" in texts
        or get(b"CpusProvisioned") != get(b"MachineAttrCpus0")
        or get(b"MemoryProvisioned") in _NONE
        or (runs == b"1" and get(b"RemoteUserCpu") != get(b"CumulativeRemoteUserCpu"))
        or (runs == b"1" and get(b"RemoteSysCpu") != get(b"CumulativeRemoteSysCpu"))
    ):
        return None
    try:
        start, stop = int(began), int(ended)
        lasted_s, limit_s = stop - start, _CPU_FACTOR * (stop - start) + CLOCK_STEP_S
        measured = int(texts[b"ActivationDuration"])
        if not (
            0 <= stop - int(texts[b"LastJobLeaseRenewal"]) <= AGREE_S
            and -AGREE_S <= lasted_s - float(texts[b"LastRemoteWallClockTime"]) <= AGREE_S
            and (measured <= lasted_s + AGREE_S or abs(measured - stop) <= AGREE_S)
            and abs(int(texts[b"CompletionDate"]) - stop) <= AGREE_S
            and int(texts[b"CpusProvisioned"]) > 0
            and 0 <= float(texts[b"RemoteUserCpu"]) <= limit_s
            and 0 <= float(texts[b"RemoteSysCpu"]) <= limit_s
        ):
            return None
        job_id = texts[b"GlobalJobId"][1:-1]
        name, number, made = job_id.split(b"#")
        cluster, proc = number.split(b".")
        made_at = int(made)
        queued, first = int(texts[b"QDate"]), int(texts[b"JobStartDate"])
        all_s = float(texts[b"RemoteWallClockTime"])
    except (KeyError, ValueError, TypeError):
        return None
    banner = b"ClusterId = %s ProcId = %s " % (cluster, proc)
    if (
        name != schedd
        or not queued - _QUEUED_S <= made_at <= start + CLOCK_STEP_S
        or not made_at - CLOCK_STEP_S <= first <= start
        or not 0 <= all_s <= stop - made_at + CLOCK_STEP_S
        or raw.find(banner, raw.rfind(b"\n*** ")) < 0
    ):
        return None
    return Usual(job_id.decode(errors="replace"), start, stop)
