"""The gate: no request reaches a route, or the fast path, that the table of access does not let through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote

import structlog
from fastapi.routing import RouteContext, iter_route_contexts
from starlette._utils import get_route_path
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.access import CALLER, Access, Caller
from app.api.access_table import Need, Table, need_of
from app.api.rates import Rates
from app.errors import AppError, Forbidden, Unauthenticated

KEPT_PLACES: Final = 1024
LONGEST_KEPT: Final = 256
"""Longer paths are looked up each time, so that nobody fills the memory with them."""
POLICY_VIOLATION: Final = 1008

_log = structlog.stdlib.get_logger("app.access")


@dataclass(frozen=True)
class Place:
    """Where a request leads.

    Attributes:
        path: as the route declares it; the label of log and metrics.
        need: the scopes of which a caller must have one; empty: everybody may.
        answer: gives the answer where the request goes no further.
    """

    path: str
    need: Need = frozenset()
    answer: Callable[[Scope], Response] | None = None


@dataclass(frozen=True)
class _Guarded:
    """A route as the router finds it."""

    path: str
    pattern: re.Pattern[str]
    methods: frozenset[str] | None
    table: Table

    @classmethod
    def of(cls, route: RouteContext, table: Table) -> _Guarded:
        path, pattern = route.path, getattr(route, "path_regex", None)
        if path is None or pattern is None:
            raise ValueError(f"the gate cannot guard {route.original_route!r}: it has no path")
        return cls(path, pattern, None if route.methods is None else frozenset(route.methods), table)

    def place(self, method: str) -> Place:
        need = need_of(self.table, method, self.path)
        if need is not None:
            return Place(self.path, need)
        return Place(self.path, answer=lambda _: problems.problem("forbidden", _WITHOUT_ROW))


_WITHOUT_ROW: Final = "What this address needs is not said in the service's table of access, so that nobody may use it."


class Places:
    """Finds where a request leads, as the router does, but answers itself what leads nowhere.

    So nothing reaches the router that the table does not speak of, whatever is added to it later.
    """

    def __init__(self, routes: Iterable[BaseRoute], table: Table) -> None:
        contexts = (found for found in iter_route_contexts(list(routes)) if not _is_websocket(found))
        self._routes = [_Guarded.of(context, table) for context in contexts]
        self._kept = lru_cache(KEPT_PLACES)(self._find)
        for place in self.without_row():
            _log.error("a route is refused: it has no row in the table of access", route=place)

    def find(self, method: str, path: str) -> Place:
        return self._kept(method, path) if len(path) <= LONGEST_KEPT else self._find(method, path)

    def without_row(self) -> list[str]:
        """The routes that the table does not speak of, as ``POST /path``."""
        guarded = ((method, route) for route in self._routes for method in sorted(route.methods or {"*"}))
        return [
            f"{method} {route.path}" for method, route in guarded if need_of(route.table, method, route.path) is None
        ]

    def _find(self, method: str, path: str) -> Place:
        matching = [route for route in self._routes if route.pattern.match(path)]
        for route in matching:
            if route.methods is None or method in route.methods:
                return route.place(method)
        if matching:
            allowed = ", ".join(sorted({name for route in matching for name in route.methods or ()}))
            return Place(matching[0].path, answer=_not_allowed(allowed))
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        if path != "/" and any(route.pattern.match(other) for route in self._routes):
            return Place("unmatched", answer=_redirect)
        return Place("unmatched", answer=lambda _: problems.problem("not-found"))


def _is_websocket(context: RouteContext) -> bool:
    return isinstance(context.original_route, WebSocketRoute)


def _not_allowed(methods: str) -> Callable[[Scope], Response]:
    return lambda _: problems.problem("method-not-allowed", headers={"Allow": methods})


def _redirect(scope: Scope) -> Response:
    """To the same address with, or without, the slash at its end; without a host, so that it holds behind any proxy."""
    path: str = scope["path"]
    target = "/" + quote(path.strip("/")) + ("" if path.endswith("/") else "/")
    query = scope["query_string"].decode("latin-1")
    return RedirectResponse(f"{target}?{query}" if query else target)


class Gate:
    """ASGI application: asks who sends a request and lets it through, or answers 401, 403, 404, 405 or 429."""

    def __init__(self, places: Places, access: Access, rates: Rates | None, rest: ASGIApp) -> None:
        self._find = places.find
        self._access = access
        self._rates = rates
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            place = scope["route"] = self._find(scope["method"], get_route_path(scope))
            if place.answer is None:
                try:
                    await self._admit(scope, place.need)
                except AppError as error:
                    await problems.from_app_error(error)(scope, receive, send)
                else:
                    await self._rest(scope, receive, send)
            else:
                await place.answer(scope)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await self._rest(scope, receive, send)

    async def _admit(self, scope: Scope, need: Need) -> None:
        """Find out who sends a request, and note it for those who come after.

        Raises:
            AppError: it goes no further.
        """
        if not need:
            scope[CALLER] = _EVERYBODY
            return
        try:
            caller = self._access.caller(_authorization(scope))
            if not isinstance(caller, Caller):
                caller = await caller
        except Unauthenticated:
            if self._rates is not None:  # who tries keys is slowed down as well
                self._rates.take("", scope)
            raise
        scope[CALLER] = caller  # also of one that is refused: the log names it
        if self._rates is not None:
            self._rates.take(caller.name, scope)
        if need.isdisjoint(caller.scopes):
            raise self._access.refusal(caller, need)
        if not caller.name and self._access.open_here_alone and not _is_here(_address(scope)):
            raise Forbidden(_NOT_FROM_ELSEWHERE)


_NOT_FROM_ELSEWHERE: Final = (
    "This service has no keys, and answers only on addresses that no other machine reaches; whoever runs it makes one "
    "with `python -m app keys create`."
)


def _address(scope: Scope) -> str:
    """The address that was asked: the server's own."""
    server = scope.get("server")
    return server[0] if server else ""


@lru_cache(256)
def _is_here(address: str) -> bool:
    """Whether no other machine reaches an address; what is none, such as a socket in a folder, none reaches."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True


_EVERYBODY: Final = Caller("", frozenset())


def _authorization(scope: Scope) -> bytes | None:
    """The one header `Authorization`; of two it is not known which one counts for those on the way."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) > 1:
        raise Unauthenticated("There are several Authorization headers; send one.")
    return found[0] if found else None
