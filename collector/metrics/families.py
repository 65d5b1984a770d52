"""What the outbox's books say, as metrics."""

import platform
import shutil
import typing
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from collector.clock import Now
from collector.outbox import Kind, Origin, Outbox, Outcome, SenderState, Status, Tried
from collector.source import Lag

PREFIX = "auditor_collector"

Lags = Callable[[], Mapping[str, Lag | None]]
"""Gives how far each source is behind, by its name; None where that is not known."""

_COUNTERS = {
    "read": ("jobs_read", "Jobs that sources have read."),
    "stops_read": ("stops_read", "Stop times of running jobs that sources have read."),
    Outcome.QUEUED: ("records_queued", "New records that were put into the outbox."),
    Outcome.MERGED: ("records_merged", "Stop times that joined their waiting record."),
    Outcome.STOP_QUEUED: ("stops_queued", "Stop times that were put into the outbox."),
    Outcome.KNOWN: ("records_known", "Records that were waiting or sent already."),
    Outcome.UNMAPPABLE: ("jobs_unmappable", "Jobs of which no record could be made."),
    "suspicious": ("records_suspicious", "Records of jobs with impossible values."),
    Outcome.SENT: ("records_sent", "Records that the Auditor stored."),
    Outcome.STOP_SENT: ("stops_sent", "Stop times that the Auditor stored."),
    Outcome.ALREADY_THERE: ("records_already_there", "Records that the Auditor had already."),
    Outcome.ALREADY_THERE_UNREAD: (
        "records_already_there_unread",
        "Records whose id the Auditor had already, under a role that may not read it.",
    ),
    Outcome.REFUSED: ("records_refused", "Records that the Auditor refuses."),
    Outcome.COLLISION: ("records_colliding", "Records whose id another run has."),
}
"""What is counted → name and help of its counter. Filtered jobs have a label more, below;
`retrying` is a state, not a count."""


class Reload(Protocol):
    """How the last reload of the configuration went."""

    succeeded_at: datetime
    refused_at: datetime | None


class Sight(NamedTuple):
    """What the daemon knows beside the outbox."""

    lags: Lags
    """Of all sources that are configured; Prometheus misses a counter's first step if it was not 0
    before."""
    health: Callable[[], tuple[list[str], list[str]]]
    """Problems, which make it red, and warnings."""
    reload: Reload
    certificate_end_at: datetime | None
    """When the client certificate in use ends; None without one."""


