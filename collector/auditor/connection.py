"""Carries requests to an Auditor and answers back, bounded in time and in memory.

A request has one deadline for everything: connecting, TLS, sending, and the whole answer, so that
a server that sends a byte now and then holds nobody up. The answer to a query is as long as it is;
there the deadline is for each piece of progress. Heads are bounded by h11 (100 kB), bodies by
`protocol.add`, records of a query by `AnswerDecoder`. No encoding is asked for and none is decoded.

Whatever else happens while an answer is read is the answer's fault, and a typed error.

httpx speaks HTTP, over a pool of connections whose every step has the time that the deadline leaves
(httpx by itself has a time-out for each step, and none for all). Neither reads the environment:
proxies, certificates and passwords are only those that are given. Cookies are not kept.
"""

import contextlib
import ssl
import time
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

from collector.auditor import protocol
from collector.auditor.errors import (
    AuditorError,
    ProtocolError,
    TimedOutError,
    UnavailableError,
)
from collector.auditor.protocol import Answer, Request
from collector.auditor.tls import Tls

_CONNECTIONS = 100
_KEPT_FOR_S = 5.0
_HEADERS = [
    ("accept", "*/*"),
    ("accept-encoding", "identity"),
    ("content-type", "application/json"),
    ("user-agent", "auditor-collector"),
]


class Deadline:
    """When a request has to be answered."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Gives the whole time again."""
        self._ends = time.monotonic() + self._seconds

    def left_s(self) -> float:
        """Seconds that are left.

        Raises:
            httpcore.TimeoutException: when none are.
        """
        left_s = self._ends - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout(f"not within {self._seconds:g} s")
        return left_s


class Connection:
    """Requests to one address; connections are kept open for the next ones, and shared by threads.

    Close it, or use it as a context manager.
    """

    def __init__(
        self, address: str, timeout_s: float, tls: Tls | None = None, proxy: str | None = None
    ) -> None:
        """Connects to nothing yet.

        Args:
            address: `http://HOST:PORT` or `https://…`, checked.
            timeout_s: for a whole answer.
            tls: for an https address.
            proxy: `http://HOST:PORT` of the proxy that all requests go through.
        """
        self.address = address
        self.timeout_s = timeout_s
        self.proxy = proxy
        parts = urlsplit(address)
        self._path = parts.path
        backend = _Backend(tls or (Tls() if parts.scheme == "https" else None))
        pool: dict[str, Any] = {
            "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody; see _Stream
            "max_connections": _CONNECTIONS,
            "keepalive_expiry": _KEPT_FOR_S,
            "network_backend": backend,
        }
        connections = (
            httpcore.ConnectionPool(**pool)
            if proxy is None
            else httpcore.HTTPProxy(*_proxy_parts(proxy), **pool)
        )
        self._transport = _Transport(connections)
        self._client = httpx.Client(
            base_url=f"{parts.scheme}://{parts.netloc}",
            headers=_HEADERS,
            transport=self._transport,
            trust_env=False,
        )

    def send(self, request: Request, timeout_s: float | None = None) -> Answer:
        """Sends a request and returns the whole answer, if it proves what was asked for.

        Args:
            request: what to send.
            timeout_s: for the whole answer; None: as given for all.

        Raises:
            AuditorError: see `errors.py`.
        """
        deadline = Deadline(timeout_s or self.timeout_s)
        with _typed_errors(request), self._opened(request, deadline) as (answer, chunks):
            body = bytearray()
            for chunk in chunks:
                protocol.add(body, chunk)
        answer = Answer(answer.status, answer.headers, bytes(body))
        protocol.raise_for_answer(request, answer)
        return answer

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[tuple[Answer, Iterator[bytes], Deadline]]:
        """Sends a query; gives the head of its answer, its pieces, and what renews the deadline.

        Raises:
            AuditorError: see `errors.py`; also later, when the answer breaks off.
        """
        deadline = Deadline(self.timeout_s)
        with contextlib.ExitStack() as stack:
            with _typed_errors(request):
                answer, chunks = stack.enter_context(self._opened(request, deadline))
                if answer.status != 200:  # noqa: PLR2004
                    body = bytearray()
                    for chunk in chunks:
                        protocol.add(body, chunk)
                    answer = Answer(answer.status, answer.headers, bytes(body))
            protocol.raise_for_answer(request, answer)
            yield answer, _with_typed_errors(request, chunks), deadline

    def close(self) -> None:
        """Closes the connections; the next request makes another."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _opened(
        self, request: Request, deadline: Deadline
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        # The deadline is read by our backend, which gives each step the time that is left.
        timeout = {"connect": deadline, "read": deadline, "write": deadline}
        extensions = {
            "timeout": {**timeout, "pool": deadline.left_s()},
            "target": f"{self._path}{request.target}".encode(),  # as it is, not quoted again
        }
        with self._client.stream(
            request.method, "/", content=request.body, extensions=extensions
        ) as response:
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers.raw
            }
            yield Answer(response.status_code, headers), response.iter_raw()


class _Body(httpx.SyncByteStream):
    """The pieces of a body, as the connection gives them."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Transport(httpx.BaseTransport):
    """Carries httpx's requests over connections of our own making; see `_Backend`."""

    def __init__(self, connections: httpcore.ConnectionPool) -> None:
        self._connections = connections

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._connections.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.extensions["target"],
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions={"timeout": request.extensions["timeout"]},
            )
        )
        headers = [one for one in response.headers if one[0].lower() != b"set-cookie"]
        return httpx.Response(response.status, headers=headers, stream=_Body(response))

    def close(self) -> None:
        self._connections.close()


