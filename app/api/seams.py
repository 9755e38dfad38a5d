"""What the routers get from the application and the gate: the model registry, the jobs, the metrics, the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, cast

from fastapi import Depends, Request

from app.api.access import CALLER, Access, Caller
from app.jobs.service import Jobs
from app.metrics import Metrics


class ModelState(Protocol):
    """One version of one model, as the registry sees it.

    Attributes:
        state: ``ready`` when it is loaded and has answered a warm-up prediction.
        reason: why it is not ready, in words for the operator; empty when it is.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def aliases(self) -> Sequence[str]: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...


class ModelRegistry(Protocol):
    """The part of `app.model_registry` that the HTTP edge uses."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def status(self) -> Sequence[ModelState]: ...
    def resolve(self, name: str, ref: str) -> Any: ...
    def in_memory(self, name: str, ref: str) -> Any: ...
    def describe(self, name: str, ref: str) -> Any: ...
    def load(self, name: str) -> None: ...
    def unload(self, name: str) -> None: ...


def registry_of(request: Request) -> ModelRegistry:
    """Give the application's registry, where a dependency would cost too much."""
    return cast(ModelRegistry, request.app.state.registry)


def caller_of(request: Request) -> Caller:
    """Who sends a request; the gate has noted it."""
    return cast(Caller, request.scope[CALLER])


# Asynchronous although they await nothing: FastAPI would run a plain function in a thread.
async def _registry(request: Request) -> ModelRegistry:
    return registry_of(request)


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


async def _jobs(request: Request) -> Jobs:
    return cast(Jobs, request.app.state.jobs)


async def _caller(request: Request) -> Caller:
    return caller_of(request)


async def _access(request: Request) -> Access:
    return cast(Access, request.app.state.access)


RegistryOf = Annotated[ModelRegistry, Depends(_registry)]
MetricsOf = Annotated[Metrics, Depends(_metrics)]
JobsOf = Annotated[Jobs, Depends(_jobs)]
CallerOf = Annotated[Caller, Depends(_caller)]
AccessOf = Annotated[Access, Depends(_access)]
