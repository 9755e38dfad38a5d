"""What several server processes on one port get."""

from __future__ import annotations

import pickle
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.reduction import ForkingPickler

import pytest
import uvicorn

from app.listening import allow_open_files, shared_port


@contextmanager
def _of_a_process(shared: socket.socket) -> Iterator[socket.socket]:
    """The socket that a started process gets."""
    with pickle.loads(ForkingPickler.dumps(shared)) as own:
        own.listen()
        own.settimeout(5)
        yield own


def _config(port: int = 0, host: str = "127.0.0.1") -> uvicorn.Config:
    return uvicorn.Config("app.main:service", host=host, port=port, log_config=None)


def test_connections_of_several_processes_send_without_delay() -> None:
    with (
        shared_port(_config()) as shared,
        _of_a_process(shared) as own,
        socket.create_connection(shared.getsockname()),
        own.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_connections_opened_at_once_are_shared_out_before_anybody_accepts_one() -> None:
    with ExitStack() as stack:
        shared = stack.enter_context(shared_port(_config()))
        own = [stack.enter_context(_of_a_process(shared)) for _ in range(2)]
        for _ in range(64):
            stack.enter_context(socket.create_connection(shared.getsockname()))
        counts: Counter[int] = Counter()
        for number, listening in enumerate(own):
            listening.setblocking(False)
            while True:
                try:
                    stack.enter_context(listening.accept()[0])
                except BlockingIOError:
                    break
                counts[number] += 1
    assert counts.total() == 64
    assert min(counts[0], counts[1]) >= 12  # of a fair coin's 64 throws: fewer once in a million


def test_a_process_that_ends_takes_no_connection_along() -> None:
    with shared_port(_config()) as shared, _of_a_process(shared) as left:
        with _of_a_process(shared):
            pass
        for _ in range(16):
            with socket.create_connection(shared.getsockname(), timeout=5), left.accept()[0]:
                pass


def test_a_second_service_on_the_port_is_refused() -> None:
    with shared_port(_config()) as shared, _of_a_process(shared), pytest.raises(SystemExit):
        shared_port(_config(shared.getsockname()[1]))


def test_as_many_files_as_connections_may_be_open() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allow_open_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
        allow_open_files(200)  # never fewer than there were
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
