"""What an ad says of when a run began and ended: the witnesses that `run_end.py` weighs.

The witnesses, by rank (attribute; who writes it, when; what is known of it):

1.  `LastJobLeaseRenewal`: the shadow, at each contact with the starter. Within 5 s of the end for
    all 588 completed jobs of real pools whose owner had not edited it (23.9, 25.14). A shadow that
    tries to reconnect may renew it without any contact.
2.  `ActivationDuration`: the starter, at its end; from `JobCurrentStartExecutingDate` less
    `ActivationSetupDuration`. Up to 7 s early. After a reconnect 23.9 writes the instant instead.
3.  `JobDisconnectedDate`: the shadow, when it loses the machine; undefined after a reconnect.
    `JobCurrentReconnectAttempt` is a number for as long as it tries.
4.  `LastVacateTime`: the shadow, when it gives a job back or puts it on hold.
5.  `EnteredCurrentStatus`: the schedd. The end of a job that completed; of a removed one only if
    nothing was written later (`condor_rm -forcex` writes it again, days later).
6.  `JobFinishedHookDone`: the schedd, when the job is over for it.
7.  `CompletionDate`: the schedd, and whoever has `+CompletionDate` in the submit file.
8.  `LastRemoteWallClockTime`: the schedd, when a shadow ends: how long *that shadow* lived, so too
    little after a restart of the schedd. `RemoteWallClockTime`: the same for all shadows.

For the start: `JobCurrentStartDate` and `LastMatchTime`, written in the same second by the
schedd in all 1,200 runs on slots; `JobCurrentStartExecutingDate` is never before it.
"""

import msgspec

from collector_htcondor.texts import Texts, instant, number

CLOCK_STEP_S = 3600
"""How far the clock of an access point may have been set back during a job."""
AGREE_S = 5
"""Two witnesses of one end that are no farther apart agree."""
REPORT_S = 900
"""A schedd hears of a contact this often (SHADOW_QUEUE_UPDATE_INTERVAL): a run that was forced out
later than that after its last contact had lost its machine."""
SLOW_S = 300
"""A schedd under load may need this long to write down an end."""
_SAME_S = 2
_INSTANT = (
    *(b"ShadowBday", b"LastJobLeaseRenewal", b"JobDisconnectedDate", b"LastVacateTime"),
    *(b"EnteredCurrentStatus", b"JobFinishedHookDone", b"CompletionDate"),
)
_INSTANTS = 10**9
"""A duration that is longer is an instant."""

COMPLETED, REMOVED = b"4", b"3"
ON_A_SLOT = frozenset((b"2", b"6", b"7"))
"""Status of a job that holds a slot: running, transferring output, suspended."""
WITHOUT_SLOT = frozenset((b"7", b"9", b"12"))
"""Universes whose jobs hold no slot of this pool: scheduler, grid, local."""

WITNESSES = frozenset(
    {
        *("JobStatus", "LastJobStatus", "JobUniverse", "EnteredCurrentStatus", "CompletionDate"),
        *("JobStartDate", "JobCurrentStartDate", "JobCurrentStartExecutingDate", "LastMatchTime"),
        *("LastJobLeaseRenewal", "LastVacateTime", "JobDisconnectedDate", "JobFinishedHookDone"),
        *("ActivationDuration", "ActivationSetupDuration", "JobCurrentReconnectAttempt"),
        *("LastRemoteWallClockTime", "RemoteWallClockTime", "JobRunCount", "NumShadowStarts"),
        *("NumJobStarts", "LastRemoteHost", "RemoteHost", "LastPublicClaimId", "PublicClaimId"),
        *("StartdPrincipal", "ShadowBday", "JobLastStartDate"),
    }
)
"""The attributes that are asked."""


