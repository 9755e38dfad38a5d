"""What `serve` hands to its workers."""

from __future__ import annotations

import socket

import uvicorn

from app.cli import listening_socket


def test_connections_of_several_workers_send_without_delay() -> None:
    config = uvicorn.Config("app.main:service", port=0, log_config=None)
    with listening_socket(config) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
