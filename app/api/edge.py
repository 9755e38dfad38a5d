"""The outermost layer: request id, guards, access log, metrics, headers of every answer, and problems."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from time import perf_counter
from typing import Final

import anyio
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access import CALLER, Caller
from app.api.guards import Guards
from app.api.problems import from_app_error, problem
from app.errors import AppError
from app.logs import REQUEST_ID_HEADER, accepted_request_id, log_request, request_id
from app.metrics import Metrics

_log = structlog.stdlib.get_logger("app.access")

QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked by machines every few seconds: logged at debug."""

Header = tuple[bytes, bytes]

CLIENT_GONE = 499
"""Status logged where the client left before the answer began (nginx' convention)."""


class Edge:
    """Pure ASGI middleware around the whole application.

    One layer does it all because each layer costs every request; it stands outside of the framework's own handlers so
    that it sees the answers which they write themselves.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, guards: Guards | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._guards = guards or Guards()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = dict(scope["headers"])
        current = accepted_request_id(headers.get(REQUEST_ID_HEADER))
        token = request_id.set(current)
        answer = _Answer(scope, receive, send, current)
        held = self._guards.held(headers, receive)
        try:
            app = self._guards.refusal(scope, headers) or self._app
            await app(scope, receive if held is None else held.receive, answer.send)
        except ClientDisconnect:
            pass  # in the middle of its body; nobody waits for an answer
        except AppError as error:
            if not answer.status:
                await from_app_error(error)(scope, receive, answer.send)
        except Exception as error:
            if answer.status and _is_leaving(error):
                return
            _log.exception("request failed")
            if not answer.status:
                await problem("internal-error")(scope, receive, answer.send)
        finally:
            if held is not None:
                held.release()
            self._record(scope, answer.status or CLIENT_GONE, perf_counter() - started)
            request_id.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.observe_request(method, route, status, seconds)
        level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
        caller: Caller | None = scope.get(CALLER)
        name = caller.name if caller is not None else ""
        log_request(method, route, status, round(seconds * 1e3, 3), level=level, caller=name)


def _is_leaving(error: BaseException) -> bool:
    """Whether it says no more than that the client left a stream: FastAPI may still be sending into it."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_leaving, error.exceptions))
    return isinstance(error, anyio.BrokenResourceError)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_OF_ALL: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OF_FILES: Final = (*_OF_ALL, (b"content-security-policy", b"frame-ancestors 'none'"), (b"cache-control", b"no-cache"))
_OF_ANSWERS: Final = (
    *_OF_ALL,
    # An SVG that is opened by itself has its own styles and images, and runs nothing.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
)
"""Headers of every answer, where it does not say them itself: see docs/limits.md."""


class _Answer:
    """Sends one answer: adds the headers that all have, and replaces the framework's plain-text 413 by a problem."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, current: str) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = (REQUEST_ID_HEADER, current.encode())
        self._replacing = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._replacing = self.status == 413 and _is_plain_text(message)
            message["headers"] = _completed(message.get("headers", ()), self._request_id)
        if not self._replacing:
            await self._send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self._replacing = False
            await problem("too-large")(self._scope, self._receive, self.send)


def _completed(given: Iterable[Header], own: Header) -> list[Header]:
    """The headers of an answer with those that all have."""
    return [*given, own, *_further(tuple([name for name, _ in given]))]


@lru_cache(maxsize=256)
def _further(names: tuple[bytes, ...]) -> tuple[Header, ...]:
    """Headers for an answer with others of these names; what has an `ETag` is a file that may be kept."""
    further = _OF_FILES if b"etag" in names else _OF_ANSWERS
    return tuple(header for header in further if header[0] not in names)


def _is_plain_text(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in start.get("headers", ()))
