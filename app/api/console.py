"""The console: the page at `/` for people with a file and a question, and what it has to know of the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import orjson
from fastapi import APIRouter, FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).resolve().parents[1] / "static" / "console"

CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # pictures are asked for by fetch, which can send a key
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # text of a file or a card can never become markup
        "trusted-types 'none'",
    ]
)
_FRESH: Final = {"Cache-Control": "no-cache"}
"""Kept by the browser, and asked about each time: after an upgrade no old script meets a new one."""
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    **_FRESH,
}

TASKS: Final[Mapping[str, tuple[str, str]]] = {
    "polarization": ("/polarization/predict/file", "/polarization/predict"),
    "indexing": ("/indexing/solve/file", "/indexing/solve"),
    "waveform": ("/waveform/file", "/waveform"),
    "aggregates": ("/aggregates/file", "/aggregates"),
}
"""For each job the endpoint that takes a file, and the one that takes JSON."""
NOT_OPTIONS: Final = frozenset({"format", "filename", "rows"})
"""Parameters that say how to answer or what the file is called: the page sees to them itself."""
_KEPT: Final = ("type", "enum", "default")

router = APIRouter(include_in_schema=False)


@router.get("/")
async def console() -> HTMLResponse:
    """Show the console."""
    return HTMLResponse((FOLDER / "index.html").read_bytes(), headers=_HEADERS)


@router.get("/static/console/service.json")
async def service(request: Request) -> Response:
    """Tell the page which options each job has, by the OpenAPI document."""
    openapi = await anyio.to_thread.run_sync(request.app.openapi)
    told = {"version": request.app.version, "tasks": {name: options(openapi, name) for name in TASKS}}
    return Response(orjson.dumps(told), headers=_FRESH, media_type="application/json")


def install(app: FastAPI) -> None:
    """Add the page and its assets. Call it before `/static` is mounted."""
    app.include_router(router)
    app.mount("/static/console", GZipMiddleware(_Assets(directory=FOLDER), minimum_size=500), name="console")


class _Assets(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_FRESH)
        return response


def options(openapi: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """The options of a job in the order of the OpenAPI document.

    Returns:
        For each ``name``, ``description``, ``json`` (whether a JSON body takes it by the same name, too) and what
        the schema says: ``type``, ``enum``, ``default``, ``items`` of a list.
    """
    of_file, of_json = TASKS[task]
    parameters = openapi["paths"][of_file]["post"].get("parameters", [])
    content = openapi["paths"][of_json]["post"]["requestBody"]["content"]["application/json"]
    in_json = _properties(openapi, content["schema"])
    return [
        {"name": each["name"], "description": each.get("description", ""), "json": each["name"] in in_json}
        | _plain(openapi, each["schema"])
        for each in parameters
        if each["in"] == "query" and each["name"] not in NOT_OPTIONS
    ]


def _properties(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """Names of the properties of an object, or of each of several alternatives."""
    schema = _resolved(openapi, schema)
    names = set(schema.get("properties", ()))
    return names.union(*(_properties(openapi, one) for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))))


def _plain(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema without its alternative null: left out means the same."""
    default = {name: schema[name] for name in ("default",) if schema.get(name) is not None}
    schema = _resolved(openapi, schema)
    others = [_resolved(openapi, one) for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    schema = others[0] if others else schema
    kept = {name: schema[name] for name in _KEPT if schema.get(name) is not None} | default
    return kept | {"items": _plain(openapi, schema["items"])} if "items" in schema else kept


def _resolved(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else openapi["components"]["schemas"][reference.rpartition("/")[2]]
