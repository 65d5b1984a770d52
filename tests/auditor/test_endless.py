"""An Auditor whose answer never ends costs no memory, and is told."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from collector.auditor.client import AuditorClientBuilder
from collector.auditor.protocol import ProtocolError


@pytest.fixture(params=[200, 500])
def endless(request: pytest.FixtureRequest) -> Iterator[str]:
    """Answers everything with a body without end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 %d X\r\n\r\n" % request.param)
                    try:
                        while True:
                            connection.sendall(b" " * 65_536)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_endless_answer_is_cut_off(endless: str):
    """To every kind of request, of both clients, after a few megabytes."""
    builder = AuditorClientBuilder().connection_string(endless)
    with builder.build_blocking() as client:
        for call in (client.check, lambda: client.bulk_insert_encoded([b"{}"])):
            with pytest.raises(ProtocolError, match="bytes"):
                call()
        with pytest.raises(ProtocolError, match="bytes"):
            client.get_single_record("r")

    async def ask() -> None:
        async with builder.build() as client:
            await client.get_single_record("r")

    with pytest.raises(ProtocolError, match="bytes"):
        asyncio.run(ask())


def test_an_endless_answer_to_a_query_is_cut_off(endless: str):
    """White space, or an error, without end."""
    with (
        AuditorClientBuilder().connection_string(endless).build_blocking() as client,
        pytest.raises(ProtocolError, match=r"bytes|too long"),
    ):
        list(client.stream_query())
