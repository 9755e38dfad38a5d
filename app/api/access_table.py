"""What each route needs: the one table that the gate goes by. A route without a row is refused.

Rows name methods and paths as the routes declare them. `HEAD` needs what `GET` does; `*` stands for the methods of
something mounted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.api.access import Scope
from app.api.problems import documented
from app.errors import AccessUnavailable, Forbidden, RateLimited, Unauthenticated

Need = frozenset[Scope]
"""Scopes of which a caller must have one; none at all: everybody may."""
Table = Mapping[tuple[str, str], Need]

EVERYBODY: Final[Need] = frozenset()
ANY_KEY: Final[Need] = frozenset(Scope)
PREDICT: Final[Need] = frozenset({Scope.PREDICT})
SOLVE: Final[Need] = frozenset({Scope.SOLVE})
ADMIN: Final[Need] = frozenset({Scope.ADMIN})

_ROWS: Final[Mapping[Need, tuple[str, ...]]] = {
    EVERYBODY: (
        "GET /",
        "GET /docs",
        "GET /redoc",
        "GET /openapi.json",
        "GET /problems/{kind}",
        "GET /static/console/service.json",
        "* /static/console",
        "* /static",
        "GET /health/live",
        "GET /health/ready",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /metrics",
    ),
    ANY_KEY: (
        "GET /models",
        "GET /models/{name}",
        "GET /models/{name}/versions/{version}",
        "GET /v2",
        "GET /v2/models/stats",
        "GET /v2/models/{name}",
        "GET /v2/models/{name}/versions/{version}",
        "GET /v2/models/{name}/ready",
        "GET /v2/models/{name}/versions/{version}/ready",
        "GET /v2/models/{name}/config",
        "GET /v2/models/{name}/versions/{version}/config",
        "GET /v2/models/{name}/stats",
        "GET /v2/models/{name}/versions/{version}/stats",
        "POST /v2/repository/index",  # it only reads
    ),
    PREDICT: (
        "POST /polarization/predict",
        "POST /polarization/predict/file",
        "POST /waveform",
        "POST /waveform/file",
        "POST /aggregates",
        "POST /aggregates/file",
        "POST /v2/models/{name}/infer",
        "POST /v2/models/{name}/versions/{version}/infer",
    ),
    SOLVE: (
        "POST /indexing/peaks",
        "POST /indexing/solve",
        "POST /indexing/solve/file",
        "POST /indexing/solve/batch",
        "POST /indexing/solve/files",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "DELETE /jobs/{job_id}",
        "GET /jobs/{job_id}/events",
    ),
    ADMIN: (
        "POST /v2/repository/models/{name}/load",
        "POST /v2/repository/models/{name}/unload",
    ),
}


def rows(need: Need, places: Iterable[str]) -> dict[tuple[str, str], Need]:
    """Rows of the table: ``rows(PREDICT, ["POST /echo"])``."""
    return dict.fromkeys(((method, path) for method, _, path in (place.partition(" ") for place in places)), need)


TABLE: Final[Table] = {place: need for need, places in _ROWS.items() for place, need in rows(need, places).items()}


def need_of(table: Table, method: str, path: str) -> Need | None:
    """What a route needs; None where the table has no row for it."""
    return table.get(("GET" if method == "HEAD" else method, path), table.get(("*", path)))


_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_SCHEMES: Final[dict[str, Any]] = {
    "Apikey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Apikey SECRET`, both words.",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The secret alone, or an identity provider's token."},
}


def describe(openapi: dict[str, Any], table: Table, *, optional: bool, tokens: bool) -> None:
    """Write into an OpenAPI document what each route needs, and how it answers where that is not given.

    Args:
        optional: callers without a key may predict and solve.
        tokens: an identity provider is asked, which may not answer.
    """
    openapi.setdefault("components", {})["securitySchemes"] = _SCHEMES
    kinds = [Unauthenticated.kind, Forbidden.kind, RateLimited.kind, *([AccessUnavailable.kind] if tokens else [])]
    for path, operations in openapi["paths"].items():
        for method in operations.keys() & _METHODS:
            need = need_of(table, method.upper(), path)
            if need:
                _describe(operations[method], need, optional=optional and need != ADMIN, kinds=kinds)


def _describe(operation: dict[str, Any], need: Need, *, optional: bool, kinds: Iterable[str]) -> None:
    operation["security"] = [*([{}] if optional else []), *({name: []} for name in _SCHEMES)]
    scopes = " or ".join(f"`{scope.value}`" for scope in Scope if scope in need)
    told = "any key" if need == ANY_KEY else f"a key with the scope {scopes}"
    operation["description"] = f"{operation.get('description', '')}\n\nNeeds {told}.".strip()
    answers = operation.setdefault("responses", {})
    for status, answer in documented(*kinds).items():
        present = answers.setdefault(str(status), answer)
        for media, content in answer["content"].items():
            examples = present.setdefault("content", {}).setdefault(media, content).setdefault("examples", {})
            examples.update(content["examples"])
