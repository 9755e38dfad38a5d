"""A service that ends, and those who keep a connection to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.held_socket import REPOSITORY, start

ASK = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
TIMEOUT_S = 30.0


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """What systemd holds."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held


@contextmanager
def started(held: socket.socket, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    service = start(held, {"BEAMLINE_MODEL_STORE": str(folder), "BEAMLINE_JOB_WORKERS": "0"}, *arguments)
    try:
        yield service
    finally:
        service.kill()
        service.wait(TIMEOUT_S)


def connected(held: socket.socket) -> socket.socket:
    return socket.create_connection(held.getsockname(), TIMEOUT_S)


def asked(connection: socket.socket) -> bytes:
    """The answer to one request, head and body."""
    connection.sendall(ASK)
    answer = b""
    while b'"live"}' not in answer:
        more = connection.recv(4096)
        assert more, "the connection was closed instead of answered"
        answer += more
    return answer


def test_a_request_on_a_kept_connection_is_still_answered(listening: socket.socket, tmp_path: Path) -> None:
    with started(listening, tmp_path) as service, ExitStack() as stack:
        busy, idle, fresh = (stack.enter_context(connected(listening)) for _ in range(3))
        assert b"connection: close" not in asked(busy).lower()
        asked(idle)
        service.send_signal(signal.SIGTERM)
        while b"connection: close" not in asked(busy).lower():  # until the service knows that it ends
            pass
        assert busy.recv(1) == b"", "then it ends"
        assert idle.recv(1) == b"", "nothing came on it"
        assert fresh.recv(1) == b"", "nor ever on this one"
        assert service.wait(TIMEOUT_S) == -signal.SIGTERM, "as whoever ends by it"


def test_connections_wait_for_the_next_service(listening: socket.socket, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        with connected(listening) as early:
            early.sendall(ASK)
            with started(listening, tmp_path, "--workers", workers) as service:
                assert early.recv(4096).startswith(b"HTTP/1.1 200")
                service.send_signal(signal.SIGTERM)
                service.wait(TIMEOUT_S)


def test_a_socket_that_was_meant_for_another_process_is_not_taken(tmp_path: Path) -> None:
    environment = os.environ | {"LISTEN_FDS": "1", "LISTEN_PID": "1", "BEAMLINE_MODEL_STORE": str(tmp_path)}
    command = [sys.executable, "-c", "from app.listening import inherited; print(inherited())"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.stdout == "None\n"


@pytest.mark.parametrize(("family", "number"), [(socket.AF_UNIX, 1), (socket.AF_INET, 2)])
def test_a_socket_that_cannot_be_served_on_is_refused(family: int, number: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.socket(family) as held, log.open("wb") as out:
        service = start(held, {"BEAMLINE_MODEL_STORE": str(tmp_path)}, number=number, log=out.fileno())
        assert service.wait(TIMEOUT_S) == 1
    assert log.read_text().startswith("error: the supervisor gave ")
