"""Whatever arrives on a connection, the next client is answered, and nothing of it stays."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest
import uvicorn
from hypothesis import given
from starlette.types import Receive, Scope, Send

from app.http_limits import STATE, ConnectionLimits
from app.http_protocol import HttpProtocol
from tests.hostile import FEW, MANY, hostile

LIMITS: Final = ConnectionLimits(head_bytes=2000, headers=20, pipelined=10, head_s=2.0, body_s=2.0, rest_s=2.0)
VALID: Final = (
    b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n",
    b"GET /%41 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n",
)
PLAIN: Final = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"][STATE] = LIMITS
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    config = uvicorn.Config(application, port=0, http=HttpProtocol, ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join()


def address(server: uvicorn.Server) -> tuple[str, int]:
    return server.servers[0].sockets[0].getsockname()


def asked(server: uvicorn.Server, content: bytes) -> bytes:
    """What comes back at once."""
    found = b""
    with socket.create_connection(address(server), timeout=5) as connection, suppress(ConnectionError):
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            found += part
    return found


def is_survived(server: uvicorn.Server, content: bytes, records: pytest.LogCaptureFixture) -> None:
    records.clear()
    found = asked(server, content)
    assert found == b"" or found.startswith(b"HTTP/1.1 ")
    assert b"Traceback" not in found
    assert asked(server, PLAIN).endswith(b"\r\n\r\nok")
    assert not [record for record in records.records if record.levelno >= logging.ERROR]


@FEW
@given(content=hostile(VALID))
def test_hostile_bytes_are_answered_or_dropped(
    server: uvicorn.Server, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    is_survived(server, content, caplog)


@pytest.mark.slow
@MANY
@given(content=hostile(VALID))
def test_very_many_hostile_bytes_are_answered_or_dropped(
    server: uvicorn.Server, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    is_survived(server, content, caplog)


def test_nothing_stays(server: uvicorn.Server) -> None:
    """Connections that were left in the middle of anything are gone at once."""
    for content in VALID:
        for length in range(0, len(content), 7):
            with socket.create_connection(address(server), timeout=5) as connection:
                connection.sendall(content[:length])
    for _ in range(100):
        if not server.server_state.connections and not server.server_state.tasks:
            break
        time.sleep(0.05)
    assert not server.server_state.connections
    assert not server.server_state.tasks
