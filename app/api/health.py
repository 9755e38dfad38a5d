"""Probes for supervisors and Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app.api.problems import documented, problem
from app.api.schema import Output
from app.api.seams import MetricsOf, ModelState, RegistryOf
from app.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])

READY = "ready"


class Live(Output):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(Output):
    """Every model that an alias names is loaded and has answered a warm-up prediction."""

    status: Literal["ready"] = "ready"
    models: Annotated[list[str], Field(description="What is loaded, as `name/version`.", examples=[["decay/3"]])]


@router.get("/health/live", summary="Is the process alive?", responses=documented())
async def live() -> Live:
    """Answers 200 as long as the process can answer at all. Restart it where this fails."""
    return Live()


@router.get(
    "/health/ready", summary="Can it answer predictions?", response_model=Ready, responses=documented("not-ready")
)
async def ready(registry: RegistryOf) -> Ready | Response:
    """Answers 200 when every model that an alias names is loaded and warmed up, else 503 with `waiting_for`.

    Send traffic only while this answers 200.
    """
    known = registry.status()
    waiting = waiting_for(known)
    if waiting:
        return problem("not-ready", members={"waiting_for": waiting}, headers={"Retry-After": "1"})
    return Ready(models=sorted(f"{model.name}/{model.version}" for model in known if model.state == READY))


def waiting_for(models: Sequence[ModelState]) -> list[dict[str, object]]:
    """List the models that an alias names and that cannot answer yet."""
    return [
        {"name": model.name, "version": model.version, "aliases": list(model.aliases), "reason": model.reason}
        for model in models
        if model.aliases and model.state != READY
    ]


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented()},
)
async def metrics(counted: MetricsOf, registry: RegistryOf) -> Response:
    """Request counts, a histogram of durations [s] by route, the loaded models and the versions that run."""
    counted.set_loaded_models({(model.name, model.version) for model in registry.status() if model.state == READY})
    return Response(counted.render(), headers={"Content-Type": CONTENT_TYPE})