class Witnesses(msgspec.Struct):
    """What an ad says of its last run; instants in epoch seconds, 0 for what it does not say."""

    completed: bool
    stayed: bool
    """It completed, stayed in the queue, and was removed there."""
    was_running: bool
    has_slot: bool
    start: int
    shadow_born: int
    contact: int
    activation: int
    disconnected: int
    reconnecting: bool
    unreported: bool
    """Its shadow never came to an end for the schedd."""
    vacated: int
    entered: int
    hook_done: int
    completion: int
    last_shadow_s: float
    all_shadows_s: float
    activation_s: int
    shadows: int
    latest: int
    epoch_end: int
    """When its shadow wrote its epoch ad."""

    @classmethod
    def of(cls, texts: Texts, start: int, latest: int, epoch_end: int = 0) -> "Witnesses":
        """Reads the texts of an ad.

        Args:
            texts: with those of `WITNESSES`.
            start: of the run.
            latest: no end is later.
            epoch_end: when its shadow wrote the ad, if that wrote it.
        """
        get = texts.get
        born, contact, lost, vacated, entered, done, completion = [
            at if start <= at <= latest else 0 for at in [instant(get(name)) for name in _INSTANT]
        ]
        before, status = get(b"LastJobStatus"), get(b"JobStatus")
        last_s = number(get(b"LastRemoteWallClockTime"))
        shadows = max(instant(get(b"NumShadowStarts")), instant(get(b"JobRunCount")))
        return cls(
            completed=status == COMPLETED,
            stayed=status == REMOVED and before == COMPLETED,
            was_running=before in ON_A_SLOT,
            has_slot=get(b"JobUniverse") not in WITHOUT_SLOT,
            start=start,
            shadow_born=born,
            contact=contact,
            activation=_activation_end(texts, start, latest),
            disconnected=lost,
            reconnecting=instant(get(b"JobCurrentReconnectAttempt")) > 0,
            unreported=get(b"RemoteHost", b"undefined") != b"undefined" or last_s is None,
            vacated=vacated,
            entered=entered,
            hook_done=done,
            completion=completion,
            last_shadow_s=last_s or 0,
            all_shadows_s=number(get(b"RemoteWallClockTime")) or 0,
            activation_s=_duration(texts, start),
            shadows=shadows,
            latest=latest,
            epoch_end=epoch_end,
        )

    @property
    def acknowledged(self) -> bool:
        """Whether its machine was there when it was vacated: then it was not lost before.

        A schedd that cleans up renews the last contact later than that, without any.
        """
        return (
            self.vacated > self.disconnected + AGREE_S
            and abs(self.contact - self.vacated) <= _SAME_S
        )

    @property
    def entered_or_done(self) -> int:
        """When the schedd was done with the run, if it says so."""
        return min(filter(None, (self.entered, self.hook_done)), default=0)

    @property
    def at_least(self) -> int:
        """The end is not before this, if the last shadow was one of this run; 0 if not known."""
        if self.unreported:
            return 0
        return min(self.start + round(self.last_shadow_s), self.latest)

    @property
    def wall_end(self) -> int:
        """The end by the wall-clock time of the last shadow; of all, where that is not known."""
        wall_s = self.last_shadow_s or self.all_shadows_s
        over = self.entered if self.entered > self.start else self.latest
        return min(self.start + round(wall_s), over) if wall_s else 0


def _activation_end(texts: Texts, start: int, latest: int) -> int:
    """The end by what the starter measured; 0 if it measured nothing of this run."""
    lasted = instant(texts.get(b"ActivationDuration"))
    executing = instant(texts.get(b"JobCurrentStartExecutingDate"))
    if lasted > _INSTANTS:
        end = lasted
    elif b"ActivationDuration" in texts and executing >= start:
        end = executing - instant(texts.get(b"ActivationSetupDuration")) + lasted
    else:
        return 0
    return end if start <= end <= latest else 0


def _duration(texts: Texts, start: int) -> int:
    """How long the starter was there in seconds; 0 if it says nothing of this run."""
    lasted = instant(texts.get(b"ActivationDuration"))
    of_this_run = instant(texts.get(b"JobCurrentStartExecutingDate")) >= start - _SAME_S
    return lasted if of_this_run and lasted < _INSTANTS else 0


def start_of_run(texts: Texts, earliest: int, latest: int) -> tuple[int, list[str]]:
    """Finds the start of the last run of an ad.

    Args:
        texts: of the ad, with those of `WITNESSES`.
        earliest: no run began before this epoch second.
        latest: none began after this one.

    Returns:
        Epoch seconds, 0 if nothing says of one; and the attributes that others contradict.
    """

    def within(name: bytes) -> int:
        at = instant(texts.get(name))
        return at if earliest <= at <= latest + CLOCK_STEP_S else 0

    current = within(b"JobCurrentStartDate")
    if texts.get(b"JobUniverse") in WITHOUT_SLOT:
        return current, []
    matched, executing = within(b"LastMatchTime"), within(b"JobCurrentStartExecutingDate")
    if 0 < (born := within(b"ShadowBday")) < max(current, matched) - _SAME_S:
        return born, ["JobCurrentStartDate"]  # no run begins after its shadow
    if current and abs(current - matched) <= _SAME_S:
        return current, []
    if current and matched:
        late, early = max(current, matched), min(current, matched)
        end = within(b"LastJobLeaseRenewal") or within(b"EnteredCurrentStatus")
        lasted_s = number(texts.get(b"LastRemoteWallClockTime")) or 0
        ended = texts.get(b"JobStatus") in (COMPLETED, REMOVED)
        too_late = 0 < executing < late - _SAME_S or (ended and 0 < end < late + lasted_s - AGREE_S)
        start = early if too_late else late
        return start, ["LastMatchTime" if start == current else "JobCurrentStartDate"]
    if current and not 0 < executing < current - _SAME_S:
        return current, []
    return matched or executing, ["JobCurrentStartDate"]
