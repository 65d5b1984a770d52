"""Signals as events that the main thread waits for."""

import contextlib
import queue
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

Event = Literal["stop", "reload"] | BaseException
"""What makes the daemon do something; an exception is the death of one of its threads."""


class Events:
    """What has happened, in order; put by threads and by signals, at whatever instruction.

    The main thread sleeps on a socket, which the interpreter's own signal handler writes to. A wait
    on a lock would not do: a signal between the last look and the wait would not end it.
    """

    def __init__(self) -> None:
        # The one container of Python whose put may interrupt its own get.
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._wakeup, self.wakeup_fd = socket.socketpair()
        for end in (self._wakeup, self.wakeup_fd):
            end.setblocking(False)

    def put(self, event: Event) -> None:
        """Adds an event; from any thread."""
        self._events.put(event)
        with contextlib.suppress(BlockingIOError):  # it is awake already
            self.wakeup_fd.send(b"\0")

    def next(self, wait_s: float | None) -> Event | None:
        """What to do next; None when there was nothing for so long, or nothing but a signal.

        Everything that has come by now is one event: a death before an end, an end before a reload,
        and any number of reloads is one.
        """
        come = self._drain()
        if not come:
            select.select([self._wakeup], [], [], wait_s)
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
            come = self._drain()
        deaths = [event for event in come if isinstance(event, BaseException)]
        if deaths:
            return deaths[0]
        return "stop" if "stop" in come else "reload" if come else None

    def _drain(self) -> list[Event]:
        come: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while True:
                come.append(self._events.get_nowait())
        return come

    def close(self) -> None:
        """Closes the sockets."""
        self._wakeup.close()
        self.wakeup_fd.close()


@contextlib.contextmanager
def signals_into(events: Events) -> Iterator[None]:
    """Puts an event on SIGTERM, SIGINT and SIGHUP, inside the `with`; in the main thread only."""
    actions = {
        signal.SIGTERM: lambda: events.put("stop"),
        signal.SIGINT: lambda: events.put("stop"),
        signal.SIGHUP: lambda: events.put("reload"),
    }
    with _caught(actions):
        before = signal.set_wakeup_fd(events.wakeup_fd.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)


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
