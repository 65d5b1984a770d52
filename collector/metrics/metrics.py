"""Everything that is measured, and where it can be read."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from collector.clock import Now
from collector.config import MetricsSection
from collector.logs import Log
from collector.metrics.families import PREFIX, Books, Sight
from collector.metrics.server import Server
from collector.outbox import Outbox, SenderState

# A time series more for each counter, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """Counts polls and passes; serves and writes them with what the outbox knows."""

    def __init__(
        self,
        section: MetricsSection,
        outbox: Outbox,
        sight: Sight,
        log: Log,
        now: Now,
    ) -> None:
        """Reads nothing, listens nowhere.

        Args:
            section: where to.
            outbox: whose books are read.
            sight: what the daemon knows beside it.
            log: for a server or file that cannot be.
            now: the time, aware.
        """
        self._section, self._health, self._log, self._now = section, sight.health, log, now
        self._file_problem: str | None = None
        self._server: Server | None = None
        self._registry = registry = CollectorRegistry()
        registry.register(Books(outbox, sight, now))
        ProcessCollector(registry=registry)

        def name(what: str) -> str:
            return f"{PREFIX}_{what}"

        self._polls = Counter(
            name("polls"), "Polls by result.", ["source", "result"], registry=registry
        )
        self._passes = Counter(
            name("passes"), "The sender's passes by result.", ["result"], registry=registry
        )
        self._poll_seconds = Histogram(
            name("poll_seconds"),
            "How long polls took.",
            ["source"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._pass_seconds = Histogram(
            name("pass_seconds"),
            "How long the sender's passes took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._pass_success = Gauge(
            name("sender_last_success_timestamp_seconds"),
            "When the sender's last good pass ended; 0 before the first.",
            registry=registry,
        )
        for source in sight.lags():
            self._poll_seconds.labels(source)
            for result in ("ok", "failed"):
                self._polls.labels(source, result)
        for result in (*SenderState, "elsewhere"):
            self._passes.labels(result)

    def start(self, schedule: Callable[[str, Callable[[], object], float, float], None]) -> None:
        """Begins to serve, and to write at its interval.

        Args:
            schedule: takes name, what to do, seconds between two times, seconds before the first.
        """
        if self._section.listen is not None:
            try:
                self._server = Server(self._section.listen, self.exposition, self._health)
            except OSError as error:
                # Accounting goes on; that nothing answers is what monitoring sees.
                self._log.error(
                    "metrics cannot be served", listen=self._section.listen, error=str(error)
                )
        if self._section.textfile is not None:
            schedule("textfile", self._write, self._section.textfile_interval_s, 0)

    def close(self) -> None:
        """Serves no more."""
        if self._server is not None:
            self._server.close()

    def polled(self, source: str, result: str, seconds: float) -> None:
        """Counts a poll."""
        self._polls.labels(source, result).inc()
        self._poll_seconds.labels(source).observe(seconds)

    def passed(self, result: str, seconds: float) -> None:
        """Counts a pass of the sender."""
        self._passes.labels(result).inc()
        self._pass_seconds.observe(seconds)
        if result in (SenderState.IDLE, SenderState.SENDING):
            self._pass_success.set(self._now().timestamp())

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _write(self) -> None:
        """Replaces the textfile; a reader sees the old one or the new one, whole."""
        assert self._section.textfile is not None
        try:
            write(self._section.textfile, self.exposition())
        except OSError as error:
            if self._file_problem != error.strerror:
                self._log.error("metrics cannot be written", error=str(error))
            self._file_problem = error.strerror
        else:
            self._file_problem = None


def write(path: Path, text: bytes) -> None:
    """Writes a file that everybody may read, at once.

    Raises:
        OSError: when it cannot be written; the old one stays.
    """
    # node_exporter reads *.prom; until it is whole the file has another name.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        Path(draft).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise
