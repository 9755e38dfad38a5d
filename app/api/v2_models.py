"""What the open inference protocol tells of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.health import READY
from app.api.seams import ModelRegistry
from app.api.v2_infer import Limits
from app.api.v2_schema import (
    ConfigTensor,
    Duration,
    InferStatistics,
    LatestVersions,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    TensorMetadata,
    VersionPolicy,
    VersionStatistics,
)
from app.api.v2_statistics import Statistics
from app.api.v2_tensors import datatype, dimensions
from app.model_registry.manifest import TensorSpec


def metadata(registry: ModelRegistry, name: str, ref: str) -> ModelMetadata:
    """Inputs and outputs of a version.

    Raises:
        NotFound, ModelUnavailable: as `Registry.resolve`.
    """
    tensors = registry.resolve(name, ref).tensors
    return ModelMetadata(
        name=name,
        versions=_versions(registry, name),
        platform=tensors.form,
        inputs=[_tensor(spec, {}) for spec in tensors.inputs],
        outputs=[_tensor(spec, tensors.classes) for spec in tensors.outputs],
    )


def _versions(registry: ModelRegistry, name: str) -> list[str]:
    return [state.version for state in registry.status() if state.name == name]


def _tensor(spec: TensorSpec, classes: Mapping[str, tuple[Any, ...]]) -> TensorMetadata:
    parameters = {"classes": list(classes[spec.name])} if spec.name in classes else None
    return TensorMetadata(name=spec.name, datatype=datatype(spec), shape=dimensions(spec), parameters=parameters)


def config(registry: ModelRegistry, name: str, ref: str, limits: Limits) -> ModelConfig:
    """A version in Triton's words. Raises as `metadata`."""
    tensors = registry.resolve(name, ref).tensors
    return ModelConfig(
        name=name,
        platform=tensors.form,
        backend=tensors.form,
        version_policy=VersionPolicy(latest=LatestVersions(num_versions=len(_versions(registry, name)))),
        max_batch_size=limits.rows,
        input=[_config_tensor(spec) for spec in tensors.inputs],
        output=[_config_tensor(spec) for spec in tensors.outputs],
    )


def _config_tensor(spec: TensorSpec) -> ConfigTensor:
    return ConfigTensor(name=spec.name, data_type=f"TYPE_{datatype(spec)}", dims=dimensions(spec)[1:])


def statistics(registry: ModelRegistry, name: str, ref: str, counted: Statistics) -> ModelStatistics:
    """What one version has answered. Raises as `metadata`."""
    model = registry.resolve(name, ref)
    return ModelStatistics(model_stats=[_version_statistics(model.name, model.version, counted)])


def statistics_of_all(registry: ModelRegistry, counted: Statistics) -> ModelStatistics:
    """What every loaded version has answered."""
    loaded = [state for state in registry.status() if state.state == READY]
    return ModelStatistics(model_stats=[_version_statistics(one.name, int(one.version), counted) for one in loaded])


def _version_statistics(name: str, version: int, counted: Statistics) -> VersionStatistics:
    found = counted.of((name, version))
    nothing = Duration(count=0, ns=0)
    whole = found.waited + found.read + found.computed + found.written
    told = InferStatistics(
        success=Duration(count=found.runs, ns=whole),
        fail=Duration(count=found.failed, ns=found.failed_ns),
        queue=Duration(count=found.runs, ns=found.waited),
        compute_input=Duration(count=found.runs, ns=found.read),
        compute_infer=Duration(count=found.runs, ns=found.computed),
        compute_output=Duration(count=found.runs, ns=found.written),
        cache_hit=nothing,
        cache_miss=nothing,
    )
    return VersionStatistics(
        name=name,
        version=str(version),
        last_inference=found.last_ms,
        inference_count=found.rows,
        execution_count=found.runs,
        inference_stats=told,
        batch_stats=[],
    )
