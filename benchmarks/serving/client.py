"""A lean HTTP client: one thread, one epoll, kept connections, each sending one request again and again.

It spends about 10 microseconds a request, most of them in the kernel, so that on a machine of two cores the server is
what is measured; `Load.busy` says how far that was so. Each connection sends its next request once the last one is
answered, so the load is closed: a slow server gets fewer requests.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

CHUNK = 2**18
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
NO_HEAD_YET, OF_UNKNOWN_LENGTH = -1, -2
OVER_STATUS = len(b"HTTP/1.1 200")
TIMEOUT_S = 30.0


class LoadFailed(Exception):
    """A server closed a connection, answered with an error or too slowly; the message says which."""


@dataclass(frozen=True)
class Load:
    """What one run saw.

    Attributes:
        latencies_s: of the answers that arrived within the run [seconds].
        duration_s: from the first request to the end of the run [seconds].
        busy: share of the run in which the client itself was computing.
    """

    latencies_s: np.ndarray
    duration_s: float
    busy: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.duration_s

    def percentile_ms(self, percent: float) -> float:
        """Latency that so many percent of the answers stayed under [milliseconds]."""
        return float(np.percentile(self.latencies_s, percent)) * 1e3


@dataclass(eq=False)
class _Connection:
    """One socket and the answer that is arriving on it.

    Attributes:
        kept: the beginning of a head, or the end of the last chunk.
        missing: bytes of the answer, or one of the constants.
    """

    stream: socket.socket
    sent_at: float = 0.0
    kept: bytes = b""
    missing: int = NO_HEAD_YET


@dataclass
class _Run:
    """The state of one run."""

    request: bytes
    until: float
    at_least: int
    latencies: list[float] = field(default_factory=list)

    def is_over(self, now: float) -> bool:
        return now >= self.until and len(self.latencies) >= self.at_least


def exchange(port: int, request: bytes, timeout_s: float = TIMEOUT_S) -> tuple[bytes, bytes]:
    """Send one request to this machine; head and body of the answer, whatever its status.

    Raises:
        LoadFailed: no connection, or no whole answer in time.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as stream:
            stream.sendall(request)
            content = stream.recv(CHUNK)
            while HEAD_END not in content:
                content += _some(stream.recv(CHUNK))
            head, _, body = content.partition(HEAD_END)
            length = _length(head)
            while not body.endswith(LAST_CHUNK) if length is None else len(body) < length:
                body += _some(stream.recv(CHUNK))
    except OSError as error:
        raise LoadFailed(f"{type(error).__name__}: {error}") from error
    return head, _joined(body) if length is None else body


def load(port: int, request: bytes, *, clients: int, seconds: float, at_least: int | None = None) -> Load:
    """Send a request from so many connections for so long, then wait for the answers under way, which do not count.

    Args:
        port: on this machine.
        request: head and body.
        clients: connections.
        seconds: length of the run.
        at_least: answers to wait for, where the time is too short for them; as many as there are clients by default.

    Raises:
        LoadFailed: an answer was no 200, or none came for `TIMEOUT_S`.
    """
    connections = [_Connection(_connected(port)) for _ in range(clients)]
    gc.disable()
    try:
        return _measured(connections, request, seconds, clients if at_least is None else at_least)
    except OSError as error:
        raise LoadFailed(f"{type(error).__name__}: {error}") from error
    finally:
        gc.enable()
        for connection in connections:
            connection.stream.close()


def _connected(port: int) -> socket.socket:
    try:
        stream = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    except OSError as error:
        raise LoadFailed(f"no connection: {error}") from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A whole request fits, so that one call sends it.
    #    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    stream.setblocking(False)
    return stream


def _measured(connections: list[_Connection], request: bytes, seconds: float, at_least: int) -> Load:
    epoll = select.epoll()
    waiting = {connection.stream.fileno(): connection for connection in connections}
    try:
        for number in waiting:
            epoll.register(number, select.EPOLLIN)
        computing, started = time.process_time(), time.perf_counter()
        run = _Run(request, started + seconds, at_least)
        for connection in connections:
            connection.sent_at = time.perf_counter()
            _send(connection.stream, request)
        open_requests = _exchange_until_over(epoll.poll, waiting, run)
        ended, computed = time.perf_counter(), time.process_time()
        _drain(epoll.poll, waiting, open_requests)
    finally:
        epoll.close()
    return Load(np.array(run.latencies), ended - started, (computed - computing) / (ended - started))


