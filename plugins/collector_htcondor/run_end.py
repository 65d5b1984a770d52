"""When the last run of an ad began and ended: one table of witnesses, for all modes.

An ad has no attribute that says when a run ended and that is right after everything that happens
to a run. It has several witnesses, each written by somebody else at another time; a job's owner
can write nearly all of them (`condor_qedit`, `condor_chirp`), but not all at once without leaving a
contradiction. `TABLE` lists, for each way in which a run ends, whose figure counts. The first row
that applies gives the end. Then the last contact with the machine is asked (`_settle`): a figure
that is more than `AGREE_S` away from it is believed only if the time that the starter measured
agrees with it. Whoever loses is named in `Run.contradicted`.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from collector_htcondor.texts import Texts
from collector_htcondor.witnesses import AGREE_S, REPORT_S, SLOW_S, Witnesses, start_of_run

_EARLY_S = 2
"""No end was seen to be written down as before the last contact; times are whole seconds."""


class Run(msgspec.Struct, frozen=True):
    """The last run of an ad."""

    start: int
    """Epoch seconds."""
    stop: int
    """Epoch seconds, not before `start`."""
    contradicted: tuple[str, ...] = ()
    """Attributes whose values others contradict."""
    row: str = ""
    """The name of the row of `TABLE` that gave the end."""


class Row(NamedTuple):
    """One way in which a run ends."""

    name: str
    attribute: str
    """Whose figure counts."""
    applies: Callable[[Witnesses], bool]
    end: Callable[[Witnesses], int]
    settled: bool = False
    """Whether the last contact has nothing to say about it."""


TABLE = (
    Row(
        # Its machine was lost: startd killed, network gone. What follows is the wait for the lease;
        # a later "contact" is but an attempt to reconnect.
        "lost its machine",
        "JobDisconnectedDate",
        lambda run: (
            not (run.completed or run.stayed)
            and run.disconnected > 0
            and (run.reconnecting or run.contact <= run.disconnected + AGREE_S)
            and run.activation <= run.disconnected + AGREE_S
            and not (run.activation and run.acknowledged)
        ),
        lambda run: run.disconnected,
        settled=True,
    ),
    Row(
        # A shadow of after a restart of the schedd never reached the machine, until it was forced
        # out: nothing is known after it was born.
        "never reconnected",
        "ShadowBday",
        lambda run: not (run.completed or run.stayed) and run.reconnecting and run.shadow_born > 0,
        lambda run: min(run.contact or run.shadow_born, run.shadow_born),
        settled=True,
    ),
    Row(
        # The shadow's own word, which nobody else writes.
        "its shadow ended",
        "EpochWriteDate",
        lambda run: run.epoch_end > 0,
        lambda run: run.epoch_end,
    ),
    Row(
        # The schedd was killed after it had written the ad, and before it had forgotten the job: a
        # new shadow finds the run over, and all but the starter's figure moves by the downtime.
        "counted again after a crash",
        "ActivationDuration",
        lambda run: (
            (run.completed or run.stayed)
            and run.shadows > 1
            and run.activation > 0
            and run.activation < run.entered_or_done - 2
            and run.activation - run.start > run.last_shadow_s + 1
        ),
        lambda run: run.activation,
        settled=True,
    ),
    Row(
        "completed",
        "EnteredCurrentStatus",
        lambda run: run.completed and run.entered > 0,
        lambda run: run.entered,
    ),
    Row(
        # It completed, stayed in the queue, and was removed there.
        "completed before its removal",
        "CompletionDate",
        lambda run: run.stayed and run.completion > 0,
        lambda run: max(run.completion, run.at_least),
    ),
    Row(
        "vacated or put on hold",
        "LastVacateTime",
        lambda run: run.vacated > 0,
        lambda run: run.vacated,
    ),
    Row(
        # condor_rm -forcex, or a shadow that was killed: nobody wrote down how long it ran.
        "forced out",
        "EnteredCurrentStatus",
        lambda run: (
            run.has_slot
            and run.was_running
            and run.unreported
            and 0 < run.contact <= run.entered_or_done <= run.contact + REPORT_S
        ),
        lambda run: run.entered_or_done,
        settled=True,
    ),
    Row(
        # The wall-clock time of a shadow is that of the run, unless there was one before it.
        "by the shadow's wall-clock time",
        "LastRemoteWallClockTime",
        lambda run: (
            run.wall_end > 0
            and not (run.was_running and run.unreported and run.has_slot)
            and (run.contact > 0 or not run.was_running or run.shadows <= 1 or not run.has_slot)
        ),
        lambda run: run.wall_end,
    ),
    Row(
        "by the last contact",
        "LastJobLeaseRenewal",
        lambda run: run.contact > 0,
        lambda run: run.contact,
    ),
    Row(
        "removed while it ran",
        "EnteredCurrentStatus",
        lambda run: run.was_running and run.entered_or_done > 0,
        lambda run: run.entered_or_done,
    ),
)
"""Each way in which a run ends, the surest first."""


def last_run(texts: Texts, earliest: int, latest: int, epoch_end: int = 0) -> Run | None:
    """Finds when the last run of an ad began and ended.

    Args:
        texts: of the ad, with those of `WITNESSES`.
        earliest: no run began before this epoch second.
        latest: no run ended after this one.
        epoch_end: when its shadow wrote the ad, if that wrote it.

    Returns:
        The run; None if the ad says of no start, or of no end.
    """
    start, contradicted = start_of_run(texts, earliest, latest)
    if not start:
        return None
    run = Witnesses.of(texts, start, latest, epoch_end)
    row = next((row for row in TABLE if row.applies(run)), None)
    if row is None:
        return Run(start, start, tuple(contradicted))
    stop = max(start, row.end(run))
    if not row.settled:
        stop = _settle(run, row, stop, contradicted)
    elif run.contact > stop + AGREE_S and not run.reconnecting:
        contradicted.append(row.attribute)
    if run.disconnected and not (run.completed or row.settled):
        contradicted.append("JobDisconnectedDate")
    if not row.settled and (epoch_end or not run.unreported):
        start = _not_moved(run, start, stop, earliest, contradicted)
        too_short = start + run.last_shadow_s < stop - AGREE_S
        if too_short and run.shadows == 1 and run.has_slot and not epoch_end:
            contradicted.append("LastRemoteWallClockTime")
    return Run(start, stop, tuple(dict.fromkeys(contradicted)), row.name)


def _settle(run: Witnesses, row: Row, figure: int, contradicted: list[str]) -> int:
    """The end by the figure of a row, by the last contact, or by what the starter measured.

    Two of the three that agree outvote the third, if the last shadow did not live longer.
    """
    contact, activation = run.contact, run.activation
    contact_name = "LastJobLeaseRenewal"
    if not contact or contact - _EARLY_S <= figure <= contact + AGREE_S:
        longer = activation if contact else max(activation, run.at_least)
        if longer <= figure + AGREE_S:
            return figure
        contradicted += [row.attribute, *([contact_name] if contact else [])]
        return longer
    agreed = activation and abs(figure - activation) < abs(contact - activation)
    supported = abs(run.at_least - contact) <= _EARLY_S
    if agreed and not (supported and figure < contact):
        if contact > run.at_least + AGREE_S:  # else its shadow lived on for a while
            contradicted.append(contact_name)
        return figure
    by_last_shadow = row.attribute == "LastRemoteWallClockTime"
    if not by_last_shadow and (figure < contact or (run.completed and figure > contact + SLOW_S)):
        contradicted.append(row.attribute)
    return contact


def _not_moved(
    run: Witnesses, start: int, stop: int, earliest: int, contradicted: list[str]
) -> int:
    """The start, or an earlier one if shadow and starter both lasted longer than since then."""
    lasted_s = run.activation_s
    if not run.epoch_end:
        lasted_s = round(min(run.last_shadow_s, run.activation_s))
    if lasted_s > stop - start + AGREE_S and stop - lasted_s >= earliest:
        contradicted.append("JobCurrentStartDate")
        return stop - lasted_s
    return start
