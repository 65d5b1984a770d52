"""How the daemon is, as an operator would say it: what somebody should look at, and what to know.

Problems make /healthz red; warnings do not. The same words are in `systemctl status`, /healthz and
the log of state changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from collector.clock import span, stamp
from collector.config import Config
from collector.daemon.periodic import PeriodicTask
from collector.daemon.poll import Poll
from collector.logs import counted, size
from collector.outbox import Outbox, SenderState, Status
from collector.pipeline.assemble import certificate_end

HANGING_S = 900.0
"""Something that made no progress for so long hangs, if systemd does not say otherwise."""
_CERTIFICATE_WARNING = timedelta(days=14)


class Health(msgspec.Struct):
    """What there is to say; all is well if there is nothing."""

    problems: list[str]
    """What somebody should look at, the most certain first."""
    warnings: list[str]

    @property
    def all_is_well(self) -> bool:
        """Whether there is nothing to say."""
        return not self.problems and not self.warnings


class Reload(msgspec.Struct):
    """How the last reload of the configuration went."""

    succeeded_at: datetime
    """When the configuration in use was read."""
    refused: str = ""
    """The mistakes of the one that was refused since then; empty if none was."""
    refused_at: datetime | None = None


class Look(msgspec.Struct):
    """What health is judged by."""

    config: Config
    status: Status
    polls: Sequence[Poll]
    tasks: Iterable[PeriodicTask]
    outbox: Outbox
    reload: Reload
    hanging_s: float
    """What made no progress for so long hangs."""
    started_at: datetime
    """What did not happen since then may still come."""
    now: datetime

    def age_s(self, instant: datetime) -> float:
        """Seconds since an instant."""
        return max(0.0, (self.now - instant).total_seconds())

    def ago(self, instant: datetime) -> str:
        """How long ago an instant was, in words."""
        return span(self.age_s(instant))


def judge(look: Look) -> Health:
    """Says what is wrong, and what might become so."""
    health = Health([], [])
    late = hanging(look.tasks, look.hanging_s)
    health.problems += [f"{task.name}: no progress for {span(seconds)}" for task, seconds in late]
    health.problems += _reload(look)
    _sender(look, health)
    for poll in look.polls:
        health.problems += _source(look, poll)
        _rejections(look, poll, health)
    health.problems += _room(look)
    _certificate(look, health)
    return health


def hanging(tasks: Iterable[PeriodicTask], limit_s: float) -> list[tuple[PeriodicTask, float]]:
    """What has made no progress within a limit, and for how many seconds."""
    late = [(task, task.late_s()) for task in tasks]
    return [(task, seconds) for task, seconds in late if seconds > limit_s]


def line(look: Look, health: Health) -> str:
    """How it is, in one line for `systemctl status`."""
    status = look.status
    waiting = "nothing waits"
    if status.waiting:
        waits = "waits" if status.waiting == 1 else "wait"
        waiting = f"{counted(status.waiting, 'record')} {waits}"
        if status.oldest_put_at is not None:
            waiting += f" (oldest {look.ago(status.oldest_put_at)})"
    state = "starting" if status.sender is None else str(status.sender.state)
    said = [*health.problems, *health.warnings]
    return f"{state}: {waiting}; {'; '.join(said) or 'all is well'}"


def _reload(look: Look) -> Iterator[str]:
    reload = look.reload
    if reload.refused_at is not None:
        first = reload.refused.partition("\n")[0]
        yield (
            f"configuration: a reload was refused at {stamp(reload.refused_at)}, the one of "
            f"{stamp(reload.succeeded_at)} is in use: {first}"
        )


def _sender(look: Look, health: Health) -> None:
    status, sender = look.status, look.status.sender
    trouble = ""
    if sender is not None and sender.state is SenderState.PAUSED:
        health.problems.append(f"sender: paused for {look.ago(sender.since)}: {sender.reason}")
    elif sender is not None and sender.state is SenderState.UNREACHABLE:
        trouble = f"Auditor unreachable for {look.ago(sender.since)}: {sender.reason}"
    oldest_at = status.oldest_put_at
    if oldest_at is not None and look.age_s(oldest_at) > look.config.metrics.waiting_limit_s:
        waited = f"a record has waited for {look.ago(oldest_at)}"
        health.problems.append(f"sender: {waited}{trouble and ': '}{trouble}")
    elif trouble:
        health.warnings.append(f"sender: {trouble}")


def _source(look: Look, poll: Poll) -> Iterator[str]:
    limit_s = max(look.config.metrics.source_limit_s, 2 * poll.interval_s)
    known = look.status.sources.get(poll.name)
    good_at = None if known is None else known.last_success_at
    if look.age_s(max(good_at or look.started_at, look.started_at)) > limit_s:
        last = "never" if good_at is None else f"{look.ago(good_at)} ago"
        why = f": {known.last_error}" if known and known.last_error else ""
        yield f"source {poll.name}: last good poll {last}{why}"
    if poll.lag is None:
        return
    behind_s, kept_s = poll.lag.behind_s, poll.lag.kept_s
    behind = f"source {poll.name}: {span(behind_s)} behind"
    # What the next poll is going to read in due course is no danger, however little is kept.
    if kept_s is not None and behind_s > max(kept_s / 2, poll.interval_s):
        left_s = kept_s - behind_s
        when = f"in {span(left_s)}" if left_s > 0 else "at the next rotation"
        yield (
            f"{behind}, and its log keeps {span(kept_s)} only: jobs will be lost {when} "
            "unless they are read before"
        )
    elif behind_s > limit_s:
        yield behind


def _rejections(look: Look, poll: Poll, health: Health) -> None:
    known = look.status.sources.get(poll.name)
    if known is not None and (text := str(known.tried)):
        said = health.problems if known.tried.is_red else health.warnings
        said.append(f"source {poll.name}: {text}")


def _room(look: Look) -> Iterator[str]:
    if (why := look.outbox.full()) is not None:
        yield f"outbox: full, so sources pause: {why}"
        return
    free = look.outbox.free_bytes()
    if free < look.config.metrics.free_limit_bytes:
        yield f"outbox: only {size(free)} are free in {look.outbox.path.parent}"


def _certificate(look: Look, health: Health) -> None:
    end_at = certificate_end(look.config)
    if end_at is None or end_at - look.now > _CERTIFICATE_WARNING:
        return
    path = look.config.auditor.tls.certificate
    if end_at <= look.now:
        health.problems.append(f"certificate {path}: expired at {stamp(end_at)}")
    else:
        left = span((end_at - look.now).total_seconds())
        health.warnings.append(f"certificate {path}: expires in {left}, at {stamp(end_at)}")
