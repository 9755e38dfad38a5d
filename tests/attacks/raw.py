"""HTTP as no client library writes it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.faults.service import Service

TIMEOUT_S = 30.0
KEY = "the-key-of-the-attacked-service"
"""Sent with everything, so that attacks get behind the gate."""


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 where the connection was closed without an answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    @property
    def media_type(self) -> str:
        return next((value for name, value in self.headers if name.lower() == "content-type"), "")


def address(service: Service) -> tuple[str, int]:
    parts = urlsplit(str(service.http.base_url))
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def connected(service: Service) -> socket.socket:
    return socket.create_connection(address(service), TIMEOUT_S)


def asked(service: Service, parts: Iterable[bytes]) -> Answer:
    """Send bytes, and read one answer; the rest is not sent once there is one, or the service hangs up."""
    with closing(connected(service)) as connection:
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return _read(connection)


def _read(connection: socket.socket) -> Answer:
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        return Answer(response.status, response.getheaders(), response.read())
    except (ConnectionError, http.client.HTTPException):
        return Answer(0, [], b"")


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request; underscores in names of headers stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    headers = {"Authorization": f"Apikey {KEY}"} | headers
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode("latin-1")
