"""The sockets of several server processes on one port: each accepts from its own, the kernel shares connections out.

Over one socket for all, the process that wakes first accepts every connection that waits, and asyncio takes as many as
there are: a client that opens sixteen at once may find them all in one process, while the others idle.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.errors import InvalidInput

FIRST_INHERITED: Final = 3
"""File descriptor at which systemd's protocol begins (sd_listen_fds)."""

_log = structlog.stdlib.get_logger("app.listening")


class SharedPort(socket.socket):
    """A bound socket that does not listen: what a process gets that it is sent to is a socket of its own, same port."""

    def __reduce__(self) -> tuple[Callable[..., socket.socket], tuple[int, tuple[str, int]]]:
        return _beside, (int(self.family), self.getsockname())


def shared_port(config: uvicorn.Config) -> SharedPort:
    """Take the port that a configuration names, for processes that `uvicorn` will start.

    Raises:
        SystemExit: the address is taken or is none of this machine's; the log says so, as uvicorn does.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = SharedPort(family=family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((config.host, config.port))
        # Only now: a second service on this port is refused instead of getting half of the first one's requests.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        bound.close()
        _log.error("cannot listen", host=config.host, port=config.port, reason=error.strerror)
        sys.exit(1)
    return bound


def _beside(family: int, address: tuple[str, int]) -> socket.socket:
    """A socket of this process on a port that is shared; connections accepted from it inherit its options.

    asyncio turns Nagle's algorithm off for sockets that name their protocol, which this one does not. With the
    algorithm the body of an answer waits 40 ms, until the client has acknowledged the head.
    """
    own = socket.socket(family=family)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.bind(address)
    return own


def allow_open_files(count: int) -> None:
    """Let this process, and those it starts, hold so many files and connections open, as far as the system lets it.

    Many systems begin with 1,024; where accepting fails, asyncio lets everybody wait.
    """
    try:
        import resource
    except ImportError:  # not on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def inherited() -> socket.socket | None:
    """The socket that a supervisor such as systemd holds for this process, once; None where there is none.

    The supervisor keeps it while the service restarts, so that connections wait instead of being refused.

    Raises:
        InvalidInput: there are several sockets, or one that is not of TCP.
    """
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if given["LISTEN_PID"] != str(os.getpid()):  # it was meant for another process
        return None
    if given["LISTEN_FDS"] != "1":
        raise InvalidInput(f"the supervisor gave {given['LISTEN_FDS'] or 'no'} sockets; give one, of TCP")
    held = socket.socket(fileno=FIRST_INHERITED)
    if held.family not in (socket.AF_INET, socket.AF_INET6) or held.type != socket.SOCK_STREAM:
        raise InvalidInput("the supervisor gave a socket that is not of TCP; give an address and a port")
    held.set_inheritable(False)
    held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return held


def serve_on(bound: socket.socket, config: uvicorn.Config) -> None:
    """What `uvicorn.run` does, over a socket that is there already: one that is held, or a `SharedPort`.

    Several processes accept from the same held socket, and each from one of its own on a shared port.

    Raises:
        SystemExit: the service did not start.
    """
    host, port = bound.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    how = "Press CTRL+C to quit" if isinstance(bound, SharedPort) else "the socket is the supervisor's"
    _log.info(f"Uvicorn running on http://{name}:{port} ({how})")
    with suppress(KeyboardInterrupt):
        if config.workers > 1:
            Multiprocess(config, sockets=[bound]).run()
            return
        server = uvicorn.Server(config)
        server.run(sockets=[bound])
        if not server.started:
            sys.exit(STARTUP_FAILURE)
