"""Raw ASGI handlers for the busiest endpoints, in front of FastAPI.

FastAPI's routing, dependencies and response models cost more than a small model's prediction. A POST to one of these
routes whose body has a declared length within the route's limit is answered here by one call; everything else, other
methods, chunked or oversized bodies, repeated headers, goes on to FastAPI, which declares the same routes with their
OpenAPI and answers by the same functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems

Headers = Mapping[bytes, bytes]


class FastRequest(NamedTuple):
    """What a handler gets of a request.

    Attributes:
        headers: by their names in lower case; no name comes twice.
        query: the raw query string, without the question mark.
        body: all of it.
        names: values of the path's templates.
    """

    headers: Headers
    query: bytes
    body: bytes
    names: Mapping[str, str]

    def header(self, name: bytes) -> str | None:
        """The value of a header as Starlette decodes it; None without it."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


Answer = Response | None
"""None: FastAPI answers, with the same body."""


@dataclass(frozen=True)
class FastRoute:
    """One route.

    Attributes:
        path: as FastAPI declares it: ``/polarization/predict``, ``/v2/models/{name}/infer``.
        handle: answers, in the event loop or as an awaitable. What it raises becomes the same problem as in FastAPI.
        max_body_bytes: longest body that is read here; FastAPI refuses longer ones.
    """

    path: str
    handle: Callable[[FastRequest], Answer | Awaitable[Answer]]
    max_body_bytes: int


class FastPath:
    """ASGI application: POSTs to the fast routes are answered here, everything else by the rest."""

    def __init__(self, routes: Sequence[FastRoute], rest: ASGIApp) -> None:
        self._rest = rest
        self._plain = {route.path: route for route in routes if "{" not in route.path}
        self._templates = [(route.path.split("/"), route) for route in routes if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._found(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._rest(scope, receive, send)
            return
        route, names = found
        headers = dict(scope["headers"])
        if not _is_usual(scope, headers, route.max_body_bytes):
            await self._rest(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:  # the client left: nobody waits for an answer
            return
        scope["route"] = route  # the label of log and metrics
        answer = await _answered(route, FastRequest(headers, scope["query_string"], body, names))
        if answer is None:
            await self._rest(scope, _once_more(body, receive), send)
        else:
            await answer(scope, receive, send)

    def _found(self, scope: Scope) -> tuple[FastRoute, Mapping[str, str]] | None:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if (plain := self._plain.get(path)) is not None:
            return plain, _NO_NAMES
        parts = path.split("/")
        for template, route in self._templates:
            if (names := _matched(template, parts)) is not None:
                return route, names
        return None


_NO_NAMES: Mapping[str, str] = {}


def _matched(template: Sequence[str], parts: Sequence[str]) -> Mapping[str, str] | None:
    """The values of a template's names; None where the path is another one."""
    if len(template) != len(parts):
        return None
    names: dict[str, str] = {}
    for expected, part in zip(template, parts, strict=True):
        if expected.startswith("{") and part:
            names[expected[1:-1]] = part
        elif expected != part:
            return None
    return names


def _is_usual(scope: Scope, headers: Headers, max_body_bytes: int) -> bool:
    """Whether every header comes once and the body has a length within the limit; the server holds it to that."""
    length = headers.get(b"content-length", b"")
    return len(headers) == len(scope["headers"]) and length.isdigit() and int(length) <= max_body_bytes


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None where the client left before its end."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # as almost always
        return message.get("body", b"")
    parts: list[bytes] = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    return None


async def _answered(route: FastRoute, request: FastRequest) -> Answer:
    try:
        answer = route.handle(request)
        return answer if answer is None or isinstance(answer, Response) else await answer
    except Exception as error:
        return problems.from_exception(error)


def _once_more(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read, then what the server says."""
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return read.pop() if read else await receive()

    return again
