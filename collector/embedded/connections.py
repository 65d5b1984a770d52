"""The embedded Auditor's connections: bounded in time, and with the name of their certificate.

A client that sends its request, or takes its answer, a byte now and then holds a connection for
`PATIENCE_S` at most; others are served meanwhile. More than `CONNECTIONS` at a time are answered
with 503.
"""

import asyncio
import ssl
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from collector.embedded.access import COMMON_NAME

PATIENCE_S = 60.0
"""For a whole request, and for each piece of an answer to be taken, in seconds."""
CONNECTIONS = 400
"""At the same time; each may need two of the 1024 files that a process may have open."""


class Connection(H11Protocol):
    """One connection; see the head of the module."""

    patience_s = PATIENCE_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Reads who it is, and begins to wait for the first request."""
        super().connection_made(transport)
        self._waits: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {**self.app_state, COMMON_NAME: _common_name(tls)}
        self._expect_request()

    def handle_events(self) -> None:
        """Goes on with what has come in; a request that is whole ends the wait for it."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.more_body:
            self._cancel_wait()

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        self._expect_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes no more of its answer for now."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(self.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing any more."""
        super().connection_lost(exc)
        self._cancel_wait()
        if self._stuck is not None:
            self._stuck.cancel()

    def _expect_request(self) -> None:
        self._cancel_wait()
        if not self.transport.is_closing():
            self._waits = self.loop.call_later(self.patience_s, self.transport.abort)

    def _cancel_wait(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None


def _common_name(tls: ssl.SSLObject) -> str:
    """The first common name of the client's certificate; empty without one."""
    subject: Any = (tls.getpeercert() or {}).get("subject", ())
    return next(
        (value for part in subject for key, value in part if key == "commonName"),
        "",
    )
