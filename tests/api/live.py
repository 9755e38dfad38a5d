"""A service on a real socket, in a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import uvicorn
from fastapi import FastAPI

LONGEST_S = 20.0


@dataclass(frozen=True)
class Live:
    """A running service, a client of it, and its address."""

    app: FastAPI
    client: httpx2.Client
    address: tuple[str, int]


@contextmanager
def live(app: FastAPI) -> Iterator[Live]:
    """Serve an application as `python -m app serve` does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(app, loop="asyncio", http="httptools", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    host, port = listener.getsockname()
    try:
        with httpx2.Client(base_url=f"http://{host}:{port}", timeout=LONGEST_S) as client:
            yield Live(app, client, (host, port))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
