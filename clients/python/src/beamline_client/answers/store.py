"""Answers about the models of the store and the health of the service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from beamline_client.answers.shared import UsedModel

__all__ = [
    "AccessHealth",
    "Compiled",
    "Feature",
    "FileOfModel",
    "Health",
    "JobsHealth",
    "Model",
    "ModelList",
    "ModelVersion",
    "PlainForm",
    "Tensor",
    "Training",
    "UsedModel",
    "VersionSummary",
]


@dataclass(frozen=True)
class VersionSummary:
    """One version and how it stands; ``reason`` says why it is not ready."""

    version: int
    aliases: list[str]
    state: Literal["ready", "refused", "stored", "unloaded"]
    reason: str


@dataclass(frozen=True)
class Model:
    """One model and its versions, ascending by number."""

    name: str
    versions: list[VersionSummary]


@dataclass(frozen=True)
class ModelList:
    """Every model of the store, sorted by name."""

    models: list[Model]


@dataclass(frozen=True)
class Feature:
    """What a model sees: unit and range in training."""

    name: str
    unit: str
    min: float | None
    max: float | None
    categories: list[str] | None


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network; None in the shape is the batch axis."""

    name: str
    shape: list[int | None]
    dtype: Literal["float32", "float64", "int32", "int64"]


@dataclass(frozen=True)
class Training:
    """How a version came about."""

    command: str | None
    seed: int | None
    data_fingerprint: str | None
    libraries: dict[str, str]


@dataclass(frozen=True)
class Compiled:
    """The fast form of a network, and its largest difference from the source."""

    file: str
    runtime: Literal["litert"]
    converter: str
    converter_version: str
    source_sha256: str
    parity_max_abs: float
    golden_rows: int


@dataclass(frozen=True)
class PlainForm:
    """An estimator as plain arrays, and its largest difference from the source."""

    source: str
    library: Literal["scikit-learn"]
    library_version: str
    parity_max_abs: float
    golden_rows: int


@dataclass(frozen=True)
class FileOfModel:
    """A file of a version."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class ModelVersion(VersionSummary):
    """One version with all that its publisher said of it; ``card`` is Markdown."""

    name: str
    family: str
    description: str
    created: datetime
    origin: str | None
    features: list[Feature]
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    training: Training
    compiled: Compiled | None
    plain: dict[str, PlainForm]
    files: dict[str, FileOfModel]
    notes: list[str]
    card: str


@dataclass(frozen=True)
class JobsHealth:
    """How the workers for long work stand; predictions do not need them."""

    workers: int
    ready: int
    unavailable: dict[str, str]
    trouble: str


@dataclass(frozen=True)
class AccessHealth:
    """What keeps keys or tokens from being the present ones; empty where nothing does."""

    trouble: str


@dataclass(frozen=True)
class Health:
    """The service answers predictions with these models, as ``name/version``; ``access`` is None of an older one."""

    status: Literal["ready"]
    models: list[str]
    jobs: JobsHealth
    access: AccessHealth | None
