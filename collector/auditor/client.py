"""The clients: `AuditorClient` (async) and `AuditorClientBlocking`, made by a builder."""

import operator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Self

from collector.auditor import protocol
from collector.auditor.awaited import AuditorClient
from collector.auditor.blocking import AuditorClientBlocking
from collector.auditor.connection import Connection, check_proxy
from collector.auditor.tls import Tls

__all__ = ["AuditorClient", "AuditorClientBlocking", "AuditorClientBuilder"]

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_SEND_INTERVAL_S = 60.0
_TIMEOUT_LIMIT_S = 10.0**9


class AuditorClientBuilder:
    """Collects where the Auditor is and how to reach it; then builds a client.

    Each method changes the builder and returns it.
    """

    def __init__(self) -> None:
        self._address = "http://127.0.0.1:8080"
        self._timeout_s = DEFAULT_TIMEOUT_S
        self._certificate: tuple[Path, Path] | None = None
        self._ca: Path | None = None
        self._proxy: str | None = None
        self._plain = False
        self._database: str | Path | None = None
        self._send_interval_s = DEFAULT_SEND_INTERVAL_S

    def address(self, address: str, port: int) -> Self:
        """Sets host and port, to be reached over HTTP, or over HTTPS after `with_tls`.

        Args:
            address: a host name or an address; `http://` or `https://` may be before it.
            port: a number.

        Raises:
            ValueError: when they are none.
        """
        scheme, separator, host = address.rpartition("://")
        if host.count(":") > 1 and not host.startswith("["):
            host = f"[{host}]"
        scheme = scheme if separator else "http"
        return self.connection_string(f"{scheme}://{host}:{operator.index(port)}")

    def connection_string(self, connection_string: str) -> Self:
        """Sets the whole address, `http://HOST:PORT` or `https://HOST:PORT`.

        Raises:
            ValueError: when it is none.
        """
        self._address = protocol.check_address(connection_string)
        return self

    def timeout(self, timeout: float) -> Self:
        """Sets how long to wait for a whole answer, in seconds.

        For the answer to a query, which may be of any length, it is the time for each record.
        """
        if not 0 < timeout < _TIMEOUT_LIMIT_S:
            raise ValueError(f"timeout {timeout!r}: expected a number of seconds above 0")
        self._timeout_s = float(timeout)
        return self

    def with_tls(
        self,
        client_cert_path: str | Path,
        client_key_path: str | Path,
        ca_cert_path: str | Path | None = None,
    ) -> Self:
        """Sets the PEM files of the client's certificate, its key, and the CA of the server.

        The address becomes an HTTPS one. Without a CA the system's are trusted.
        """
        self._certificate = (Path(client_cert_path), Path(client_key_path))
        return self if ca_cert_path is None else self.with_ca(ca_cert_path)

    def with_ca(self, ca_cert_path: str | Path) -> Self:
        """Sets the PEM file of the CA of the server, for one that asks for no certificate.

        The address becomes an HTTPS one.
        """
        self._ca = Path(ca_cert_path)
        return self

    def proxy(self, proxy: str | None) -> Self:
        """Sets the proxy that all requests go through, `http://HOST:PORT`; None: straight.

        The environment's proxies are not used, unless they are given here: see
        `collector.auditor.connection.proxy_of_environment`.
        """
        self._proxy = None if proxy is None else check_proxy(proxy)
        return self

    def database_path(self, path: str | Path) -> Self:
        """Sets the file of `build_queued`; `:memory:`: a queue that ends with its client."""
        self._database = path
        return self

    def send_interval(self, interval: float) -> Self:
        """Sets the seconds between two tries of `build_queued` to send."""
        if not interval > 0:
            raise ValueError(f"send_interval {interval!r}: expected a number of seconds above 0")
        self._send_interval_s = float(interval)
        return self

    def plain_errors(self) -> Self:
        """Leaves out the beginnings of error messages by which programs for pyauditor know them."""
        self._plain = True
        return self

    def build(self) -> AuditorClient:
        """Builds a client for async code.

        Raises:
            ValueError: when the TLS files cannot be used; names the file.
        """
        return AuditorClient(self.build_blocking())

    def build_blocking(self) -> AuditorClientBlocking:
        """Builds a client for everything else.

        Raises:
            ValueError: when the TLS files cannot be used; names the file.
        """
        address, tls = self._address, None
        if self._certificate or self._ca:
            address = address.replace("http://", "https://", 1)
        if address.startswith("https://"):
            tls = Tls(self._certificate, self._ca)
        connection = Connection(address, self._timeout_s, tls, self._proxy)
        return AuditorClientBlocking(connection, plain_errors=self._plain)

    async def build_queued(self) -> Any:
        """Builds a `QueuedAuditorClient`: what it takes is on disk, and sent when it can be.

        Raises:
            ValueError: when the TLS files cannot be used; names the file.
            OutboxError: when the queue cannot be opened.
        """
        return queued_client()(self.build_blocking(), self._database, self._send_interval_s)


def queued_client() -> Any:
    """The class `QueuedAuditorClient`.

    It is found by its entry point: it needs outbox and sender, of which a client knows nothing.
    """
    (found,) = entry_points(group="collector.clients", name="queued")
    return found.load()
