"""What runs under one configuration, from its start to its end."""

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from collector.clock import Now
from collector.config import Config
from collector.daemon.health import HANGING_S, Health, Look, Reload, judge, line
from collector.daemon.periodic import PeriodicTask, Progressed
from collector.daemon.poll import Poll
from collector.daemon.signals import Events
from collector.daemon.systemd import listening, notify, watchdog_s
from collector.logs import Log, counted
from collector.outbox import OutboxError
from collector.pipeline.assemble import Parts, certificate_end
from collector.source import Lag

if TYPE_CHECKING:
    from collector.metrics import Metrics

_SENDER = "sender"
_ENDING_LIMIT_S = 300.0
"""What is in flight may take so long; more than any answer of an Auditor does."""
_SOURCES_LIMIT_S = 10.0
"""A source that hangs (a dead NFS server, a pipe without a writer) is not waited for longer."""
_EXTEND_S = 5.0
_LOOK_S = 0.5
_GIVE_BACK_S = 0.2
_SET_BACK_S = 2.0
"""Less is the clock being trimmed."""


class Runtime:
    """Sources and sender at work, inside the `with`."""

    def __init__(
        self,
        config: Config,
        parts: Parts,
        stop: threading.Event,
        *,
        events: Events,
        reload: Reload,
        log: Log,
        now: Now,
    ) -> None:
        """Makes everything ready; starts nothing.

        Args:
            config: of which it is made.
            parts: what it runs.
            stop: the one that the parts look at; set at the end.
            events: gets the death of a thread.
            reload: how the last reload of the configuration went.
            log: for start and end.
            now: the time, aware.
        """
        self._config, self._parts, self._stop, self._reload = config, parts, stop, reload
        self._events, self._log, self._now = events, log, now
        self._started_at = now()
        # Systemd expects to hear of them twice in its time.
        watchdog = watchdog_s()
        self.hanging_s = HANGING_S if watchdog is None else watchdog / 2
        self._clock_s = self._clock_ahead_s()
        self._polls = [Poll(source, parts.outbox, stop, log, now) for source in parts.sources]
        parts.outbox.on_replaced = self._outbox_replaced
        self._metrics = self._make_metrics()
        self.tasks = [
            PeriodicTask(poll.name, poll.interval_s, poll, done=self._polled(poll))
            for poll in self._polls
        ]
        self.tasks.append(
            PeriodicTask(_SENDER, config.sender.interval_s, self._pass, done=self._passed)
        )
        # It would report each time that a poll is skipped because the one before still runs.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(len(self.tasks) + 1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def __enter__(self) -> Self:
        for task in self.tasks:
            # Passes of many collectors, started together after a power cut, spread over an
            # interval; polls ask nobody but their own machine.
            spread_s = random.uniform(0, task.interval_s) if task.name == _SENDER else 0  # noqa: S311 - nothing secret
            self._schedule(task.name, task, task.interval_s, spread_s)
        if self._metrics is not None:
            self._metrics.start(self._schedule)
        self._scheduler.start()
        self._log.info("started", sources=[poll.name for poll in self._polls])
        notify(READY=1, STATUS=f"starting: {counted(len(self._polls), 'source')}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for what is in flight; what hangs is cut off, which loses nothing."""
        self._stop.set()
        if self._metrics is not None:
            self._metrics.close()
        ending = threading.Thread(target=self._scheduler.shutdown, name="ending", daemon=True)
        ending.start()
        until = time.monotonic() + _ENDING_LIMIT_S
        sources_until = time.monotonic() + _SOURCES_LIMIT_S
        while ending.is_alive():
            if time.monotonic() > until:
                self._cut_off([task.name for task in self.tasks if task.busy])
            busy = [task.name for task in self.tasks if task.busy]
            if busy and _SENDER not in busy and time.monotonic() > sources_until:
                self._cut_off(busy)
            notify(EXTEND_TIMEOUT_USEC=int(4 * _EXTEND_S * 1e6))
            ending.join(_LOOK_S)
        with contextlib.suppress(OutboxError):
            self._parts.outbox.keep_in_place()  # what it holds is gone when it is closed
        self._log.info("stopped")

    def _cut_off(self, busy: list[str]) -> NoReturn:
        """Ends the process although a thread hangs; as a crash, it loses nothing."""
        with contextlib.suppress(OutboxError):
            self._parts.outbox.keep_in_place()
        self._log.error("hung at the end, and was cut off; nothing is lost", busy=busy)
        os._exit(1)  # the interpreter itself would wait for its threads

    def correct_clock_jump(self) -> None:
        """Brings forward what is scheduled by a clock that was set back, or it would wait so long.

        A clock that is set forward, or stood still while the machine was suspended, needs nothing:
        what was missed is done once.
        """
        before, self._clock_s = self._clock_s, self._clock_ahead_s()
        back = timedelta(seconds=before - self._clock_s)
        if back.total_seconds() > _SET_BACK_S:
            for job in self._scheduler.get_jobs():
                if job.next_run_time is not None:
                    job.modify(next_run_time=job.next_run_time - back)
            self._log.warning("clock was set back", by_s=round(back.total_seconds()))

    @staticmethod
    def _clock_ahead_s() -> float:
        """How far the clock is ahead of one that nobody sets."""
        return time.time() - time.monotonic()

    def health(self) -> Health:
        """What is wrong, and what might become so."""
        return judge(self._look())

    def report(self) -> None:
        """Says to systemd how it is, unless it ends."""
        if listening() and not self._stop.is_set():
            look = self._look()
            notify(STATUS=line(look, judge(look)))

    def _look(self) -> Look:
        return Look(
            self._config,
            self._parts.outbox.status(),
            self._polls,
            self.tasks,
            self._parts.outbox,
            self._reload,
            self.hanging_s,
            self._started_at,
            self._now(),
        )

    def _pass(self, progressed: Progressed) -> str:
        result = self._parts.sender.run_pass(progressed)
        return "elsewhere" if result.elsewhere else result.state

    def _outbox_replaced(self, aside: Path | None) -> None:
        self._log.error(
            "wrote the outbox file again; nothing is lost",
            error="it was removed, moved or replaced while the collector runs",
            path=str(self._parts.outbox.path),
            other_file_kept_as=None if aside is None else str(aside),
            hint="leave outbox.db, -wal and -shm alone while it runs (a tidy-up job, a restore?)",
        )

    def _passed(self, result: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.passed(result, seconds)
        self.report()
        with contextlib.suppress(OutboxError):  # another process writes; another time
            self._parts.outbox.give_back(_GIVE_BACK_S)

    def _polled(self, poll: Poll) -> Callable[[str, float], None]:
        def done(result: str, seconds: float) -> None:
            if self._metrics is not None:
                self._metrics.polled(poll.name, result, seconds)

        return done

    def _make_metrics(self) -> "Metrics | None":
        section = self._config.metrics
        if section.listen is None and section.textfile is None:
            return None
        # Costs memory, which a daemon without metrics does not pay.
        from collector.metrics import Metrics, Sight  # noqa: PLC0415

        return Metrics(
            section,
            self._parts.outbox,
            Sight(self._lags, self._said, self._reload, certificate_end(self._config)),
            self._log,
            self._now,
        )

    def _said(self) -> tuple[list[str], list[str]]:
        """Problems and warnings."""
        found = self.health()
        return found.problems, found.warnings

    def _lags(self) -> dict[str, Lag | None]:
        """How far each source is behind."""
        return {poll.name: poll.lag for poll in self._polls}

    def _schedule(
        self, name: str, do: Callable[[], object], interval_s: float, spread_s: float
    ) -> None:
        def guarded() -> None:
            """Ends the daemon with what a job raises, which the scheduler would swallow."""
            if self._stop.is_set():
                return
            try:
                do()
            except BaseException as error:  # noqa: BLE001 - any death of a thread ends the daemon
                self._log.critical("died", what=name, exc_info=True)
                self._events.put(error)

        first = self._now() + timedelta(seconds=spread_s)
        self._scheduler.add_job(
            guarded, "interval", id=name, seconds=interval_s, next_run_time=first
        )
