"""What both clients know of their connection: the address, the key, the timeouts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeAlias

import httpx

from beamline_client.flow import Request, Service
from beamline_client.retry import Retry

URL_VARIABLE: Final = "BEAMLINE_URL"
KEY_VARIABLE: Final = "BEAMLINE_API_KEY"
DEFAULT_URL: Final = "http://127.0.0.1:8000"

Token: TypeAlias = str | Callable[[], str]
"""A bearer token, or what gives the present one: tokens of an identity provider end within the hour."""


def _agent() -> str:
    try:
        return f"beamline-client/{version('beamline-client')}"
    except PackageNotFoundError:  # used from a checkout
        return "beamline-client"


AGENT: Final = _agent()


@dataclass(frozen=True)
class Options:
    """How a client is set.

    Attributes:
        url: address of the service, with the path under which a proxy publishes it.
        authorization: gives the value of the header, if there is a key.
        timeout_s: longest silence of the service [s].
        connect_s: longest time until there is a connection [s].
        connections: most of them at a time.
    """

    url: str
    authorization: Callable[[], str] | None = field(repr=False)
    timeout_s: float
    connect_s: float
    connections: int
    service: Service

    def http(self) -> dict[str, Any]:
        """Arguments of a client of httpx."""
        limits = httpx.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        return {"limits": limits, "timeout": self._timeout(self.timeout_s)}

    def arguments(self, request: Request) -> dict[str, Any]:
        """Arguments of `httpx.Client.build_request`."""
        headers = {"User-Agent": AGENT, "Accept": "application/json", **request.headers}
        if self.authorization is not None:
            headers["Authorization"] = self.authorization()
        return {
            "method": request.method,
            "url": self.url + request.path,
            "params": dict(request.query) or None,
            "headers": headers,
            "content": request.content,
            "files": list(request.files) or None,
            "timeout": self._timeout(request.silence_s or self.timeout_s),
        }

    def _timeout(self, silence_s: float) -> httpx.Timeout:
        return httpx.Timeout(silence_s, connect=min(self.connect_s, silence_s))


def options(
    url: str | None,
    *,
    api_key: str | None,
    token: Token | None,
    timeout_s: float,
    connect_s: float,
    connections: int,
    retry: Retry | None,
    environment: Mapping[str, str] | None = None,
) -> Options:
    """Check what a client is made with; what is missing comes from the environment.

    Raises:
        ValueError: the address is none, there are two keys, or a key holds what no header may.
    """
    found = os.environ if environment is None else environment
    return Options(
        url=_url(url or found.get(URL_VARIABLE) or DEFAULT_URL),
        authorization=_authorization(api_key, token, found.get(KEY_VARIABLE)),
        timeout_s=timeout_s,
        connect_s=connect_s,
        connections=connections,
        service=Service(retry or Retry()),
    )


def _url(text: str) -> str:
    url = httpx.URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ValueError("the address of the service should be like http://host:8000 or https://host/path")
    if url.userinfo:
        raise ValueError("the address holds a name or a password: give the key as api_key")
    return str(url).rstrip("/")


def _authorization(api_key: str | None, token: Token | None, of_environment: str | None) -> Callable[[], str] | None:
    if api_key is not None and token is not None:
        raise ValueError("give api_key or token, not both")
    if token is not None:
        return lambda: f"Bearer {_secret(token() if callable(token) else token)}"
    key = api_key if api_key is not None else of_environment
    if not key:
        return None
    header = f"Apikey {_secret(key)}"
    return lambda: header


def _secret(text: str) -> str:
    """A secret that a header may hold; the error must not show it."""
    secret = text.strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("the key should be one word of printable ASCII characters")
    return secret
