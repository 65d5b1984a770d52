"""/metrics and /healthz over HTTP, on a thread of their own.

One request at a time, each of bounded size and time, no keep-alive: whatever a client does holds up
nothing but other clients of this page, and those for seconds. Between requests it sleeps. GET only;
nothing that is sent has any effect.
"""

import contextlib
import http.server
import socket
import socketserver
import threading
from collections.abc import Callable

_LIMIT_S = 5.0
_TEXT = "text/plain; charset=utf-8"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

Health = Callable[[], tuple[list[str], list[str]]]
"""Gives problems, which are answered with 503, and warnings."""


class Server:
    """Listens from the moment it is made."""

    def __init__(self, listen: str, exposition: Callable[[], bytes], health: Health) -> None:
        """Listens.

        Args:
            listen: `HOST:PORT`.
            exposition: of all metrics, for /metrics.
            health: for /healthz.

        Raises:
            OSError: when it cannot listen there.
        """
        host, _, port = listen.rpartition(":")
        self._pages = {"/metrics": _metrics(exposition), "/healthz": _health(health)}
        address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]

        class Listener(socketserver.TCPServer):
            address_family = address[0]
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away is no error of ours."""

        pages = self._pages

        class Request(_Request):
            def do_GET(self) -> None:
                self.answer(pages.get(self.path.partition("?")[0], _nothing))

        self._listener = Listener(address[4], Request)  # type: ignore[arg-type]  # IPv6 has four
        self.port: int = self._listener.server_address[1]
        """Where it listens, when 0 was asked for."""
        self._ended = False
        threading.Thread(target=self._serve, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Listens no more; a request that is being answered is dropped."""
        self._ended = True
        with contextlib.suppress(OSError):  # wakes the thread up, which else sleeps until asked
            self._listener.socket.shutdown(socket.SHUT_RDWR)
        self._listener.server_close()

    def _serve(self) -> None:
        while not self._ended:
            with contextlib.suppress(OSError, ValueError):  # of the socket that `close` closes
                self._listener.handle_request()


Page = Callable[[], tuple[int, str, bytes]]


class _Request(http.server.BaseHTTPRequestHandler):
    timeout = _LIMIT_S
    server_version, sys_version = "auditor-collector", ""

    def setup(self) -> None:
        """Ends a client that is slow on purpose: a time-out for each byte would never end."""
        super().setup()
        self._cut = threading.Timer(2 * _LIMIT_S, self._cut_off)
        self._cut.daemon = True
        self._cut.start()

    def finish(self) -> None:
        self._cut.cancel()
        super().finish()

    def answer(self, page: Page) -> None:
        """Sends a page."""
        try:
            status, kind, body = page()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is to see red
            status, kind, body = 500, _TEXT, f"{error}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Not a word for each request."""

    def _cut_off(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _metrics(exposition: Callable[[], bytes]) -> Page:
    return lambda: (200, _EXPOSITION, exposition())


def _health(health: Health) -> Page:
    def page() -> tuple[int, str, bytes]:
        problems, warnings = health()
        lines = [*problems, *(f"warning: {warning}" for warning in warnings)]
        text = "\n".join(lines or ["all is well"]) + "\n"
        return (503 if problems else 200), _TEXT, text.encode(errors="replace")

    return page


def _nothing() -> tuple[int, str, bytes]:
    return 404, _TEXT, b"there are /metrics and /healthz\n"
