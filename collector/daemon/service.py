"""The service: starts a shift with its configuration, relieves it by another one, ends."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from collector import logs
from collector.clock import Now, span, utc_now
from collector.config import Config, ConfigError
from collector.config.mistakes import Mistake
from collector.daemon.health import hanging
from collector.daemon.shift import Shift
from collector.daemon.signals import Events, signals_into
from collector.daemon.systemd import notify, reloading, watchdog_s
from collector.logs import Log
from collector.pipeline.assemble import assemble, make_client
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
        self._told_hanging: set[str] = set()

    def run(self) -> None:
        """Runs, in the main thread.

        Raises:
            ConfigError: when the first configuration cannot be used.
            OutboxError: when the outbox cannot be opened, or is another daemon's.
            BaseException: what no poll or pass is meant to raise; the service manager starts anew.
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
                    if not ours:  # held from the first shift to the end of the last
                        held.enter_context(parts.outbox.held_by_daemon())
                        ours = True
                    with Shift(config, parts, stop, self._events, self._log, self._now) as shift:
                        config = self._watch(shift, config)

    def _watch(self, shift: Shift, config: Config) -> Config | None:
        """Feeds the watchdog until there is another configuration, or None: the end."""
        tick_s = min(_TICK_S, self._watchdog_s / 2) if self._watchdog_s else _TICK_S
        while True:
            event = self._events.next(tick_s)
            shift.mind_the_clock()
            if self._watchdog_s is not None:
                self._feed(shift)
            if isinstance(event, BaseException):
                raise event
            if event == "stop":
                notify(STOPPING=1, STATUS="finishing what is in flight")
                return None
            if event == "reload" and (changed := self._reload(config)) is not None:
                return changed

    def _feed(self, shift: Shift) -> None:
        """Tells the watchdog that everything gets on; tells nothing when something does not."""
        late = hanging(shift.works, shift.hanging_s)
        for work, late_s in late:
            if work.name not in self._told_hanging:
                self._log.error("hangs; systemd will start anew", what=work.name, for_=span(late_s))
        self._told_hanging = {work.name for work, _ in late}
        if not late:
            notify(WATCHDOG=1)

    def _reload(self, config: Config) -> Config | None:
        """The new configuration, proven as far as it can be; None, if the old one stays."""
        reloading()
        try:
            changed = self._load()
            self._prove(changed, config)
        except ConfigError as error:
            self._log.error("configuration is wrong; the old one stays", problem=str(error))
            notify(READY=1, STATUS="the changed configuration is wrong; the old one stays")
            return None
        self._log.info("configuration changed")
        return changed

    def _prove(self, changed: Config, config: Config) -> None:
        """Raises what a start with the changed configuration would raise, if that is known."""
        if changed.outbox.path != config.outbox.path:
            text = f"is {config.outbox.path} while this process runs; another one needs a restart"
            raise ConfigError(Path("reload"), [Mistake(0, "outbox.path", text)])
        make_sources(changed, self._log, threading.Event(), self._now)
        make_client(changed.auditor).close()
