"""The model store over HTTP: names, versions, cards and metrics. Nothing here changes the store."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from app.api.problems import documented
from app.api.schema import Output
from app.api.seams import ModelState, RegistryOf
from app.errors import NotFound
from app.model_registry.manifest import NAME_PATTERN, Compiled, Feature, FileEntry, PlainForm, TensorSpec, Training
from app.model_registry.store import REF_PATTERN

router = APIRouter(prefix="/models", tags=["models"])

EXAMPLE_NAME = "polarization-crystalline"

Name = Annotated[
    str, Path(pattern=NAME_PATTERN, max_length=64, description="Name of the model.", examples=[EXAMPLE_NAME])
]
Version = Annotated[
    str,
    Path(
        pattern=REF_PATTERN,
        max_length=32,
        description="A version number, or an alias such as `stable` or `latest`.",
        examples=["stable"],
    ),
]


class VersionSummary(Output):
    """One version and how it stands."""

    version: Annotated[int, Field(description="Version number; 0 stands for aliases that cannot be read.")]
    aliases: Annotated[list[str], Field(description="Aliases that it answers for.", examples=[["latest", "stable"]])]
    state: Annotated[
        Literal["ready", "refused", "stored", "unloaded"],
        Field(
            description="`ready`: loaded; `refused`: failed a check; `stored`: loaded when asked for; "
            "`unloaded`: taken out of service."
        ),
    ]
    reason: Annotated[str, Field(description="Why it is not ready; empty when it is.", examples=[""])]


class ModelSummary(Output):
    """One model and its versions."""

    name: Annotated[str, Field(description="Name of the model.", examples=[EXAMPLE_NAME])]
    versions: Annotated[list[VersionSummary], Field(description="Ascending by number.")]


class ModelList(Output):
    """Every model of the store."""

    models: Annotated[list[ModelSummary], Field(description="Sorted by name.")]


class VersionFull(VersionSummary):
    """One version with all that its publisher said of it. Units stand in the features and in the metrics' names."""

    name: Annotated[str, Field(description="Name of the model.", examples=[EXAMPLE_NAME])]
    family: Annotated[str, Field(description="Job and kind of model.", examples=["polarization/d3-network"])]
    description: Annotated[str, Field(description="One or two sentences.")]
    created: Annotated[datetime, Field(description="When it was published (UTC).")]
    origin: Annotated[str | None, Field(description="Where it came from, if it was imported.")]
    features: Annotated[list[Feature], Field(description="What the model sees, in order, with training ranges.")]
    inputs: Annotated[list[TensorSpec], Field(description="The network's inputs; `null` is the batch axis.")]
    outputs: Annotated[list[TensorSpec], Field(description="The network's outputs; `null` is the batch axis.")]
    parameters: Annotated[dict[str, Any], Field(description="Constants of the model.")]
    metrics: Annotated[dict[str, Any], Field(description="Scores of its evaluation; the card says how.")]
    training: Annotated[Training, Field(description="How the version came about.")]
    compiled: Annotated[Compiled | None, Field(description="The fast form and its difference from Keras.")]
    plain: Annotated[
        dict[str, PlainForm],
        Field(description="Estimators that are plain arrays, and their difference from the source."),
    ]
    files: Annotated[dict[str, FileEntry], Field(description="Files with size [bytes] and SHA-256.")]
    notes: Annotated[list[str], Field(description="What a careful user should know.")]
    card: Annotated[str, Field(description="The model card, in Markdown.")]


@router.get("", summary="List the models", responses=documented())
async def list_models(registry: RegistryOf) -> ModelList:
    """Every model with its versions, their aliases, and whether they are loaded."""
    grouped = groupby(registry.status(), key=lambda state: state.name)
    return ModelList(models=[_model(name, list(states)) for name, states in grouped])


@router.get("/{name}", summary="One model and its versions", responses=documented("not-found", "invalid-input"))
async def show_model(name: Name, registry: RegistryOf) -> ModelSummary:
    """The versions of one model, their aliases, and whether they are loaded."""
    known = registry.status()
    states = [state for state in known if state.name == name]
    if not states:
        raise NotFound(
            "There is no model of that name.", details={"available": sorted({state.name for state in known})}
        )
    return _model(name, states)


@router.get(
    "/{name}/versions/{version}",
    summary="One version: card, metrics, features",
    responses=documented("not-found", "invalid-input", "model-refused"),
)
def show_version(name: Name, version: Version, registry: RegistryOf) -> VersionFull:
    """What a version says of itself: card, metrics, features with units and training ranges, files and digests."""
    detail = registry.describe(name, version)
    told = detail.manifest.model_dump(exclude={"schema_version", "network", "scalers", "version"})
    state = _version(detail.state).model_dump()
    return VersionFull.model_validate({**told, **state, "card": detail.card})


def _model(name: str, states: list[ModelState]) -> ModelSummary:
    return ModelSummary(name=name, versions=[_version(state) for state in states])


def _version(state: ModelState) -> VersionSummary:
    told = {"version": state.version, "aliases": list(state.aliases), "state": state.state, "reason": state.reason}
    return VersionSummary.model_validate(told)
