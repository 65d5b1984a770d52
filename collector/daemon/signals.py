"""Signals as events that the main thread waits for."""

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

Event = Literal["stop", "reload"] | BaseException
"""What makes the daemon do something; an exception is the death of one of its threads."""


class Events:
    """What has happened, in order; put by threads and by signals, at whatever instruction."""

    def __init__(self) -> None:
        # The one container of Python whose put may interrupt its own get.
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.put = self._events.put

    def next(self, wait_s: float | None) -> Event | None:
        """The next event; None when there was none for so long."""
        try:
            return self._events.get(timeout=wait_s)
        except queue.Empty:
            return None


@contextlib.contextmanager
def signals_into(events: Events) -> Iterator[None]:
    """Puts an event on SIGTERM, SIGINT and SIGHUP, inside the `with`; in the main thread only."""
    with _caught(
        {
            signal.SIGTERM: lambda: events.put("stop"),
            signal.SIGINT: lambda: events.put("stop"),
            signal.SIGHUP: lambda: events.put("reload"),
        }
    ):
        yield


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Sets the event on SIGTERM and SIGINT, inside the `with`; in the main thread only."""
    with _caught({signal.SIGTERM: stop.set, signal.SIGINT: stop.set}):
        yield


@contextlib.contextmanager
def _caught(actions: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda *_, do=action: do())
        for number, action in actions.items()
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