class Books(Collector):
    """Reads the outbox's status, and how far sources are behind, each time that it is asked."""

    def __init__(self, outbox: Outbox, sight: Sight, now: Now) -> None:
        """Reads nothing.

        Args:
            outbox: whose books.
            sight: what the daemon knows beside it.
            now: the time, aware.
        """
        self._outbox, self._sight, self._now = outbox, sight, now

    def describe(self) -> list[Metric]:
        """Nothing, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        status, lags = self._outbox.status(), self._sight.lags()
        yield from _counters(status, lags)
        yield from self._waiting(status)
        yield from _sources(status, lags)
        yield from _lagging(lags)
        yield from _sender(status)
        yield from self._configuration()
        yield _gauge(
            "healthy", "1 if all is well, else 0; /healthz says why.", not self._sight.health()[0]
        )
        yield _gauge(
            "metrics_timestamp_seconds", "When these metrics were made.", self._now().timestamp()
        )
        build = GaugeMetricFamily(
            f"{PREFIX}_build_info", "1; what runs here.", labels=["version", "python"]
        )
        build.add_metric([version("auditor-collector"), platform.python_version()], 1)
        yield build

    def _configuration(self) -> Iterator[Metric]:
        reload, end_at = self._sight.reload, self._sight.certificate_end_at
        yield _gauge(
            "config_last_reload_successful",
            "1 if the newest configuration is in use; 0 while it is refused.",
            reload.refused_at is None,
        )
        yield _gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read.",
            reload.succeeded_at.timestamp(),
        )
        if end_at is not None:
            yield _gauge(
                "certificate_expiry_timestamp_seconds",
                "When the client certificate ends.",
                end_at.timestamp(),
            )

    def _waiting(self, status: Status) -> Iterator[Metric]:
        now, oldest_at = self._now(), status.oldest_put_at
        age_s = 0.0 if oldest_at is None else max(0.0, (now - oldest_at).total_seconds())
        yield _gauge("waiting_records", "Records that wait for the Auditor.", status.waiting)
        yield _gauge("waiting_bytes", "Size of the records that wait.", status.waiting_bytes)
        yield _gauge("oldest_waiting_seconds", "How long the oldest of them has waited.", age_s)
        yield _gauge(
            "open_records", "Records of runs that have not ended yet.", status.open_records
        )
        free = shutil.disk_usage(self._outbox.path.parent).free
        yield _gauge("free_bytes", "Room on the outbox's file system.", free)
        rejected = GaugeMetricFamily(
            f"{PREFIX}_rejected_records", "Rejected records that are kept.", labels=["kind"]
        )
        for kind in typing.get_args(Kind):
            rejected.add_metric([kind], status.rejected.get(kind, 0))
        yield rejected


def _tried(status: Status, sources: Iterable[str]) -> Iterator[Metric]:
    share = GaugeMetricFamily(
        f"{PREFIX}_source_rejected_share",
        "Of the newest hundred jobs that no rule leaves out, the share without a record, 0 to 1.",
        labels=["source"],
    )
    red = GaugeMetricFamily(
        f"{PREFIX}_source_rejecting",
        "1 if these are over half, and of several users or of all: /healthz is red, and says why.",
        labels=["source"],
    )
    for name in sources:
        tried = status.sources[name].tried if name in status.sources else Tried()
        share.add_metric([name], tried.share)
        red.add_metric([name], tried.is_red)
    yield share
    yield red


def _counters(status: Status, sources: Collection[str]) -> Iterator[Metric]:
    sums = Counter(
        {
            (source, str(Origin.POLL), str(outcome), ""): 0
            for source in sources
            for outcome in _COUNTERS
        }
    )
    for (source, origin, outcome, detail), number in status.counts.items():
        if source not in sources:  # no longer configured
            continue
        # Each backfill has a name of its own, which would be a time series of its own.
        sums[
            source,
            Origin.family(origin),
            outcome,
            detail if outcome == Outcome.FILTERED else "",
        ] += number
    for outcome, (what, text) in _COUNTERS.items():
        counter = CounterMetricFamily(f"{PREFIX}_{what}", text, labels=["source", "origin"])
        for (source, origin, found, _), number in sums.items():
            if found == outcome:
                counter.add_metric([source, origin], number)
        yield counter
    filtered = CounterMetricFamily(
        f"{PREFIX}_jobs_filtered",
        "Jobs that are not to be accounted.",
        labels=["source", "origin", "reason"],
    )
    for (source, origin, found, reason), number in sums.items():
        if found == Outcome.FILTERED:
            filtered.add_metric([source, origin, reason], number)
    yield filtered


def _sources(status: Status, configured: Collection[str]) -> Iterator[Metric]:
    success = GaugeMetricFamily(
        f"{PREFIX}_source_last_success_timestamp_seconds",
        "When the source's last good poll ended.",
        labels=["source"],
    )
    failing = GaugeMetricFamily(
        f"{PREFIX}_source_failing", "1 if the source's last poll failed.", labels=["source"]
    )
    for name, source in status.sources.items():
        if name not in configured:
            continue
        if source.last_success_at is not None:
            success.add_metric([name], source.last_success_at.timestamp())
        failing.add_metric([name], source.last_error is not None)
    yield success
    yield failing
    yield from _tried(status, configured)


def _lagging(lags: Mapping[str, Lag | None]) -> Iterator[Metric]:
    behind = GaugeMetricFamily(
        f"{PREFIX}_source_behind_seconds",
        "Age of the oldest accounting that the source has yet to read.",
        labels=["source"],
    )
    kept = GaugeMetricFamily(
        f"{PREFIX}_source_kept_seconds",
        "How far back the scheduler's own log reaches.",
        labels=["source"],
    )
    for name, lag in lags.items():
        if lag is not None:
            behind.add_metric([name], lag.behind_s)
            if lag.kept_s is not None:
                kept.add_metric([name], lag.kept_s)
    yield behind
    yield kept


def _sender(status: Status) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        f"{PREFIX}_sender_state",
        "1 for the state that the sender is in: idle, sending, unreachable (the Auditor does not "
        "answer), paused (somebody has to act).",
        labels=["state"],
    )
    found = SenderState.IDLE if status.sender is None else status.sender.state
    for name in SenderState:
        state.add_metric([name], name == found)
    yield state
    if status.sender is not None:
        yield _gauge(
            "sender_state_since_timestamp_seconds",
            "When it entered that state.",
            status.sender.since.timestamp(),
        )


def _gauge(what: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{what}", text, value=value)