@contextlib.contextmanager
def _typed_errors(request: Request) -> Iterator[None]:
    """Says in our words that no answer came, or only a part of one."""
    what = f"{request.method} {request.target.partition('?')[0]}"
    try:
        yield
    except AuditorError:
        raise
    except httpcore.TimeoutException as error:
        raise TimedOutError(f"{what}: no answer in time ({_reason(error)})") from error
    except httpcore.ProxyError as error:
        raise UnavailableError(f"{what}: the proxy says {_reason(error)}") from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        OSError,
        UnicodeError,
    ) as error:
        raise UnavailableError(f"{what}: no answer ({_reason(error)})") from error
    except Exception as error:  # hostile input: whatever it does to a library is its own fault
        raise ProtocolError(
            f"{what}: the answer cannot be read ({type(error).__name__}: {_reason(error)})"
        ) from error


def _with_typed_errors(request: Request, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces; only what happens while one is read becomes an error of the answer."""
    iterator = iter(chunks)
    while True:
        with _typed_errors(request):
            chunk = next(iterator, None)
        if chunk is None:
            return
        yield chunk


def _reason(error: BaseException) -> str:
    return str(error)[:500] or type(error).__name__


def check_proxy(url: str) -> str:
    """Returns the address of a proxy.

    Raises:
        ValueError: when it is none that can be used.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        shown = f"{parts.scheme}://{parts.hostname}"  # without a password
        raise ValueError(f"proxy {shown!r}: expected http://HOST:PORT")
    return url


def _proxy_parts(proxy: str) -> tuple[str, tuple[str, str] | None]:
    """The address of a proxy, and its login."""
    parts = urlsplit(check_proxy(proxy))
    port = 80 if parts.port is None else parts.port
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return f"http://{host}:{port}", login


def proxy_of_environment(address: str) -> str | None:
    """The proxy that the environment (`https_proxy`, `no_proxy`, …) has for an address, if any."""
    parts = urlsplit(address)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or None
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


class _Backend(httpcore.NetworkBackend):
    """Connects; each step gets the time that its request's deadline leaves."""

    def __init__(self, tls: Tls | None) -> None:
        self._inner = httpcore.SyncBackend()
        self._tls = tls

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Any = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(
            host, port, timeout.left_s(), local_address, socket_options
        )
        return _Stream(stream, self._tls)


class _Stream(httpcore.NetworkStream):
    """A connection; see `_Backend`."""

    def __init__(self, inner: httpcore.NetworkStream, tls: Tls | None) -> None:
        self._inner = inner
        self._tls = tls

    def read(self, max_bytes: int, timeout: Any = None) -> bytes:
        return self._inner.read(max_bytes, timeout.left_s())

    def write(self, buffer: bytes, timeout: Any = None) -> None:
        # In pieces, because each of them has the time-out of its own.
        for start in range(0, len(buffer), 65_536):
            self._inner.write(buffer[start : start + 65_536], timeout.left_s())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: Any = None
    ) -> httpcore.NetworkStream:
        """Begins TLS with the files as they are now; the pool's own settings are not used."""
        context = self._tls.context() if self._tls is not None else ssl_context
        return _Stream(self._inner.start_tls(context, server_hostname, timeout.left_s()), self._tls)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
