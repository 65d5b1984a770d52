"""The service: runs what a configuration asks for, replaces it on a reload, ends it."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from collector import logs
from collector.clock import Now, span, utc_now
from collector.config import Config, ConfigError
from collector.config.mistakes import Mistake
from collector.daemon.health import Reload, hanging
from collector.daemon.runtime import Runtime
from collector.daemon.signals import Events, signals_into
from collector.daemon.systemd import notify, reloading, watchdog_s
from collector.logs import Log
from collector.pipeline.assemble import Parts, assemble, make_client
from collector.pipeline.sources import make_sources

_TICK_S = 30.0
"""The main thread looks at the clock so often."""


class Daemon:
    """Runs until SIGTERM or SIGINT; takes over another configuration on SIGHUP."""

    def __init__(self, load: Callable[[], Config], log: Log, now: Now = utc_now) -> None:
        """Starts nothing.

        Args:
            load: reads the configuration, or raises ConfigError.
            log: for everything that happens.
            now: the time, aware.
        """
        self._load, self._log, self._now = load, log, now
        self._events = Events()
        self._watchdog_s = watchdog_s()
        self._reported_hanging: set[str] = set()
        self._reload_state = Reload(now())

    def run(self) -> None:
        """Runs, in the main thread.

        Raises:
            ConfigError: when the first configuration cannot be used.
            OutboxError: when the outbox cannot be opened, or is another daemon's.
            BaseException: what no poll or pass is meant to raise; the service manager restarts it.
        """
        with (
            contextlib.closing(self._events),
            signals_into(self._events),
            contextlib.ExitStack() as held,
        ):
            config: Config | None = self._load()
            ours = False
            while config is not None:
                logs.set_up(config.log.level, config.log.format)
                stop = threading.Event()
                with assemble(config, self._log, stop, self._now) as parts:
                    if not ours:  # held from the first configuration to the end of the last
                        held.enter_context(parts.outbox.held_by_daemon())
                        ours = True
                    with self._runtime(config, parts, stop) as runtime:
                        config = self._watch(runtime, config)

    def _runtime(self, config: Config, parts: Parts, stop: threading.Event) -> Runtime:
        return Runtime(
            config,
            parts,
            stop,
            events=self._events,
            reload=self._reload_state,
            log=self._log,
            now=self._now,
        )

    def _watch(self, runtime: Runtime, config: Config) -> Config | None:
        """Feeds the watchdog until there is another configuration, or None: the end."""
        tick_s = min(_TICK_S, self._watchdog_s / 2) if self._watchdog_s else _TICK_S
        while True:
            event = self._events.next(tick_s)
            runtime.correct_clock_jump()
            if self._watchdog_s is not None:
                self._feed(runtime)
            if isinstance(event, BaseException):
                raise event
            if event == "stop":
                notify(STOPPING=1, STATUS="finishing what is in flight")
                return None
            if event == "reload":
                if (changed := self._reload(config)) is not None:
                    return changed
                runtime.report()

    def _feed(self, runtime: Runtime) -> None:
        """Feeds the watchdog while everything makes progress; else lets it bite."""
        late = hanging(runtime.tasks, runtime.hanging_s)
        for task, late_s in late:
            if task.name not in self._reported_hanging:
                self._log.error(
                    "hung; systemd restarts the service", what=task.name, for_=span(late_s)
                )
        self._reported_hanging = {task.name for task, _ in late}
        if not late:
            notify(WATCHDOG=1)

    def _reload(self, config: Config) -> Config | None:
        """The new configuration, proven as far as it can be; None, if the old one stays."""
        reloading()
        try:
            changed = self._load()
            self._prove(changed, config)
        except ConfigError as error:
            self._log.error(
                "configuration refused; the old one stays",
                error=str(error),
                hint="correct it and reload again; a restart with it would fail",
            )
            self._reload_state.refused = str(error)
            self._reload_state.refused_at = self._now()
            notify(READY=1, STATUS="the changed configuration is wrong; the old one stays")
            return None
        self._reload_state = Reload(self._now())
        self._log.info("configuration changed")
        return changed

    def _prove(self, changed: Config, config: Config) -> None:
        """Raises what a start with the changed configuration would raise, if that is known."""
        if changed.outbox.path != config.outbox.path:
            text = (
                f"is {config.outbox.path} while this process runs; another one needs a restart, and"
                " what waits in this one is not moved: auditor-collector outbox flush sends it"
            )
            raise ConfigError(Path("reload"), [Mistake(0, "outbox.path", text)])
        make_sources(changed, self._log, threading.Event(), self._now)
        make_client(changed.auditor).close()
