"""What every request is held against before anything reads it: its address, its host, its origin, and the memory that
its body will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from app.api.problems import problem
from app.errors import Busy

MAX_TARGET_BYTES: Final = 8192
"""Longest path and query together."""
SMALL_BODY_DIGITS: Final = 5
"""Bodies below 100,000 bytes are not counted: they are not held for long, and the fast path must not pay for it."""
EVERY_HOST: Final = "*"

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({b"same-origin", b"none"})
_LONGEST_HOST: Final = 300

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True)
class EdgeLimits:
    """What the edge lets in.

    Attributes:
        held_bytes: bytes of all request bodies together that one server process holds.
        hosts: names by which the service may be asked, ``*.example.org`` for all below one; ``*``: any. Empty: any,
            and on a loopback address local names alone.
        origins: web pages of other servers that may ask, as browsers name them: ``https://desk.example.org``.
    """

    held_bytes: int = 512 * 1024**2
    hosts: tuple[str, ...] = ()
    origins: frozenset[str] = frozenset()


class Guards:
    """Holds requests against the limits of one server process."""

    def __init__(self, limits: EdgeLimits | None = None) -> None:
        self._limits = limits or EdgeLimits()
        self._origins = frozenset(origin.encode() for origin in self._limits.origins)
        self._served = lru_cache(256)(self._is_served)
        self.held_bytes = 0

    def refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that goes no further; None where it goes on."""
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return problem("target-too-long", f"The path and the query have more than {MAX_TARGET_BYTES} bytes.")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            detail = "the body is compressed (Content-Encoding); send it as it is"
            return problem("unsupported-format", detail, headers={"Accept-Encoding": "identity"})
        host = headers.get(b"host")
        if host is not None and not self._served(host[:_LONGEST_HOST], (scope.get("server") or ("",))[0]):
            return problem("misdirected-request")
        if scope["method"] not in _SAFE and self._is_foreign(headers):
            return problem("forbidden", _FOREIGN)
        return None

    def _is_served(self, host: bytes, local: str) -> bool:
        """Whether a host may be asked for.

        A page of any web site can have its own name point to this machine and then ask as one of ours would (DNS
        rebinding). It cannot do so with an address in numbers, or with `localhost`.
        """
        name = _name_of(host)
        if _is_unmistakable(name):
            return True
        if self._limits.hosts:
            return any(_matches(name, pattern) for pattern in self._limits.hosts)
        return not _is_loopback(local)

    def _is_foreign(self, headers: Headers) -> bool:
        """Whether a page of another server makes its reader's browser ask.

        Browsers say where a request comes from; no other program does, and none can make a browser lie.
        """
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if (site is None and origin is None) or origin in self._origins:
            return False
        if site is not None:
            return site not in _OWN
        return (origin or b"").partition(b"://")[2] != headers.get(b"host")

    def held(self, headers: Headers, receive: Receive) -> HeldBody | None:
        """The body of a request where it may be large; None where it is small, or there is none."""
        length = headers.get(b"content-length")
        if length is None:
            return HeldBody(self, receive) if b"transfer-encoding" in headers else None
        return None if len(length) <= SMALL_BODY_DIGITS else HeldBody(self, receive)

    def hold(self, n_bytes: int) -> None:
        """Count bytes that a request holds.

        Raises:
            Busy: they are too many, together with those of other requests.
        """
        self.held_bytes += n_bytes
        if self.held_bytes > self._limits.held_bytes:
            raise Busy("Too many large requests are on their way at the same time; send this one again a little later.")


class HeldBody:
    """Counts a body while it arrives, until the request has been answered."""

    def __init__(self, guards: Guards, receive: Receive) -> None:
        self._guards = guards
        self._receive = receive
        self._bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            n_bytes = len(message.get("body", b""))
            self._bytes += n_bytes
            self._guards.hold(n_bytes)
        return message

    def release(self) -> None:
        self._guards.held_bytes -= self._bytes
        self._bytes = 0


_FOREIGN: Final = (
    "A web page of another server may not send this. Whoever runs the service can allow its origin with "
    "BEAMLINE_CORS_ORIGINS."
)


def _name_of(host: bytes) -> str:
    """The name in a `Host` header, without its port."""
    text = host.decode("latin-1").strip().lower()
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    return name.removesuffix(".")


def _is_unmistakable(name: str) -> bool:
    """Whether nobody can point this name to another machine: `localhost` (RFC 6761), or an address in numbers."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(local: str) -> bool:
    """Whether a connection came in on an address of this machine alone."""
    try:
        return ip_address(local).is_loopback
    except ValueError:
        return False


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return pattern in (EVERY_HOST, name)
