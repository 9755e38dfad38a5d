"""Uvicorn's HTTP protocol with an end to everything that a client may draw out.

Uvicorn has no limit on a request's head, nor on the time that a head, a body or the taking of an answer may take, and
it queues as many pipelined requests as arrive. One look each second at each connection finds what takes too long, so
that requests themselves pay next to nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.api.problems import problem

STATE: Final = "connection_limits"
"""Key of the lifespan's state under which an application may give its `ConnectionLimits`."""

_log = structlog.stdlib.get_logger("app.connections")

Phase = Literal["idle", "head", "body", "rest", "answer"]


@dataclass(frozen=True)
class ConnectionLimits:
    """What a client may do to a connection.

    Attributes:
        connections: as many get answers; beyond them requests are refused, and beyond twice as many nobody is let in.
        head_bytes: longest head of a request, trailers and the framing of chunks included.
        headers: most of them in one request.
        pipelined: requests that wait behind another one of the same connection.
        head_s: time for a head, from its first byte, or from the connection on.
        body_s: time for a body, beside that which its bytes take at ``bytes_per_s``.
        bytes_per_s: slowest average of a body.
        rest_s: time for the rest of a body that was answered before its end.
        answer_s: longest time in which the client takes nothing of an answer.
    """

    connections: int = 1000
    head_bytes: int = 32 * 1024
    headers: int = 100
    pipelined: int = 100
    head_s: float = 10.0
    body_s: float = 30.0
    bytes_per_s: float = 16 * 1024
    rest_s: float = 10.0
    answer_s: float = 60.0

    @property
    def look_s(self) -> float:
        """Time between two looks at a connection."""
        return min(1.0, min(self.head_s, self.body_s, self.rest_s, self.answer_s) / 4)


class _TooManyPipelined(Exception):
    """More requests on one connection than wait for their turn."""


class LimitedProtocol(HttpToolsProtocol):
    """An HTTP/1.1 connection within `ConnectionLimits`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits: ConnectionLimits = app_state.get(STATE, _DEFAULTS)
        self._framing = 0  # bytes since the last whole message that are no body
        self._refused = False
        self._receiving = False  # between the head and the end of a body
        self._messages = 0
        self._body_bytes = 0
        self._phase: tuple[Phase, int] = ("idle", 0)
        self._since = 0.0
        self._taken = (0, 0.0)
        self._look_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > 2 * self._limits.connections:
            transport.abort()
            return
        self._since = self.loop.time()
        self._look_again = self.loop.call_later(self._limits.look_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)

    # --- what arrives -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refused:  # read and dropped for a while: who is cut off while it sends does not see the answer
            return
        self._framing += len(data)
        super().data_received(data)
        if self._framing > self._limits.head_bytes and not self.transport.is_closing():
            self._refuse("head-too-large")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined:
            raise _TooManyPipelined
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._receiving = True
        self._body_bytes = 0
        kind = self._objection()
        if kind is None:
            super().on_headers_complete()
            return
        answering, self.app = self.app, _REFUSING[kind]
        try:
            super().on_headers_complete()
        finally:
            self.app = answering

    def _objection(self) -> str | None:
        """The kind of problem where a request is not let in."""
        limits = self._limits
        if len(self.connections) > limits.connections:
            return "too-many-connections"
        if len(self.headers) > limits.headers:
            return "head-too-large"
        if self._framing > limits.head_bytes:  # perhaps the body is among it
            length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            return "head-too-large" if length > limits.head_bytes else None
        return None

    def on_body(self, body: bytes) -> None:
        # Chunks of one byte each, with five bytes around it, are odd and no offence.
        self._framing = max(0, self._framing - 9 * len(body))
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._receiving = False
        self._framing = 0
        self._messages += 1
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What Uvicorn calls for bytes that are no HTTP."""
        self._refuse("malformed-request")

    def _refuse(self, kind: str) -> None:
        """Answer for a request that has not begun to be answered; the connection ends when its client closes it."""
        waits = self.cycle is not None and not self.cycle.response_complete
        if self._receiving and not waits:  # it has its answer
            self.transport.close()
            return
        if self.pipeline or (waits and (self.cycle.response_started or not self._receiving)):
            self.transport.abort()  # others are being answered: nothing may be written between
            return
        if waits:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refused = True
        self._unset_keepalive_if_required()
        self.transport.write(_written(kind))

    # --- what does not arrive -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """End the connection where its client keeps it waiting, else look again a little later."""
        now = self.loop.time()
        if self._takes_nothing(now):
            _log.info("connection ended: its client takes no answer")
            self.transport.abort()
        elif (overdue := self._overdue(now)) is not None and not self.transport.is_closing():
            _log.info("connection ended: its client sends too slowly", waiting_for=overdue)
            self._give_up(overdue)
        self._look_again = self.loop.call_later(self._limits.look_s, self._look)

    def _takes_nothing(self, now: float) -> bool:
        """Whether bytes wait to be sent, and none went out for too long."""
        waiting = self.transport.get_write_buffer_size()
        sent = self._written_bytes() - waiting
        if not waiting or sent != self._taken[0]:
            self._taken = (sent, now)
        return now - self._taken[1] > self._limits.answer_s

    def _written_bytes(self) -> int:
        """Bytes that were given to the transport."""
        raise NotImplementedError

    def _overdue(self, now: float) -> Phase | None:
        """What the client should have sent by now."""
        phase = (self._present_phase(), self._messages)
        if phase != self._phase:
            self._phase, self._since = phase, now
            return None
        if phase[0] == "body" and self.flow.read_paused:
            self._since += self._limits.look_s  # it is we who do not read
        return phase[0] if now - self._since > self._allowed_s(phase[0]) else None

    def _present_phase(self) -> Phase:
        if self._refused:
            return "rest"
        answered = self.cycle is None or self.cycle.response_complete
        if self._receiving:
            return "rest" if answered else "body"
        if not answered:
            return "answer"
        return "head" if self.timeout_keep_alive_task is None else "idle"

    def _allowed_s(self, phase: Phase) -> float:
        limits = self._limits
        allowed = {
            "head": limits.head_s,
            "body": limits.body_s + self._body_bytes / limits.bytes_per_s,
            "rest": limits.rest_s,
        }
        return allowed.get(phase, math.inf)

    def _give_up(self, phase: Phase) -> None:
        if phase == "body" or (phase == "head" and self._framing):
            self._refuse("request-timeout")
        if phase in ("head", "rest"):
            self.transport.close()


_DEFAULTS: Final = ConnectionLimits()


def _written(kind: str) -> bytes:
    """A problem as it goes over the wire, where there is no request to answer."""
    response = problem(kind, of_request=False, headers={"Connection": "close"})
    head = [b"%s: %s\r\n" % header for header in response.raw_headers]
    return b"".join([STATUS_LINE[response.status_code], *head, b"\r\n", bytes(response.body)])


def _refusing(kind: str) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An application that answers everything with one kind of problem, and ends the connection."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await problem(kind, of_request=False, headers={"Connection": "close"})(scope, receive, send)

    return refuse


_REFUSING: Final = {kind: _refusing(kind) for kind in ("head-too-large", "too-many-connections")}
