"""Uvicorn's HTTP protocol, with each answer's head and body in one write.

Uvicorn writes them one after the other, so that a small answer takes two system calls and wakes its client twice.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from app.http_leaving import LeavingProtocol

_LARGEST: Final = 64 * 1024
"""Longer writes are not copied: one system call more is nothing beside them [bytes]."""


class HttpProtocol(LeavingProtocol):
    """What ``uvicorn --http`` is given."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._pairing = _Pairing(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._pairing))

    def _written_bytes(self) -> int:
        return self._pairing.written


class _Pairing:
    """A transport that holds a write back for the next one, at the longest to the end of the loop's turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        if len(data) > _LARGEST:
            self.flush()
            self._transport.write(data)
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)
