"""The outermost layer of the service: request id, access log, metrics, and problems for what the framework answers."""

from __future__ import annotations

import logging
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem
from app.logs import REQUEST_ID_HEADER, accepted_request_id, log_request, request_id
from app.metrics import Metrics

_log = structlog.stdlib.get_logger("app.access")

QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked by machines every few seconds: logged at debug."""

CLIENT_GONE = 499
"""Status logged where the client left before the answer began (nginx' convention)."""


class Edge:
    """Pure ASGI middleware around the whole application.

    One layer does it all because each layer costs every request; it stands outside of the framework's own handlers so
    that it sees the answers which they write themselves.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = dict(scope["headers"])
        current = accepted_request_id(headers.get(REQUEST_ID_HEADER))
        token = request_id.set(current)
        answer = _Answer(scope, receive, send, current)
        try:
            if headers.get(b"content-encoding", b"identity") != b"identity":
                await _refuse_encoding(scope, receive, answer.send)
            else:
                await self._app(scope, receive, answer.send)
        except Exception:
            _log.exception("request failed")
            if not answer.status:
                await problem("internal-error")(scope, receive, answer.send)
        finally:
            self._record(scope, answer.status or CLIENT_GONE, perf_counter() - started)
            request_id.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.observe_request(method, route, status, seconds)
        level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
        log_request(method, route, status, round(seconds * 1e3, 3), level=level)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Answer:
    """Sends one answer: adds the headers that all have, and replaces the framework's plain-text 413 by a problem."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, current: str) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = [(REQUEST_ID_HEADER, current.encode()), (b"x-content-type-options", b"nosniff")]
        self._replacing = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._replacing = self.status == 413 and _is_plain_text(message)
            message["headers"] = [*message.get("headers", ()), *self._headers]
        if not self._replacing:
            await self._send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self._replacing = False
            await problem("too-large")(self._scope, self._receive, self.send)


def _is_plain_text(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in start.get("headers", ()))


async def _refuse_encoding(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "the body is compressed (Content-Encoding); send it as it is"
    await problem("unsupported-format", detail, headers={"Accept-Encoding": "identity"})(scope, receive, send)
