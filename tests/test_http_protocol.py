"""Over a real connection: answers are whole, in order, and do not wait for one another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.http_protocol import HttpProtocol


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path; `/stream` in parts, of which the second waits for the rest of the request."""
    path = b"y" * 60_000 if scope["path"] == "/long" else scope["path"].encode()
    if path != b"/stream":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(path))]})
        await send({"type": "http.response.body", "body": path})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.body", "body": b"second"})


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(_application, port=0, http=HttpProtocol, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()
        await writer.wait_closed()
    finally:
        await server.shutdown()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))


def _request(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: a", *headers, "", "")).encode()


async def _kept_open() -> None:
    async with _served() as (reader, writer):
        for path in ("/a", "/bc", "/def"):
            writer.write(_request(path))
            assert await _answer(reader) == path.encode()


async def _pipelined() -> None:
    async with _served() as (reader, writer):
        paths = [f"/{'x' * length}" for length in range(1, 20)]
        writer.write(b"".join(_request(path) for path in paths))
        assert [await _answer(reader) for _ in paths] == [path.encode() for path in paths]


async def _closed_after_the_answer() -> None:
    async with _served() as (reader, writer):
        writer.write(_request("/last", "Connection: close"))
        assert await _answer(reader) == b"/last"
        assert await reader.read() == b""


async def _streamed() -> None:
    async with _served() as (reader, writer):
        writer.write(_request("/stream", "Content-Length: 4"))
        await reader.readuntil(b"first\r\n")
        writer.write(b"more")
        assert b"second" in await reader.readuntil(b"0\r\n\r\n")


@pytest.mark.parametrize("case", [_kept_open, _pipelined, _closed_after_the_answer, _streamed])
def test_answers_are_whole_and_in_order(case: Callable[[], Awaitable[None]]) -> None:
    async def within_a_minute() -> None:
        await asyncio.wait_for(case(), 60)

    asyncio.run(within_a_minute())


def test_a_long_answer_is_whole() -> None:
    async def asked() -> None:
        async with _served() as (reader, writer):
            writer.write(_request("/long") + _request("/z"))
            assert len(await _answer(reader)) == 60_000
            assert await _answer(reader) == b"/z"

    asyncio.run(asked())
