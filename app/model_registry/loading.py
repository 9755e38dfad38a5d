"""From checked files to a model that has answered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from app.errors import AppError, ModelRefused, ModelUnavailable
from app.model_registry.manifest import Compiled, Manifest, TensorSpec
from app.model_registry.pickled_arrays import refuse
from app.model_registry.plain import check_plain, load_plain
from app.model_registry.runtime import KerasModel, LiteRTModel, Network
from app.model_registry.store import StoredVersion
from app.model_registry.tensors import NO_TENSORS, Tensors, tensors_of


@dataclass(frozen=True)
class LoadedModel:
    """One version in memory, warmed up; may be used from several threads.

    Attributes:
        run: the network, {input name: array ``batch ...``} to {output name: array ``batch ...``}.
        scalers: role -> fitted scikit-learn scaler or forest, or `plain.PlainEstimator`.
        notes: the manifest's notes and those of the loading.
        tensors: the version as named arrays, for callers that know nothing of its domain.
        made: what domains have made of it, which goes with it; see `app.model_registry.kept`.
    """

    manifest: Manifest
    run: Network
    scalers: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    tensors: Tensors = NO_TENSORS
    made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Constants that the model's domain reads."""
        return self.manifest.parameters


def load_version(stored: StoredVersion) -> LoadedModel:
    """Unpickle, build and warm up a version from the bytes whose digests were checked.

    Raises:
        ModelRefused: a pickle or network is not admitted, or the warm-up does not give finite numbers of the
            declared shapes.
        ModelUnavailable: no runtime for the network is installed here.
    """
    manifest = stored.manifest
    scalers, notes = _scalers(stored)
    run = _network(stored)
    if manifest.inputs:
        warm_up(run, manifest)
    told = tuple(dict.fromkeys((*manifest.notes, *notes)))
    return LoadedModel(manifest, run, MappingProxyType(scalers), told, tensors_of(manifest, run, scalers))


def _scalers(stored: StoredVersion) -> tuple[dict[str, Any], tuple[str, ...]]:
    scalers: dict[str, Any] = {}
    notes: dict[str, None] = {}
    for role, file in stored.manifest.scalers.items():
        read = _plain if role in stored.manifest.plain else _unpickled
        try:
            scalers[role], said = read(stored.contents[file])
        except ModelRefused as error:
            raise ModelRefused(f"{file}: {error.message}") from error
        notes |= dict.fromkeys(said)
    return scalers, tuple(notes)


def _plain(content: bytes) -> tuple[Any, tuple[str, ...]]:
    estimator = load_plain(content)
    check_plain(estimator)
    return estimator, ()


def _unpickled(content: bytes) -> tuple[Any, tuple[str, ...]]:
    # scikit-learn takes a second to import, and a service whose models hold no pickles never needs it.
    from app.model_registry.unpickle import load_estimator

    found = load_estimator(content)
    check_estimator(found.value)
    return found.value, found.notes


def check_estimator(estimator: Any) -> None:
    """Let a scaler or forest answer once.

    Raises:
        ModelRefused: it does not give finite numbers.
    """
    from app.model_registry.unpickle import SCALERS, finite_scaler

    columns = getattr(estimator, "n_features_in_", None)
    if type(columns) is not int or not 0 < columns <= 10**6:
        raise refuse("The estimator does not say how many columns it takes: it was not fitted.")
    if isinstance(estimator, SCALERS):
        finite_scaler(estimator, n_features=columns)
        return
    try:
        estimator.predict(np.zeros((1, columns)))
    except Exception as error:  # hostile attributes can fail in any way
        raise refuse(f"The forest does not work ({type(error).__name__}).") from error


def _network(stored: StoredVersion) -> Network:
    manifest, contents = stored.manifest, stored.contents
    if manifest.compiled is not None:
        try:
            return _compiled(manifest, manifest.compiled, contents)
        except ModelUnavailable:
            if manifest.network is None:
                raise
    if manifest.network is not None:
        return KerasModel(contents[manifest.network], manifest.inputs)
    return _no_network


def _compiled(manifest: Manifest, compiled: Compiled, contents: Mapping[str, bytes]) -> LiteRTModel:
    return LiteRTModel(contents[compiled.file], manifest.inputs, manifest.outputs)


def _no_network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    raise ModelUnavailable(f"This model has no network; {sorted(inputs)[:8]} cannot be run through one.")


def warm_up(run: Network, manifest: Manifest) -> None:
    """Run zeros and ones through every input.

    Raises:
        ModelRefused: an output is missing, not finite, or of another shape than declared.
    """
    for value in (0, 1):
        asked = {spec.name: np.full(_one_row(spec), value, dtype=spec.dtype) for spec in manifest.inputs}
        try:
            answer = run(asked)
        except AppError as error:
            raise ModelRefused(f"The warm-up failed: {error.message}") from error
        for spec in manifest.outputs:
            _check_output(answer.get(spec.name), spec)


def _check_output(found: np.ndarray | None, spec: TensorSpec) -> None:
    if found is None or found.shape != _one_row(spec) or not np.isfinite(found).all():
        raise ModelRefused(f"The warm-up's output {spec.name} is not one row of finite numbers of the declared shape.")


def _one_row(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(n or 1 for n in spec.shape)
