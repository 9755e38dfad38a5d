"""Probes for supervisors and Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app.api.problems import documented, problem
from app.api.schema import Output
from app.api.seams import AccessOf, JobsOf, MetricsOf, ModelState, RegistryOf
from app.errors import JobsUnavailable
from app.jobs.service import Jobs
from app.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["health"])

READY = "ready"
UNLOADED = "unloaded"


class Live(Output):
    """The process answers."""

    status: Literal["live"] = "live"


class JobsReady(Output):
    """How the workers for long work stand; what they lack keeps no prediction waiting."""

    workers: Annotated[int, Field(description="Worker processes that there should be.")]
    ready: Annotated[int, Field(description="Those that are warm. Jobs wait for one.")]
    unavailable: Annotated[dict[str, str], Field(description="Kinds of jobs that cannot run, and why.")]
    trouble: Annotated[str, Field(description="What keeps all jobs waiting; empty where nothing does.")]


class AccessReady(Output):
    """How the keys of callers stand."""

    trouble: Annotated[
        str, Field(description="What keeps keys or tokens from being the present ones; empty where nothing does.")
    ]


class Ready(Output):
    """Every model that an alias names is loaded and has answered a warm-up prediction."""

    status: Literal["ready"] = "ready"
    models: Annotated[list[str], Field(description="What is loaded, as `name/version`.", examples=[["decay/3"]])]
    jobs: JobsReady
    access: AccessReady


@router.get("/health/live", summary="Is the process alive?", responses=documented())
async def live() -> Live:
    """Answers 200 as long as the process can answer at all. Restart it where this fails."""
    return Live()


@router.get(
    "/health/ready", summary="Can it answer predictions?", response_model=Ready, responses=documented("not-ready")
)
async def ready(registry: RegistryOf, jobs: JobsOf, access: AccessOf) -> Ready | Response:
    """Answers 200 when every model that an alias names is loaded and warmed up, else 503 with `waiting_for`.

    Send traffic only while this answers 200. Workers for long work are listed, and keep nothing waiting.
    """
    known = registry.status()
    waiting = waiting_for(known)
    if waiting:
        return problem("not-ready", members={"waiting_for": waiting}, headers={"Retry-After": "1"})
    loaded = sorted(f"{model.name}/{model.version}" for model in known if model.state == READY)
    state = jobs.status()
    return Ready(
        models=loaded,
        jobs=JobsReady(
            workers=state.workers, ready=state.ready, unavailable=dict(state.unavailable), trouble=state.trouble
        ),
        access=AccessReady(trouble=access.trouble),
    )


def waiting_for(models: Sequence[ModelState]) -> list[dict[str, object]]:
    """List the models that an alias names and that cannot answer yet; one taken out of service is not waited for."""
    return [
        {"name": model.name, "version": model.version, "aliases": list(model.aliases), "reason": model.reason}
        for model in models
        if model.aliases and model.state not in (READY, UNLOADED)
    ]


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented()},
)
async def metrics(counted: MetricsOf, registry: RegistryOf, jobs: JobsOf) -> Response:
    """Request counts, a histogram of durations [s] by route, jobs, the loaded models and the versions that run."""
    counted.set_loaded_models({(model.name, model.version) for model in registry.status() if model.state == READY})
    await _count_jobs(counted, jobs)
    return Response(counted.render(), headers={"Content-Type": CONTENT_TYPE})


async def _count_jobs(counted: Metrics, jobs: Jobs) -> None:
    # Without the database the other metrics are all the more wanted.
    with suppress(JobsUnavailable):
        by_state = await jobs.count()
        counted.set_jobs(queued=by_state.get("queued", 0), running=by_state.get("running", 0))
