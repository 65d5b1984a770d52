"""What is wrong, in words; nothing, if all is well."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from collector.clock import span
from collector.config import Config
from collector.daemon.poll import Poll
from collector.daemon.work import Work
from collector.outbox import Outbox, SenderState, Status

HANGING_S = 900.0
"""Something that did not get on for so long hangs, if systemd does not say otherwise."""


def problems(
    config: Config,
    status: Status,
    polls: Sequence[Poll],
    works: Iterable[Work],
    outbox: Outbox,
    *,
    hanging_s: float,
    started_at: datetime,
    now: datetime,
) -> list[str]:
    """What somebody should look at, the most certain first; empty if all is well.

    Args:
        config: its `metrics:` holds the limits.
        status: of the outbox.
        polls: of the sources.
        works: everything that is done again and again.
        outbox: where records wait.
        hanging_s: what did not get on for so long hangs.
        started_at: what did not happen since then may still come.
        now: the time, aware.
    """
    late = hanging(works, hanging_s)
    found = [f"{work.name}: no progress for {span(seconds)}" for work, seconds in late]
    found += _sender(config, status, now)
    for poll in polls:
        found += _source(config, status, poll, started_at, now)
    found += _room(config, outbox)
    return found


def hanging(works: Iterable[Work], limit_s: float) -> list[tuple[Work, float]]:
    """What has not got on within a limit, and for how many seconds."""
    late = [(work, work.late_s()) for work in works]
    return [(work, seconds) for work, seconds in late if seconds > limit_s]


def _sender(config: Config, status: Status, now: datetime) -> Iterator[str]:
    sender, limit_s = status.sender, config.metrics.waiting_limit_s
    if sender is not None and sender.state is SenderState.PAUSED:
        yield f"sender: paused for {span(_age(sender.since, now))}: {sender.reason}"
    if status.oldest_put_at is not None and _age(status.oldest_put_at, now) > limit_s:
        why = (
            f": {sender.reason}"
            if sender is not None and sender.state is SenderState.UNREACHABLE
            else ""
        )
        yield f"sender: a record has waited for {span(_age(status.oldest_put_at, now))}{why}"


def _source(
    config: Config, status: Status, poll: Poll, started_at: datetime, now: datetime
) -> Iterator[str]:
    limit_s = max(config.metrics.source_limit_s, 2 * poll.interval_s)
    known = status.sources.get(poll.name)
    good_at = None if known is None else known.last_success_at
    if _age(max(good_at or started_at, started_at), now) > limit_s:
        last = "never" if good_at is None else f"{span(_age(good_at, now))} ago"
        why = f": {known.last_error}" if known and known.last_error else ""
        yield f"source {poll.name}: last good poll {last}{why}"
    if poll.lag is None:
        return
    behind_s, kept_s = poll.lag.behind_s, poll.lag.kept_s
    # What the next poll is going to read in due course is no danger, however little is kept.
    if kept_s is not None and behind_s > max(kept_s / 2, poll.interval_s):
        yield (
            f"source {poll.name}: {span(behind_s)} behind, and its log keeps {span(kept_s)} only: "
            "jobs will be lost"
        )
    elif behind_s > limit_s:
        yield f"source {poll.name}: {span(behind_s)} behind"


def _room(config: Config, outbox: Outbox) -> Iterator[str]:
    if (why := outbox.full()) is not None:
        yield f"outbox: full, so sources pause: {why}"
        return
    free = outbox.free_bytes()
    if free < config.metrics.free_limit_bytes:
        yield f"outbox: {free} bytes are free in {outbox.path.parent}"


def line(status: Status, wrong: Sequence[str], now: datetime) -> str:
    """How it is, in one line for `systemctl status`."""
    waiting = f"{status.waiting} waiting"
    if status.oldest_put_at is not None:
        waiting += f" (oldest {span(_age(status.oldest_put_at, now))})"
    return f"{waiting}; {'; '.join(wrong) or 'all is well'}"


def _age(instant: datetime, now: datetime) -> float:
    return max(0.0, (now - instant).total_seconds())
