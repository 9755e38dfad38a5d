"""Triton's model repository extension: what there is, and taking models out of service and back."""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app.api.health import READY
from app.api.models import Name
from app.api.problems import BODY, documented
from app.api.schema import JsonBody
from app.api.seams import ModelState, RegistryOf
from app.api.v2_schema import Changed, IndexEntry, IndexIn, LoadIn, UnloadIn
from app.errors import InvalidInput

STORED: Final = "stored"
ON_DEMAND: Final = "loaded when asked for"

_log = structlog.stdlib.get_logger("app.api")

repository = APIRouter(prefix="/v2/repository")

Model = TypeVar("Model", bound=BaseModel)


class _OptionalBody(Generic[Model]):
    """Dependency that reads a JSON body that may be missing, of any content type: clients of Triton send none."""

    def __init__(self, model: type[Model], examples: dict[str, Any]) -> None:
        self._body = JsonBody(model, examples=examples)

    async def __call__(self, request: Request) -> Model:
        return self._body.parse(await request.body() or b"{}")

    @property
    def openapi(self) -> dict[str, Any]:
        described = self._body.openapi
        described["requestBody"]["required"] = False
        return described


_INDEX: Final = _OptionalBody(IndexIn, {"all": {"value": {}}, "ready": {"value": {"ready": True}}})
_LOAD: Final = _OptionalBody(LoadIn, {"load": {"value": {}}})
_UNLOAD: Final = _OptionalBody(UnloadIn, {"unload": {"value": {}}})
_CHANGE: Final = documented(*BODY, "not-found", "conflict", "model-refused")


@repository.post(
    "/index", summary="Every version and how it stands", openapi_extra=_INDEX.openapi, responses=documented(*BODY)
)
async def index(asked: Annotated[IndexIn, Depends(_INDEX)], registry: RegistryOf) -> list[IndexEntry]:
    """All versions of all models, `READY` or `UNAVAILABLE` with the reason; with `ready` the former alone."""
    entries = [_entry(state) for state in registry.status()]
    return [entry for entry in entries if entry.state == "READY" or not asked.ready]


def _entry(state: ModelState) -> IndexEntry:
    reason = ON_DEMAND if state.state == STORED else state.reason
    return IndexEntry(name=state.name, version=state.version, state=_in_tritons_words(state), reason=reason)


def _in_tritons_words(state: ModelState) -> Literal["READY", "UNAVAILABLE"]:
    return "READY" if state.state in (READY, STORED) else "UNAVAILABLE"


# Plain functions, which FastAPI runs in threads: loading takes its time.
@repository.post(
    "/models/{name}/load",
    summary="Bring a model back into service",
    openapi_extra=_LOAD.openapi,
    responses=_CHANGE,
)
def load(name: Name, asked: Annotated[LoadIn, Depends(_LOAD)], registry: RegistryOf) -> Changed:
    """Load an unloaded model, and look now for new versions and moved aliases of any model.

    Of a model in service it only looks. Other server processes over the same store follow within seconds.
    """
    if asked.parameters.keys() - {"unload_dependents"}:
        raise InvalidInput(
            "parameters: a load takes neither config nor files; publish a version in the model store, then load"
        )
    registry.load(name)
    _log.info("model loaded by request", model=name)
    return Changed(name=name, state="READY", reason="")


@repository.post(
    "/models/{name}/unload",
    summary="Take a model out of service",
    openapi_extra=_UNLOAD.openapi,
    responses=_CHANGE,
)
def unload(name: Name, _asked: Annotated[UnloadIn, Depends(_UNLOAD)], registry: RegistryOf) -> Changed:
    """Unload all versions of a model: every endpoint answers 503 for it until it is loaded, also after a restart.

    Requests under way are answered. Other server processes over the same store follow within seconds.
    """
    registry.unload(name)
    _log.info("model unloaded by request", model=name)
    return Changed(name=name, state="UNAVAILABLE", reason="unloaded")
