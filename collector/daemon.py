"""The daemon: runs each source and the sender at its own interval until it is told to end.

It only schedules, starts, stops and reports; what a poll or a pass does stands in `collect.py` and
`sender.py`. Each source and the sender has one thread of the scheduler's pool, so a slow or hanging
source holds up neither the others nor the sender; a poll that is still running when the next one is
due replaces it.

End: SIGTERM or SIGINT sets the stop event. Sources finish the batch in flight, the sender its
request, everything else stays in the outbox. A crash instead of an end loses nothing: see
`outbox.py`.
"""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from collector.assemble import Log, Now, Parts, utc_now
from collector.collect import Collected, MappedSource, store
from collector.config import Config
from collector.outbox import Outbox, OutboxFullError
from collector.source import SourceError
from collector.systemd import notify

_SENDER = "sender"


class Daemon:
    """Everything that runs, put together."""

    def __init__(
        self,
        config: Config,
        parts: Parts,
        stop: threading.Event,
        log: Log,
        now: Now = utc_now,
    ) -> None:
        self._config = config
        self._polls = [Poll(source, parts.outbox, stop, log, now) for source in parts.sources]
        self._sender = parts.sender
        self._stop = stop
        self._log = log
        self._now = now
        self._broken: BaseException | None = None

    def run(self) -> None:
        """Runs until the stop event is set.

        Raises:
            BaseException: what no poll or pass is meant to raise; the service manager starts anew.
        """
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(len(self._polls) + 1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        for poll in self._polls:
            self._schedule(scheduler, poll.name, poll, poll.interval_s, spread_s=0)
        # Passes of many collectors, started together after a power cut, spread over an interval.
        interval_s = self._config.sender.interval_s
        spread_s = random.uniform(0, min(interval_s, 1))  # noqa: S311 - nothing secret
        self._schedule(scheduler, _SENDER, self._sender.run_pass, interval_s, spread_s)
        scheduler.start()
        self._log.info("started", sources=[poll.name for poll in self._polls])
        notify(READY=1, STATUS=f"{len(self._polls)} sources")
        self._stop.wait()
        notify(STOPPING=1, STATUS="finishing what is in flight")
        scheduler.shutdown(wait=True)
        self._log.info("stopped")
        if self._broken is not None:
            raise self._broken

    def _schedule(
        self,
        scheduler: BackgroundScheduler,
        name: str,
        do: Callable[[], Any],
        interval_s: float,
        spread_s: float,
    ) -> None:
        def guarded() -> None:
            """The scheduler swallows what a job raises, and goes on without it: we do not."""
            if self._stop.is_set():
                return
            try:
                do()
            except BaseException as error:  # noqa: BLE001 - any death of a thread ends the daemon
                self._log.critical("died", what=name, exc_info=True)
                self._broken = error
                self._stop.set()

        first = self._now() + timedelta(seconds=spread_s)
        scheduler.add_job(guarded, "interval", id=name, seconds=interval_s, next_run_time=first)


class Poll:
    """One source's poll: what is new goes into the outbox, what goes wrong is told once."""

    def __init__(
        self,
        mapped: MappedSource,
        outbox: Outbox,
        stop: threading.Event,
        log: Log,
        now: Now,
    ) -> None:
        self.name = mapped.name
        self.interval_s = mapped.source.section.interval_s
        self._mapped = mapped
        self._outbox = outbox
        self._stop = stop
        self._log = log.bind(source=self.name)
        self._now = now
        self._problem: str | None = None

    def __call__(self) -> None:
        """Polls once; a source that cannot be read, or a full outbox, ends this poll only."""
        started, collected = time.monotonic(), Collected()
        try:
            for batch in self._mapped.source.poll(self._outbox.checkpoint(self.name)):
                store(batch, self._mapped, self._outbox, collected, origin="poll")
                if self._stop.is_set():
                    break
        except (SourceError, OutboxFullError) as error:
            self._failed(str(error), type(error).__name__, None)
        except Exception as error:  # noqa: BLE001 - a plugin's mistake ends its poll, not the others
            self._failed(f"{type(error).__name__}: {error}", "mistake in the plugin", error)
        else:
            self._outbox.note_poll(self.name, ok=True, message="", now=self._now())
            if self._problem is not None:
                self._log.info("source works again", after=self._problem)
                self._problem = None
            emit = self._log.info if collected.read else self._log.debug
            emit("polled", **collected.counts(), seconds=round(time.monotonic() - started, 3))

    def _failed(self, message: str, kind: str, error: Exception | None) -> None:
        self._outbox.note_poll(self.name, ok=False, message=message, now=self._now())
        if self._problem != kind:
            self._log.error("source cannot be read", problem=message, exc_info=error)
        self._problem = kind


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Sets the event on SIGTERM and SIGINT, inside the `with`; only in the main thread."""
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
