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
        self._bell, self.rope = socket.socketpair()
        for end in (self._bell, self.rope):
            end.setblocking(False)

    def put(self, event: Event) -> None:
        """Adds an event; from any thread."""
        self._events.put(event)
        with contextlib.suppress(BlockingIOError):  # it rings already
            self.rope.send(b"\0")

    def next(self, wait_s: float | None) -> Event | None:
        """The next event; None when there was none for so long, or nothing but a signal."""
        with contextlib.suppress(queue.Empty):
            return self._events.get_nowait()
        select.select([self._bell], [], [], wait_s)
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)
        with contextlib.suppress(queue.Empty):
            return self._events.get_nowait()
        return None

    def close(self) -> None:
        """Closes the sockets."""
        self._bell.close()
        self.rope.close()


@contextlib.contextmanager
def signals_into(events: Events) -> Iterator[None]:
    """Puts an event on SIGTERM, SIGINT and SIGHUP, inside the `with`; in the main thread only."""
    actions = {
        signal.SIGTERM: lambda: events.put("stop"),
        signal.SIGINT: lambda: events.put("stop"),
        signal.SIGHUP: lambda: events.put("reload"),
    }
    with _caught(actions):
        before = signal.set_wakeup_fd(events.rope.fileno(), warn_on_full_buffer=False)
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
