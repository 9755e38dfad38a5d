"""The pages for people: Swagger UI, ReDoc and one page for each kind of problem; nothing on them leaves the machine."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from app.api import console
from app.api.problems import KINDS, TYPE_PREFIX
from app.api.schema import REF_TEMPLATE, Problem
from app.errors import NotFound

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).resolve().parents[1] / "static"

_CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # both pages set style attributes
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",  # ReDoc searches in a worker
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {"Content-Security-Policy": _CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}

# Addresses are relative, so that the pages work under any prefix of a reverse proxy.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{up}static/swagger-ui/favicon-32x32.png">
{head}</head>
<body>
{body}
</body>
</html>
"""


def _page(title: str, body: str, *, head: str = "", up: str = "") -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=escape(title), body=body, head=head, up=up), headers=_HEADERS)


@router.get("/docs")
async def swagger_ui() -> HTMLResponse:
    """Show Swagger UI."""
    return _page(
        "Model server for beamlines",
        '<div id="swagger-ui" data-openapi="openapi.json"></div>\n'
        '<script src="static/swagger-ui/swagger-ui-bundle.js"></script>\n'
        '<script src="static/swagger-ui/start.js"></script>',
        head='<link rel="stylesheet" href="static/swagger-ui/swagger-ui.css">\n',
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """Show ReDoc."""
    return _page(
        "Model server for beamlines",
        '<div id="redoc" data-openapi="openapi.json"></div>\n'
        '<script src="static/redoc/redoc.standalone.js"></script>\n'
        '<script src="static/redoc/start.js"></script>',
        head="<style>body { margin: 0 }</style>\n",
    )


@router.get(TYPE_PREFIX + "{kind}")
async def problem_page(kind: str) -> HTMLResponse:
    """Explain one kind of problem: the page that a problem's ``type`` leads to."""
    row = KINDS.get(kind)
    if row is None:
        raise NotFound("no problem of this kind exists; `kinds` lists those that do", details={"kinds": list(KINDS)})
    facts = f"<p>HTTP status {row.status} · <code>{TYPE_PREFIX}{kind}</code></p>"
    return _page(row.title, f"<h1>{escape(row.title)}</h1>\n{facts}\n<p>{escape(row.advice)}</p>", up="../")


def mount_static(app: FastAPI) -> None:
    """Serve the console, and the assets of the pages under `/static`."""
    console.install(app)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def completed(openapi: dict[str, Any]) -> dict[str, Any]:
    """Finish FastAPI's OpenAPI: add the problem schema and move the bodies' ``$defs`` into the components.

    FastAPI knows neither, since bodies are read by `JsonBody` and problems are answered by handlers.
    """
    schemas: dict[str, Any] = openapi.setdefault("components", {}).setdefault("schemas", {})
    _add_schema(schemas, "Problem", Problem.model_json_schema(ref_template=REF_TEMPLATE))
    for path in openapi["paths"].values():
        for operation in path.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                for name, schema in media["schema"].pop("$defs", {}).items():
                    _add_schema(schemas, name, schema)
    openapi["components"]["schemas"] = dict(sorted(schemas.items()))
    return openapi


def _add_schema(schemas: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    for inner_name, inner in schema.pop("$defs", {}).items():
        _add_schema(schemas, inner_name, inner)
    if schemas.setdefault(name, schema) != schema:
        raise ValueError(f"two different schemas are named {name}; rename one, components need unique names")
