"""Over real connections: nothing that a client draws out lasts, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.http_limits import STATE, ConnectionLimits
from app.http_protocol import HttpProtocol
from tests import served as process

QUICK = ConnectionLimits(
    connections=4, head_bytes=2000, headers=20, pipelined=10, head_s=0.4, body_s=0.4, bytes_per_s=1e6, rest_s=0.4,
    answer_s=0.4,
)  # fmt: skip
PATIENT_S = 20.0
LARGE = 30_000_000


@dataclass
class Seen:
    """What the application saw of its requests."""

    bodies: list[bytes] = field(default_factory=list)
    left: int = 0
    sending: int = 0


@dataclass
class Served:
    port: int
    seen: Seen
    server: uvicorn.Server
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


@contextlib.asynccontextmanager
async def served(limits: ConnectionLimits = QUICK) -> AsyncIterator[Served]:
    seen = Seen()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body and answers; `/early` answers without reading, `/large` at length, `/stream` without end."""
        if scope["type"] == "lifespan":
            await receive()
            scope["state"][STATE] = limits
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                seen.left += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        seen.bodies.append(body)
        answer = b"x" * (LARGE if scope["path"] == "/large" else 2)
        headers = [] if scope["path"] == "/stream" else [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while scope["path"] == "/stream" and (seen.sending or not seen.left):
            seen.sending = 1
            await send({"type": "http.response.body", "body": b"y" * 100_000, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(application, port=0, http=HttpProtocol, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    service = Served(server.servers[0].sockets[0].getsockname()[1], seen, server)
    try:
        yield service
    finally:
        for writer in service.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await server.shutdown()


def over_sockets(case: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Make a test of a coroutine, with an end to its patience."""

    def test() -> None:
        async def patiently() -> None:
            await asyncio.wait_for(case(), PATIENT_S)

        asyncio.run(patiently())

    test.__name__, test.__doc__ = case.__name__, case.__doc__
    return test


def head(path: str = "/", *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode()


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(lines.split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(lines.split()[1]), await reader.readexactly(length)


async def problem_of(reader: asyncio.StreamReader) -> str:
    """The kind of problem that the next answer is."""
    status, body = await answered(reader)
    found = json.loads(body)
    assert found["status"] == status
    return found["type"].rpartition("/")[2]


async def trickle(writer: asyncio.StreamWriter, data: bytes, pause_s: float = 0.05) -> None:
    """Send a byte at a time, until there is nobody to send it to."""
    with contextlib.suppress(ConnectionError):
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(pause_s)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection without another word."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")


# --- slow clients -----------------------------------------------------------------------------------------------------


@over_sockets
async def test_a_body_that_arrives_a_byte_at_a_time() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head("/", "Content-Length: 1000"))
        slowly = asyncio.ensure_future(trickle(writer, b"z" * 1000))
        assert await problem_of(reader) == "request-timeout"
        writer.close()
        await slowly
        assert service.seen.bodies == []
        assert service.seen.left == 1


@over_sockets
async def test_a_chunked_body_that_stops() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head("/", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        assert await problem_of(reader) == "request-timeout"


@over_sockets
async def test_a_head_that_never_ends() -> None:
    async with served() as service:
        reader, writer = await service.open()
        slowly = asyncio.ensure_future(trickle(writer, b"GET / HTTP/1.1\r\nX-Slow: " + b"a" * 500))
        assert await problem_of(reader) == "request-timeout"
        assert await is_closed(reader)
        writer.close()
        await slowly


@over_sockets
async def test_a_connection_that_says_nothing() -> None:
    async with served() as service:
        reader, _ = await service.open()
        assert await is_closed(reader)
        assert service.connections == 0


@over_sockets
async def test_the_head_after_an_answer_must_arrive_as_well() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head(method="GET"))
        assert await answered(reader) == (200, b"xx")
        writer.write(b"GET / HT")
        assert await problem_of(reader) == "request-timeout"


@over_sockets
async def test_an_answer_that_nobody_reads() -> None:
    """The server has written it all and would wait for ever for room in the client's buffer."""
    async with served() as service:
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head("/large", method="GET"))
        await until(lambda: bool(service.seen.bodies))
        await until(lambda: not service.connections)
        connection.close()


@over_sockets
async def test_a_stream_that_nobody_reads() -> None:
    async with served() as service:
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.sendall(head("/stream", method="GET"))
        await until(lambda: bool(service.seen.sending))
        await until(lambda: not service.connections)
        service.seen.sending, service.seen.left = 0, 1
        connection.close()


@over_sockets
async def test_a_slow_reader_gets_all_of_its_answer() -> None:
    """It takes longer than the limit, and something all the time."""
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head("/large", method="GET"))
        await reader.readuntil(b"\r\n\r\n")
        left = LARGE
        while left:
            left -= len(await reader.readexactly(min(left, 2_000_000)))
            await asyncio.sleep(0.1)
        writer.close()


@over_sockets
async def test_a_slow_sender_that_keeps_the_pace_is_heard() -> None:
    """It takes longer than the limit, at more than the slowest pace that is allowed."""
    limits = ConnectionLimits(body_s=0.4, bytes_per_s=1000)
    async with served(limits) as service:
        reader, writer = await service.open()
        writer.write(head("/", "Content-Length: 10000"))
        for _ in range(10):
            writer.write(b"w" * 1000)
            await asyncio.sleep(0.1)
        assert await answered(reader) == (200, b"xx")
        assert service.seen.bodies == [b"w" * 10_000]


@over_sockets
async def test_the_rest_of_a_body_that_has_its_answer_is_not_awaited_for_long() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head("/early", "Content-Length: 100000") + b"some")
        assert await answered(reader) == (200, b"xx")
        slowly = asyncio.ensure_future(trickle(writer, b"z" * 1000))
        assert await is_closed(reader)
        writer.close()
        await slowly


# --- too much ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 3000,  # no end in sight
        head("/" + "a" * 3000),
        head("/", "X-Long: " + "a" * 3000),
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 3000,
        head("/", *(f"X-{n}: 1" for n in range(30))),
        head("/", "Transfer-Encoding: chunked") + b"5;" + b"a" * 3000,
        head("/", "Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n" + b"X-Trailer: 1\r\n" * 300,
    ],
    ids=["address", "whole address", "whole header", "header", "number of headers", "chunk extension", "trailers"],
)
def test_a_head_that_is_too_large(sent: bytes) -> None:
    async def asked() -> None:
        async with served() as service:
            reader, writer = await service.open()
            writer.write(sent)
            assert await problem_of(reader) == "head-too-large"
            writer.close()

    asyncio.run(asyncio.wait_for(asked(), PATIENT_S))


@over_sockets
async def test_chunks_of_one_byte_are_no_head() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head("/", "Transfer-Encoding: chunked") + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
        assert await answered(reader) == (200, b"xx")
        assert service.seen.bodies == [b"a" * 5000]


@over_sockets
async def test_pipelined_requests_without_end() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(head(method="GET") * 500)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        assert len(service.seen.bodies) <= QUICK.pipelined + 1


@over_sockets
async def test_beyond_the_most_connections_requests_are_refused() -> None:
    async with served(ConnectionLimits(connections=2)) as service:
        idle = [await service.open() for _ in range(2)]
        reader, writer = await service.open()
        writer.write(head(method="GET"))
        assert await problem_of(reader) == "too-many-connections"
        assert await is_closed(reader)
        idle[0][1].close()
        await until(lambda: service.connections <= 1)
        reader, writer = await service.open()
        writer.write(head(method="GET"))
        assert await answered(reader) == (200, b"xx")


@over_sockets
async def test_beyond_twice_as_many_nobody_is_let_in() -> None:
    async with served(ConnectionLimits(connections=2)) as service:
        idle = [await service.open() for _ in range(4)]
        reader, _ = await service.open()
        assert await is_closed(reader)
        assert len(idle) == service.connections


@over_sockets
async def test_what_is_no_http_is_a_problem() -> None:
    async with served() as service:
        reader, writer = await service.open()
        writer.write(b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n")
        assert await problem_of(reader) == "malformed-request"


@over_sockets
async def test_others_are_answered_meanwhile() -> None:
    async with served(ConnectionLimits(connections=50, head_s=0.4)) as service:
        slow = [await service.open() for _ in range(20)]
        for _, writer in slow:
            writer.write(head("/", "Content-Length: 1000"))
        reader, writer = await service.open()
        for _ in range(20):
            writer.write(head(method="GET"))
            assert await answered(reader) == (200, b"xx")


# --- the service as an operator starts it -----------------------------------------------------------------------------


def test_the_settings_reach_the_connections(tmp_path: Path) -> None:
    settings = {"body_timeout_s": "0.5", "max_connections": "3"}
    with process.served(tmp_path, **settings) as address:
        host, port = address.split(":")

        async def asked() -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head("/polarization/predict", "Content-Length: 100") + b"{")
            assert await problem_of(reader) == "request-timeout"
            upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: a")
            reader, another = await asyncio.open_connection(host, int(port))
            another.write(head("/health/live", *upgrade, method="GET"))
            assert (await answered(reader))[0] == 200  # the protocol stays HTTP
            many = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
            many[-1][1].write(head("/health/live", method="GET"))
            assert await problem_of(many[-1][0]) == "too-many-connections"
            for one in (writer, another, *(one for _, one in many)):
                one.close()

        asyncio.run(asyncio.wait_for(asked(), PATIENT_S))
