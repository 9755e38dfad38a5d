"""The open inference protocol (KServe V2) with Triton's extensions, so that existing clients work unchanged.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/README.html
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app import __version__
from app.api.health import waiting_for
from app.api.models import Name, Version
from app.api.open_inference import HEADER_LENGTH
from app.api.problems import BODY, documented, problem
from app.api.seams import ModelRegistry, RegistryOf
from app.api.v2_infer import PATHS, Inference
from app.api.v2_models import config, metadata, statistics, statistics_of_all
from app.api.v2_repository import repository
from app.api.v2_schema import (
    INFER_ANSWER,
    INFER_BODY,
    InferenceOut,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ModelStatistics,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from app.model_registry.aliases import STABLE

TAG: Final = "open inference"
SERVER: Final = "beamline-model-server"
EXTENSIONS: Final = ["binary_tensor_data", "model_repository", "model_configuration", "parameters", "statistics"]
_NO_NULLS: Final[dict[str, Any]] = {"response_model_exclude_none": True}
_MODEL: Final = documented("not-found", "invalid-input", "model-unavailable")


def create_router(inference: Inference) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(tags=[TAG])
    _add_server(router)
    _add_statistics(router, inference)
    _add_models(router, inference)
    _add_inference(router, inference)
    router.include_router(repository)
    return router


def _add_server(router: APIRouter) -> None:
    @router.get("/v2", summary="The server and its extensions", responses=documented())
    async def server_metadata() -> ServerMetadata:
        """Name, version, and the extensions of the protocol that are there."""
        return ServerMetadata(name=SERVER, version=__version__, extensions=EXTENSIONS)

    @router.get("/v2/health/live", summary="Is the process alive?", responses=documented())
    async def server_live() -> ServerLive:
        """Answers 200 as long as the process can answer at all, as `/health/live` does."""
        return ServerLive()

    @router.get(
        "/v2/health/ready",
        summary="Can it answer predictions?",
        response_model=ServerReady,
        responses=documented("not-ready"),
    )
    async def server_ready(registry: RegistryOf) -> ServerReady | Response:
        """Answers 200 when every model that an alias names, and that is not unloaded, is loaded; else 503."""
        if waiting := waiting_for(registry.status()):
            return problem("not-ready", members={"waiting_for": waiting}, headers={"Retry-After": "1"})
        return ServerReady()


# Plain functions, which FastAPI runs in threads: a version may have to be loaded first.
def _add_models(router: APIRouter, inference: Inference) -> None:
    @router.get("/v2/models/{name}", summary="Inputs and outputs of a model", responses=_MODEL, **_NO_NULLS)
    def model_metadata(name: Name, registry: RegistryOf) -> ModelMetadata:
        """Names, types and shapes of the tensors of the version that `stable` names; -1 is the batch."""
        return metadata(registry, name, STABLE)

    @router.get(
        "/v2/models/{name}/versions/{version}", summary="Inputs and outputs of a version", responses=_MODEL, **_NO_NULLS
    )
    def version_metadata(name: Name, version: Version, registry: RegistryOf) -> ModelMetadata:
        """Names, types and shapes of the tensors of one version, by its number or an alias; -1 is the batch."""
        return metadata(registry, name, version)

    @router.get("/v2/models/{name}/ready", summary="Does a model answer?", responses=_MODEL)
    def model_ready(name: Name, registry: RegistryOf) -> ModelReady:
        """Answers 200 when the version that `stable` names answers, 503 when it does not, 404 without a model."""
        return _ready(registry, name, STABLE)

    @router.get("/v2/models/{name}/versions/{version}/ready", summary="Does a version answer?", responses=_MODEL)
    def version_ready(name: Name, version: Version, registry: RegistryOf) -> ModelReady:
        """Answers 200 when the version answers, and loads it for that; 503 when it does not, 404 without one."""
        return _ready(registry, name, version)

    @router.get("/v2/models/{name}/config", summary="Triton's configuration of a model", responses=_MODEL)
    def model_config(name: Name, registry: RegistryOf) -> ModelConfig:
        """The version that `stable` names in the form of Triton's model configuration."""
        return config(registry, name, STABLE, inference.limits)

    @router.get(
        "/v2/models/{name}/versions/{version}/config", summary="Triton's configuration of a version", responses=_MODEL
    )
    def version_config(name: Name, version: Version, registry: RegistryOf) -> ModelConfig:
        """One version in the form of Triton's model configuration."""
        return config(registry, name, version, inference.limits)


def _ready(registry: ModelRegistry, name: str, ref: str) -> ModelReady:
    return ModelReady(name=name, version=str(registry.resolve(name, ref).version))


def _add_statistics(router: APIRouter, inference: Inference) -> None:
    @router.get("/v2/models/stats", summary="Counts and times of all models", responses=documented())
    async def all_statistics(registry: RegistryOf) -> ModelStatistics:
        """Requests answered and refused by this server process since its start, and where their time went."""
        return statistics_of_all(registry, inference.statistics)

    @router.get("/v2/models/{name}/stats", summary="Counts and times of a model", responses=_MODEL)
    def model_statistics(name: Name, registry: RegistryOf) -> ModelStatistics:
        """The same of the version that `stable` names."""
        return statistics(registry, name, STABLE, inference.statistics)

    @router.get("/v2/models/{name}/versions/{version}/stats", summary="Counts and times of a version", responses=_MODEL)
    def version_statistics(name: Name, version: Version, registry: RegistryOf) -> ModelStatistics:
        """The same of one version, by its number or an alias."""
        return statistics(registry, name, version, inference.statistics)


def _add_inference(router: APIRouter, inference: Inference) -> None:
    of_model, of_version = (
        router.post(
            path,
            summary=summary,
            response_model=InferenceOut,
            response_model_exclude_none=True,
            responses={**INFER_ANSWER, **documented(*BODY, "not-found", "model-output-invalid", "model-unavailable")},
            openapi_extra=INFER_BODY,
            max_body_size=inference.limits.upload_bytes,
        )
        for path, summary in zip(PATHS, ("Run a model", "Run a version"), strict=True)
    )

    @of_model
    async def infer(name: Name, request: Request) -> Response:
        """Tensors in, tensors out, through the version that `stable` names.

        Tensors come as JSON, or in binary after it with their lengths in `binary_data_size` and the length of the JSON
        in the header. `outputs` chooses; `binary_data`, or `binary_data_output` for all, asks for binary answers.
        Numbers of another width are taken as long as they fit.
        """
        return await _inferred(inference, request, name, STABLE)

    @of_version
    async def infer_version(name: Name, version: Version, request: Request) -> Response:
        """The same through one version, by its number or an alias."""
        return await _inferred(inference, request, name, version)


async def _inferred(inference: Inference, request: Request, name: str, ref: str) -> Response:
    answer = inference.answer(name, ref, request.headers.get(HEADER_LENGTH), await request.body())
    return answer if isinstance(answer, Response) else await answer
