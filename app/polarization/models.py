"""Published polarization models as one kind of thing: a network of the D3 pipeline, or an anchored decay model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, ModelRefused
from app.model_registry.kept import Kept
from app.model_registry.registry import LoadedModel
from app.polarization import anchored, decay
from app.polarization.anchored import AnchoredParameters, LifetimePrior
from app.polarization.correction import Curve
from app.polarization.experiment import Material, Query
from app.polarization.features import CELL_PREFIX, NUMBERS, static_features

ANCHORED_FAMILY: Final = "polarization/anchored-decay"
D3_FAMILY: Final = "polarization/d3-network"

USUAL_OPTICS: Final[Mapping[Material, decay.Optics]] = MappingProxyType(
    {"crystalline": decay.Optics(0.931), "amorphous": decay.Optics(0.93, 0.3)}
)
"""Optics of D3's two set-ups, fitted on its decays of 2023 and 2024; a model with its own overrides them."""


@dataclass(frozen=True)
class Outside:
    """One input outside what a model was trained on, in the input's unit."""

    feature: str
    value: float
    lowest: float
    highest: float


class Answer(Protocol):
    """A model's answer to one query: a curve that can be asked at any time."""

    @property
    def anchored(self) -> bool:
        """Whether the curve passes through the calibrations with their sigma, and goes on beyond them, by itself."""
        ...

    @property
    def log_t1_h(self) -> tuple[float, float] | None:
        """Centre and standard deviation of ln(T1/h); None where the model does not say."""
        ...

    @property
    def physics(self) -> decay.DecayFit:
        """The decay through both calibrations, with the model's optics."""
        ...

    @property
    def at_anchors(self) -> tuple[float, float]:
        """Mean before any correction at the initial and at the final calibration."""
        ...

    def asked(self, course: decay.Course) -> Curve:
        """Mean and sigma before any correction at the query's times, at which the course of `physics` is."""
        ...

    def curve(self, course: decay.Course) -> Curve:
        """The same at the times of any other course of `physics`."""
        ...


class PolarizationModel(Protocol):
    """What `app.polarization.predict` needs of a model."""

    @property
    def loaded(self) -> LoadedModel: ...

    @property
    def material(self) -> Material: ...

    @property
    def optics(self) -> decay.Optics: ...

    def lifetime(self, cell_id: str) -> LifetimePrior | None:
        """What the model knows of a cell's T1; None where it knows nothing."""
        ...

    def knows_cell(self, cell_id: str) -> bool: ...

    def answers(self, queries: Sequence[Query]) -> Sequence[Answer]:
        """Answer all queries by one run of the network."""
        ...

    def outside(self, query: Query) -> Sequence[Outside]:
        """Inputs outside the training ranges."""
        ...


_kept: Kept[PolarizationModel] = Kept()


def polarization_model(loaded: LoadedModel) -> PolarizationModel:
    """Give a loaded version the behaviour of its family. The answer is kept: the same version gives the same object.

    Raises:
        InvalidInput: the version is of another job.
        ModelRefused: its parameters do not fit its family.
    """
    return _kept.model(loaded, _of_family)


def _of_family(loaded: LoadedModel) -> PolarizationModel:
    family = loaded.manifest.family
    if family not in _FAMILIES:
        raise InvalidInput(
            f"model {loaded.manifest.name!r} is of family {family!r}; a polarization model is one of "
            f"{', '.join(sorted(_FAMILIES))}"
        )
    try:
        return _FAMILIES[family](loaded)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"the parameters of model {loaded.manifest.name!r} do not fit {family!r}") from error


# --- anchored decay ---------------------------------------------------------------------------------------------------


def parameters_to_json(parameters: AnchoredParameters) -> dict[str, object]:
    """What `parameters_from_json` reads; goes into a manifest."""
    return {
        "material": parameters.material,
        "amplitude": parameters.optics.amplitude,
        "analyser_ratio": parameters.optics.analyser_ratio,
        "excess_sigma": parameters.excess_sigma,
        "network_gain": parameters.network_gain,
        "log_sigma_shift": parameters.log_sigma_shift,
        "log_path_ang_cm": parameters.log_path_ang_cm,
        "path_spread": parameters.path_spread,
        "cells": {name: [prior.log_t1_h, prior.spread] for name, prior in sorted(parameters.cells.items())},
        "unknown_cell": [parameters.unknown_cell.log_t1_h, parameters.unknown_cell.spread],
    }


