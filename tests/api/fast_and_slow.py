"""The same request to the fast path and to FastAPI."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.testclient import TestClient
from httpx import Response

SAME = {"X-Request-ID": "same"}


def both(client: TestClient, path: str, content: bytes, headers: Mapping[str, str]) -> tuple[Response, Response]:
    """The answers in front of FastAPI and behind it, which takes bodies in chunks: they have no declared length."""
    fast = client.post(path, content=content, headers=SAME | dict(headers))
    return fast, client.post(path, content=iter([content]), headers=SAME | dict(headers))


def assert_same(client: TestClient, path: str, content: bytes, headers: Mapping[str, str]) -> Response:
    """Both give the same status, headers and bytes."""
    fast, slow = both(client, path, content, headers)
    assert fast.status_code == slow.status_code
    assert dict(fast.headers) == dict(slow.headers)
    assert fast.content == slow.content
    return fast