def _exchange_until_over(
    poll: Callable[[float], list[tuple[int, int]]], waiting: dict[int, _Connection], run: _Run
) -> int:
    """Answer every answer with the next request; how many requests are under way at the end."""
    clock, latencies, request = time.perf_counter, run.latencies, run.request
    # One buffer for all: a new one for each answer costs more than the rest of the client.
    buffer = bytearray(CHUNK)
    while True:
        events = poll(TIMEOUT_S)
        if not events:
            raise LoadFailed(f"no answer for {TIMEOUT_S:g} s")
        for number, _ in events:
            connection = waiting[number]
            if not _has_answered(connection, buffer):
                continue
            now = clock()
            latencies.append(now - connection.sent_at)
            if now >= run.until and run.is_over(now):
                return len(waiting) - 1
            connection.sent_at = now
            _send(connection.stream, request)


def _drain(poll: Callable[[float], list[tuple[int, int]]], waiting: dict[int, _Connection], open_requests: int) -> None:
    """Wait for the rest, so that the server works on nothing of this run while the next one is measured."""
    deadline = time.perf_counter() + TIMEOUT_S
    buffer = bytearray(CHUNK)
    while open_requests and time.perf_counter() < deadline:
        for number, _ in poll(1.0):
            open_requests -= _has_answered(waiting[number], buffer)


def _has_answered(connection: _Connection, buffer: bytearray) -> bool:
    """Read what is there; whether an answer is complete with it."""
    size = connection.stream.recv_into(buffer)
    if size == 0:
        raise LoadFailed("the server closed a connection")
    if connection.missing == OF_UNKNOWN_LENGTH:
        return _has_last_chunk(connection, bytes(buffer[max(size - len(LAST_CHUNK), 0) : size]))
    if connection.missing == NO_HEAD_YET:
        size += len(connection.kept)
        if connection.kept:  # rare: the head came in pieces
            buffer = bytearray(connection.kept) + buffer[: size - len(connection.kept)]
        end = buffer.find(HEAD_END, 0, size)
        if end < 0:
            connection.kept = bytes(buffer[:size])
            return False
        if buffer[9:OVER_STATUS] != b"200":
            raise LoadFailed(f"answered {bytes(buffer[: min(size, 300)])!r}")
        connection.kept = b""
        length = _length(bytes(buffer[:end]))
        if length is None:
            connection.missing = OF_UNKNOWN_LENGTH
            return _has_last_chunk(connection, bytes(buffer[end + len(HEAD_END) : size][-len(LAST_CHUNK) :]))
        connection.missing = length + end + len(HEAD_END)
    connection.missing -= size
    if connection.missing > 0:
        return False
    if connection.missing < 0:
        raise LoadFailed("answered more than its content-length")
    connection.missing = NO_HEAD_YET
    return True


def _has_last_chunk(connection: _Connection, end: bytes) -> bool:
    connection.kept = (connection.kept + end)[-len(LAST_CHUNK) :]
    if connection.kept != LAST_CHUNK:
        return False
    connection.kept, connection.missing = b"", NO_HEAD_YET
    return True


def _length(head: bytes) -> int | None:
    """What the head declares; None for an answer in chunks."""
    lower = head.lower()
    found = lower.find(b"\r\ncontent-length:")
    if found < 0:
        if b"\r\ntransfer-encoding: chunked" in lower:
            return None
        raise LoadFailed(f"an answer without a length: {head[:200]!r}")
    begin = found + len(b"\r\ncontent-length:")
    end = head.find(b"\r", begin)
    return int(head[begin:] if end < 0 else head[begin:end])


def _joined(chunks: bytes) -> bytes:
    """The content of an answer in chunks."""
    found: list[bytes] = []
    while True:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if length == 0:
            return b"".join(found)
        found.append(rest[:length])
        chunks = rest[length + 2 :]


def _some(content: bytes) -> bytes:
    if not content:
        raise LoadFailed("the server closed a connection")
    return content


def _send(stream: socket.socket, request: bytes) -> None:
    sent = stream.send(request)
    if sent < len(request):  # larger than the socket's buffer
        stream.setblocking(True)
        stream.sendall(memoryview(request)[sent:])
        stream.setblocking(False)
