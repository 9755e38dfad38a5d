"""A version as named arrays: what goes in, what comes out, and how long a row takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Final, Literal

import numpy as np

from app.errors import AppError, ModelUnavailable
from app.model_registry.manifest import Manifest, TensorSpec
from app.model_registry.plain import PlainClassifier, PlainEstimator, PlainForest
from app.model_registry.runtime import KerasModel, LiteRTModel, Network

FEATURES: Final = "features"
"""Input of a model that is plain arrays: the columns of its manifest's features."""
TIMED_RUNS: Final = 5
TIMED_ROWS: Final = 32

Form = Literal["litert", "keras", "plain", "none"]


@dataclass(frozen=True)
class Tensors:
    """What a version computes from named arrays; may be used from several threads.

    Attributes:
        inputs, outputs: names, types and shapes, the first axis of which is the batch; empty where the version is of
            no use without the code of its domain.
        run: {input name: array ``batch ...``} to {output name: array ``batch ...``}.
        form: what computes.
        takes_missing: NaN in an input stands for a missing feature.
        classes: output -> the labels of its columns, for the probabilities of a classification.
        call_s, row_s: time of a call with one row, and of each row of a batch [s]; infinite where it is not known.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    run: Network
    form: Form
    takes_missing: bool = False
    classes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    call_s: float = math.inf
    row_s: float = math.inf

    def expected_s(self, rows: int) -> float:
        """About how long a batch takes, rather too long than too short [s]."""
        return self.call_s + (rows - 1) * self.row_s


def tensors_of(manifest: Manifest, run: Network, scalers: Mapping[str, Any]) -> Tensors:
    """How a version answers for itself: by its network, or by the estimators that it holds as plain arrays.

    Plain estimators share the one input ``features``, float64; each gives an output named by its role: predictions
    ``batch`` of a regression, ``batch output`` of a forest with several outputs, probabilities ``batch class`` of a
    classification.
    """
    if manifest.inputs:
        form: Form = "litert" if isinstance(run, LiteRTModel) else "keras" if isinstance(run, KerasModel) else "none"
        return timed(Tensors(manifest.inputs, manifest.outputs, run, form))
    estimators = {role: one for role, one in sorted(scalers.items()) if isinstance(one, PlainEstimator)}
    columns = {one.n_features_in_ for one in estimators.values()}
    return _of_estimators(estimators, columns.pop()) if len(columns) == 1 else NO_TENSORS


def timed(tensors: Tensors) -> Tensors:
    """The same, with its times measured."""
    call_s = _shortest_s(tensors, 1)
    return replace(tensors, call_s=call_s, row_s=min(call_s, _shortest_s(tensors, TIMED_ROWS) / TIMED_ROWS))


def _shortest_s(tensors: Tensors, rows: int) -> float:
    """Shortest of a few runs of rows of zeros [s]; infinite where so many rows at once are not taken."""
    zeros = {spec.name: np.zeros(_filled(spec.shape, rows), spec.dtype) for spec in tensors.inputs}
    taken: list[float] = []
    try:
        for _ in range(TIMED_RUNS):
            started = perf_counter()
            tensors.run(zeros)
            taken.append(perf_counter() - started)
    except AppError:
        return math.inf
    return min(taken)


def _filled(shape: tuple[int | None, ...], rows: int) -> list[int]:
    """The shape of a batch; other free axes have one element."""
    return [(1 if axis else rows) if size is None else size for axis, size in enumerate(shape)]


def _of_estimators(estimators: Mapping[str, PlainEstimator], columns: int) -> Tensors:
    inputs = (TensorSpec(name=FEATURES, shape=(None, columns), dtype="float64"),)
    outputs = tuple(TensorSpec(name=role, shape=_shape(one), dtype="float64") for role, one in estimators.items())
    classes = {
        role: tuple(one.classes_.tolist()) for role, one in estimators.items() if isinstance(one, PlainClassifier)
    }
    return timed(Tensors(inputs, outputs, _Estimators(estimators), "plain", takes_missing=True, classes=classes))


def _shape(estimator: PlainEstimator) -> tuple[int | None, ...]:
    """Of what it answers to a batch."""
    if isinstance(estimator, PlainClassifier):
        return None, len(estimator.classes_)
    outputs = estimator.forest.value.shape[1] if isinstance(estimator, PlainForest) else 1
    return (None, outputs) if outputs > 1 else (None,)


@dataclass(frozen=True)
class _Estimators:
    estimators: Mapping[str, PlainEstimator]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = inputs[FEATURES]
        return {
            role: one.predict_proba(rows) if isinstance(one, PlainClassifier) else one.predict(rows).astype(float)
            for role, one in self.estimators.items()
        }


def _nothing(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    raise ModelUnavailable("This version has no tensors of its own: ask the endpoint of its job.")


NO_TENSORS: Final = Tensors((), (), _nothing, "none")