def parameters_from_json(record: Mapping[str, object]) -> AnchoredParameters:
    """Read `AnchoredParameters` from a manifest's parameters.

    Raises:
        KeyError, TypeError, ValueError: a value is missing or not of its kind.
    """
    ratio, cells = record["analyser_ratio"], record["cells"]
    if not isinstance(cells, Mapping):
        raise TypeError("cells must be a mapping")
    return AnchoredParameters(
        optics=decay.Optics(_number(record["amplitude"]), None if ratio is None else _number(ratio)),
        excess_sigma=_number(record["excess_sigma"]),
        network_gain=_number(record["network_gain"]),
        log_sigma_shift=_number(record["log_sigma_shift"]),
        log_path_ang_cm=_number(record["log_path_ang_cm"]),
        path_spread=_number(record["path_spread"]),
        cells={str(name): _lifetime(pair) for name, pair in cells.items()},
        unknown_cell=_lifetime(record["unknown_cell"]),
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is needed")
    return float(value)


def _lifetime(pair: object) -> LifetimePrior:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError("a lifetime is a pair: ln(T1/h), spread")
    return LifetimePrior(_number(pair[0]), _number(pair[1]))


@dataclass(frozen=True)
class AnchoredAnswer:
    """An anchored decay model's answer to one query."""

    shape: anchored.Shape

    @property
    def anchored(self) -> bool:
        return True

    @property
    def physics(self) -> decay.DecayFit:
        return self.shape.physics

    @property
    def at_anchors(self) -> tuple[float, float]:
        physics = self.physics
        logs = np.array([physics.log_phi_initial, physics.log_phi_final])
        initial, final = decay.neutron_polarization(np.exp(logs), physics.optics).tolist()
        return initial, final

    @property
    def log_t1_h(self) -> tuple[float, float]:
        return self.shape.log_t1_h, self.shape.log_t1_sigma

    def asked(self, course: decay.Course) -> Curve:
        return anchored.curve(self.shape, course)

    def curve(self, course: decay.Course) -> Curve:
        return anchored.curve(self.shape, course)


class AnchoredModel:
    """An anchored decay model with its network."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._ranges = _ranges(loaded)
        self.parameters = parameters_from_json(loaded.parameters)
        self.material: Material = self.parameters.material
        self.optics = self.parameters.optics

    def lifetime(self, cell_id: str) -> LifetimePrior:
        return self.parameters.lifetime(cell_id)

    def knows_cell(self, cell_id: str) -> bool:
        return cell_id in self.parameters.cells

    def answers(self, queries: Sequence[Query]) -> Sequence[AnchoredAnswer]:
        return [AnchoredAnswer(shape) for shape in anchored.shapes(queries, self.parameters, self._heads)]

    def outside(self, query: Query) -> Sequence[Outside]:
        return _outside(self._ranges, query)

    def _heads(self, features: Float[np.ndarray, "batch feature"]) -> Float[np.ndarray, "batch head"]:
        return self.loaded.run({"features": features.astype(np.float32)})["heads"]


# --- networks of the D3 pipeline --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class D3Answer:
    """A D3 network's answer to one query: the network, its static input, and what it said when it was asked."""

    model: D3Network
    static: Float[np.ndarray, "feature"]
    at_query: Curve
    at_anchors: tuple[float, float]
    physics: decay.DecayFit

    @property
    def anchored(self) -> bool:
        return False

    @property
    def log_t1_h(self) -> None:
        return None

    def asked(self, course: decay.Course) -> Curve:
        return self.at_query

    def curve(self, course: decay.Course) -> Curve:
        shape = (len(course.time_s), len(self.static))
        return self.model.curve(np.broadcast_to(self.static, shape), course.time_s)


class D3Network:
    """A two-input network as the D3 notebooks train it: static features and time in, mean and log variance out."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._ranges = _ranges(loaded)
        self.material: Material = "amorphous" if loaded.parameters["material"] == "amorphous" else "crystalline"
        self.optics = USUAL_OPTICS[self.material]
        self.feature_names = tuple(feature.name for feature in loaded.manifest.features)
        self._static = _affine(loaded, "static")
        self._time = _affine(loaded, "time")
        self._target = _affine(loaded, "y")
        self._output = loaded.manifest.outputs[0].name

    def lifetime(self, cell_id: str) -> LifetimePrior | None:
        return None

    def knows_cell(self, cell_id: str) -> bool:
        """A list without one-hot columns ignores cells, so that every one is as good as known."""
        columns = [name for name in self.feature_names if name.startswith(CELL_PREFIX)]
        return not columns or f"{CELL_PREFIX}{cell_id}" in columns

    def answers(self, queries: Sequence[Query]) -> Sequence[D3Answer]:
        statics = np.stack([static_features(query, self.feature_names).values for query in queries])
        times = [np.append(query.time_s, (query.initial.time_s, query.final.time_s)) for query in queries]
        lengths = [len(time_s) for time_s in times]
        curve = self.curve(np.repeat(statics, lengths, axis=0), np.concatenate(times))
        ends = np.cumsum(lengths).tolist()
        parts = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        return [
            self._answer(query, static, curve.mean[part], curve.sigma[part])
            for query, static, part in zip(queries, statics, parts, strict=True)
        ]

    def _answer(self, query: Query, static: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> D3Answer:
        """The last two times are the anchors."""
        initial, final = mean[-2:].tolist()
        (t0, p0), (t1, p1) = ((c.time_s, c.polarization) for c in (query.initial, query.final))
        phi0, phi1 = (decay.opacity_from_polarization(p, self.optics) for p in (p0, p1))
        physics = decay.decay_between((t0, p0, phi0), (t1, p1, phi1), self.optics)
        return D3Answer(self, static, Curve(mean[:-2], sigma[:-2]), (initial, final), physics)

    def outside(self, query: Query) -> Sequence[Outside]:
        return _outside(self._ranges, query)

    def curve(self, static: Float[np.ndarray, "time feature"], time_s: Float[np.ndarray, "time"]) -> Curve:
        """One row a time: the network averages over a sequence, which here has one element."""
        scale, offset = self._static
        rows = np.ascontiguousarray(static * scale + offset, dtype=np.float32)
        scale, offset = self._time
        times = (time_s * scale + offset).astype(np.float32)[:, None, None]
        output = self.loaded.run({"static_input": rows, "time_input": times})[self._output]
        scale, offset = self._target
        mean, log_variance = output[:, 0].astype(float), output[:, 1].astype(float)
        return Curve((mean - offset) / scale, np.exp(log_variance / 2) / scale)


def _affine(loaded: LoadedModel, role: str) -> tuple[np.ndarray, np.ndarray]:
    """A MinMaxScaler's arithmetic without its checks: x scale + offset."""
    scaler = loaded.scalers[role]
    scale, offset = np.asarray(scaler.scale_, dtype=float), np.asarray(scaler.min_, dtype=float)
    return (scale, offset) if len(scale) > 1 else (scale[0], offset[0])


@dataclass(frozen=True)
class _Range:
    """The training range of one number."""

    feature: str
    number: Callable[[Query], float]
    lowest: float
    highest: float


def _ranges(loaded: LoadedModel) -> tuple[_Range, ...]:
    return tuple(
        _Range(feature.name, NUMBERS[feature.name], feature.min, feature.max)
        for feature in loaded.manifest.features
        if feature.name in NUMBERS and feature.min is not None and feature.max is not None
    )


def _outside(ranges: Sequence[_Range], query: Query) -> list[Outside]:
    found: list[Outside] = []
    for known in ranges:
        value = known.number(query)
        if not known.lowest <= value <= known.highest:
            found.append(Outside(known.feature, value, known.lowest, known.highest))
    return found


_FAMILIES: Final[Mapping[str, Callable[[LoadedModel], PolarizationModel]]] = MappingProxyType(
    {ANCHORED_FAMILY: AnchoredModel, D3_FAMILY: D3Network}
)
