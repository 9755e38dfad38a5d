"""Servers that give a body back: what any server in Python costs before it has done anything."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from starlette.responses import Response


class _Raw:
    """An ASGI application without a framework."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        content = b"".join(parts)
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"text/plain")
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def raw() -> _Raw:
    """Echo as a bare ASGI application."""
    return _Raw()


def fastapi() -> FastAPI:
    """Echo through FastAPI: `/echo` the bytes as they are, `/parsed` by way of FastAPI's own reading of JSON."""
    app = FastAPI()

    @app.post("/echo")
    async def _echo(request: Request) -> Response:
        return Response(await request.body(), media_type=request.headers["content-type"])

    @app.post("/parsed")
    async def _parsed(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return body

    return app
