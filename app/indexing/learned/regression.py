"""Cells drawn from the lines at once: a distribution of the cell constants by variance networks and random forests.

Section 2.2 of the data-driven indexing report. Each group of a Bravais lattice (structures with alike reflection
conditions) may have a network, which answers the mean of every constant and the inverse-gamma distribution of its
variance, and a forest, whose trees are draws. Training and service compute what a model sees by the functions here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Float

from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.crystallography.metric import exists
from app.errors import ModelRefused
from app.model_registry.loading import LoadedModel

FAMILY: Final = "indexing/regression"
INPUT, MEAN, ALPHA, BETA = "lines", "mean", "alpha", "beta"
"""Names of the network's input (batch, feature) and outputs (batch, group, param)."""
LOG_WEIGHT, CENTRE, FACTOR = "log_weight", "centre", "factor"
"""Outputs of a mixture: (batch, group, component), (batch, group, component * param), and (batch, group, component *
entry), the lower triangle of the Cholesky factor of the inverse covariance, row by row, its diagonal as logarithms."""
LARGEST_LOG_FACTOR: Final = 6.0
LARGEST_LOG_LENGTH: Final = 12.0
"""Logarithms of lengths are held below: a draw far out must not overflow."""

Network = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class TreesOfForest(Protocol):
    """A forest that says what each of its trees answers."""

    def by_tree(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row tree param"]: ...


# What a model sees and says


@dataclass(frozen=True)
class Frame:
    """The units in which lines and cells are told to a model.

    Attributes:
        inputs: from q^2 (pattern, peak) to the features (pattern, feature).
        targets: from the free constants and q^2 to what is predicted, both (pattern, param).
        constants: the reverse of ``targets``.
    """

    inputs: Callable[[np.ndarray], np.ndarray]
    targets: Callable[[BravaisLattice, np.ndarray, np.ndarray], np.ndarray]
    constants: Callable[[BravaisLattice, np.ndarray, np.ndarray], np.ndarray]


def _is_length(lattice: BravaisLattice) -> np.ndarray:
    return np.array([name.endswith("ang") for name in lattice.free_constants])


def _absolute_targets(lattice: BravaisLattice, constants: np.ndarray, q2: np.ndarray) -> np.ndarray:
    return np.where(_is_length(lattice), constants, np.radians(constants) - np.pi / 2)


def _absolute_constants(lattice: BravaisLattice, targets: np.ndarray, q2: np.ndarray) -> np.ndarray:
    return np.where(_is_length(lattice), targets, np.degrees(targets + np.pi / 2))


def _unit(q2: np.ndarray) -> np.ndarray:
    """The mean q^2 of the lines, shape (pattern, 1)."""
    return q2.mean(axis=-1, keepdims=True)


def _relative_inputs(q2: np.ndarray) -> np.ndarray:
    return np.concatenate([np.sqrt(q2 / _unit(q2)), np.log(_unit(q2))], axis=-1)


def _relative_targets(lattice: BravaisLattice, constants: np.ndarray, q2: np.ndarray) -> np.ndarray:
    angles = np.radians(constants) - np.pi / 2
    return np.where(_is_length(lattice), np.log(constants * np.sqrt(_unit(q2))), angles)


def _relative_constants(lattice: BravaisLattice, targets: np.ndarray, q2: np.ndarray) -> np.ndarray:
    lengths = np.exp(np.clip(targets, -LARGEST_LOG_LENGTH, LARGEST_LOG_LENGTH)) / np.sqrt(_unit(q2))
    return np.where(_is_length(lattice), lengths, np.degrees(targets + np.pi / 2))


FRAMES: Mapping[str, Frame] = MappingProxyType(
    {
        "absolute": Frame(lambda q2: q2, _absolute_targets, _absolute_constants),
        "relative": Frame(_relative_inputs, _relative_targets, _relative_constants),
    }
)
"""``absolute``: q^2 and lengths as they are, as in the report. ``relative``: both in units of the mean line, lengths by
their logarithm, so that a pattern and its magnified copy are one question; how large the unit is comes as one more
feature. Angles in radians from the right angle, in both."""


@dataclass(frozen=True)
class Scaling:
    """How lines and cells become numbers near one.

    Attributes:
        frame: of `FRAMES`.
        n_lines: lines that are looked at, from the lowest; a shorter list is filled with its last line.
        input_mean, input_scale: of each feature.
        target_mean, target_scale: of each target, the scale after the rotation.
        rotation: orthogonal, shape (param, param): predicted are the columns of ``(targets - mean) @ rotation``. The
            constants of a cell hang together (a long axis goes with short ones), its principal directions less so.
    """

    frame: str
    n_lines: int
    input_mean: Float[np.ndarray, "feature"]
    input_scale: Float[np.ndarray, "feature"]
    target_mean: Float[np.ndarray, "param"]
    target_scale: Float[np.ndarray, "param"]
    rotation: Float[np.ndarray, "param param"]

    def inputs(self, q2: Float[np.ndarray, "pattern peak"]) -> Float[np.ndarray, "pattern feature"]:
        """What a model sees of the first lines (NaN behind the last of a pattern), single precision."""
        raw = FRAMES[self.frame].inputs(first_lines(q2, self.n_lines))
        return ((raw - self.input_mean) / self.input_scale).astype(np.float32)

    def targets(
        self, lattice: BravaisLattice, constants: Float[np.ndarray, "pattern 6"], q2: Float[np.ndarray, "pattern peak"]
    ) -> Float[np.ndarray, "pattern param"]:
        """What a model is to say for these cells."""
        free = constants[:, [CONSTANTS.index(name) for name in lattice.free_constants]]
        raw = FRAMES[self.frame].targets(lattice, free, first_lines(q2, self.n_lines))
        return (raw - self.target_mean) @ self.rotation / self.target_scale

    def constants(
        self, lattice: BravaisLattice, targets: Float[np.ndarray, "cell param"], q2: Float[np.ndarray, "peak"]
    ) -> Float[np.ndarray, "cell 6"]:
        """The cells that a model said of one pattern; they need not exist."""
        raw = (targets * self.target_scale) @ self.rotation.T + self.target_mean
        return filled(lattice, FRAMES[self.frame].constants(lattice, raw, first_lines(q2[None], self.n_lines)))


def first_lines(q2: Float[np.ndarray, "pattern peak"], n_lines: int) -> Float[np.ndarray, "pattern line"]:
    """The lowest lines; a pattern with fewer (NaN behind) is filled with its last one."""
    kept = np.full((len(q2), n_lines), np.nan)
    kept[:, : q2.shape[1]] = q2[:, :n_lines]
    last = np.maximum(np.count_nonzero(np.isfinite(kept), axis=1) - 1, 0)
    return np.where(np.isnan(kept), kept[np.arange(len(q2)), last][:, None], kept)


def filled(lattice: BravaisLattice, free: Float[np.ndarray, "cell param"]) -> Float[np.ndarray, "cell 6"]:
    """All six constants from the free ones."""
    constants = np.tile(np.array(lattice.fixed_constants), (len(free), 1))
    names = [CONSTANTS.index(name) for name in lattice.free_constants]
    for place, source in enumerate(lattice.constant_sources):
        if source >= 0:
            constants[:, place] = free[:, names.index(source)]
    return constants


# Draws


@dataclass(frozen=True)
class LatticeModel:
    """What was learned of one Bravais lattice.

    Attributes:
        bravais: the lattice.
        scaling: of lines and cells.
        groups: names of its groups, in the order of the network's answers.
        network: all groups' networks as one; None without.
        forests: one for each group; empty without.
        density: of `DENSITIES`: what the network's answers mean.
    """

    bravais: str
    scaling: Scaling
    groups: tuple[str, ...]
    network: Network | None = None
    forests: tuple[TreesOfForest, ...] = ()
    density: str = "variance"

    def draw(
        self, q2: Float[np.ndarray, "peak"], rng: np.random.Generator, n_network: int, n_trees: int
    ) -> Float[np.ndarray, "cell 6"]:
        """Draw ``n_network`` cells from each network and the answers of ``n_trees`` trees of each forest.

        Returns:
            Those that exist, constants in Angstrom and degrees in the solver's setting; networks first.
        """
        lattice, seen = LATTICES[self.bravais], self.scaling.inputs(q2[None])
        drawn = [np.empty((0, lattice.n_params))]
        if self.network is not None and n_network:
            drawn.append(DENSITIES[self.density](self.network({INPUT: seen}), lattice.n_params, n_network, rng))
        for forest in self.forests if n_trees else ():
            answers = forest.by_tree(seen)[0]
            drawn.append(answers[rng.permutation(len(answers))[:n_trees]])
        constants = self.scaling.constants(lattice, np.concatenate(drawn), q2)
        return constants[exists(constants)]


def normal_draws(
    mean: Float[np.ndarray, "group param"],
    alpha: Float[np.ndarray, "group param"],
    beta: Float[np.ndarray, "group param"],
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "cell param"]:
    """Draw from normal distributions with the mean variance, beta / (alpha - 1) (report, 2.4.2), group after group."""
    sigma = np.sqrt(beta / (alpha - 1.0))
    deviates = rng.standard_normal((len(mean), count, mean.shape[1]))
    return (mean[:, None] + sigma[:, None] * deviates).reshape(-1, mean.shape[1])


def _variance_draws(
    said: Mapping[str, np.ndarray], n_params: int, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "cell param"]:
    return normal_draws(said[MEAN][0], said[ALPHA][0], said[BETA][0], count, rng)


def mixture_draws(
    said: Mapping[str, np.ndarray], n_params: int, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "cell param"]:
    """Draw ``count`` cells from each group's mixture of normal distributions with full covariances."""
    drawn = []
    for log_weight, centre, entries in zip(said[LOG_WEIGHT][0], said[CENTRE][0], said[FACTOR][0], strict=True):
        weight = np.exp(np.asarray(log_weight, np.float64) - np.max(log_weight))
        chosen = rng.choice(len(weight), count, p=weight / weight.sum())
        factor = factors(entries.reshape(len(weight), -1), n_params)[chosen]
        deviates = rng.standard_normal((count, n_params, 1))
        offset = np.linalg.solve(np.swapaxes(factor, 1, 2), deviates)[..., 0]
        drawn.append(centre.reshape(len(weight), n_params)[chosen] + offset)
    return np.concatenate(drawn)


def factors(entries: Float[np.ndarray, "*batch entry"], n_params: int) -> Float[np.ndarray, "*batch param param"]:
    """The Cholesky factors of the inverse covariances, lower triangles, from a network's answers; see `FACTOR`."""
    rows, columns = np.tril_indices(n_params)
    entries = np.asarray(entries, np.float64)
    values = np.where(rows == columns, np.exp(np.clip(entries, -LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)), entries)
    factor = np.zeros((*values.shape[:-1], n_params, n_params))
    factor[..., rows, columns] = values
    return factor


Draws = Callable[[Mapping[str, np.ndarray], int, int, np.random.Generator], np.ndarray]
DENSITIES: Mapping[str, Draws] = MappingProxyType({"variance": _variance_draws, "mixture": mixture_draws})
"""What a network says of the scaled targets: ``variance``, each for itself; ``mixture``, all together. From its answers
for one pattern, the number of targets, the number of draws of each group and a generator to draws (cell, param)."""


@dataclass(frozen=True)
class Regression:
    """The part of the solver: models by Bravais lattice. Without any it draws nothing."""

    models: Mapping[str, LatticeModel] = field(default_factory=dict)

    @property
    def lattices(self) -> frozenset[str]:
        """The lattices of which cells can be drawn."""
        return frozenset(self.models)

    def draw(
        self, bravais: str, q2: Float[np.ndarray, "peak"], rng: np.random.Generator, n_network: int, n_trees: int
    ) -> Float[np.ndarray, "cell 6"]:
        """Draw cells of one lattice from all of its groups, see `LatticeModel.draw`."""
        return self.models[bravais].draw(q2, rng, n_network, n_trees)


def joined(parts: Iterable[Regression]) -> Regression:
    """The parts of several models as one; of two for a lattice the later answers."""
    return Regression(MappingProxyType({name: one for part in parts for name, one in part.models.items()}))


# From the model store

_SCALING_ARRAYS: Final = ("input_mean", "input_scale", "target_mean", "target_scale", "rotation")


def scaling_to_json(scaling: Scaling) -> dict[str, Any]:
    """The scaling as a manifest holds it."""
    arrays = {name: getattr(scaling, name).tolist() for name in _SCALING_ARRAYS}
    return {"frame": scaling.frame, "n_lines": scaling.n_lines, **arrays}


def scaling_from_json(entry: Mapping[str, Any]) -> Scaling:
    """The scaling of a manifest.

    Raises:
        ModelRefused: an entry is missing, the frame is unknown, or a number is not usable.
    """
    try:
        arrays = {name: np.asarray(entry[name], dtype=np.float64) for name in _SCALING_ARRAYS}
        found = Scaling(str(entry["frame"]), int(entry["n_lines"]), **arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused("The model's scaling is not complete.") from error
    sound = all(np.isfinite(array).all() for array in arrays.values()) and found.n_lines > 0
    sound &= found.rotation.shape == 2 * found.target_mean.shape
    if found.frame not in FRAMES or not sound or np.any(found.input_scale <= 0) or np.any(found.target_scale <= 0):
        raise ModelRefused(f"The model's scaling is not sound; frames are {', '.join(FRAMES)}, scales above 0.")
    return found


def from_model(model: LoadedModel) -> Regression:
    """The part of one published model, which holds one Bravais lattice.

    Raises:
        ModelRefused: it is of another kind, or its parts do not fit each other.
    """
    parameters = model.parameters
    bravais, groups = str(parameters.get("bravais")), parameters.get("groups")
    if model.manifest.family != FAMILY or bravais not in LATTICES or not isinstance(groups, list) or not groups:
        raise ModelRefused(f"A model of the family {FAMILY} for one Bravais lattice was expected.")
    forests = tuple(model.scalers[f"forest_{i}"] for i in range(len(groups)) if f"forest_{i}" in model.scalers)
    if len(forests) not in (0, len(groups)):
        raise ModelRefused(f"The model has {len(groups)} groups and {len(forests)} forests.")
    scaling = scaling_from_json(parameters.get("scaling") or {})
    network = model.run if model.manifest.inputs else None
    density = str(parameters.get("density", "variance"))
    found = LatticeModel(bravais, scaling, tuple(map(str, groups)), network, forests, density)
    _check(found)
    return Regression({bravais: found})


def _check(model: LatticeModel) -> None:
    """Let a model answer once."""
    lattice, groups, rng = LATTICES[model.bravais], len(model.groups), np.random.default_rng(0)
    unfit = ModelRefused(f"The model's answers do not fit {groups} groups of the lattice {model.bravais}.")
    if model.density not in DENSITIES or len(model.scaling.target_mean) != lattice.n_params:
        raise unfit
    try:
        seen = model.scaling.inputs(np.linspace(0.01, 0.2, model.scaling.n_lines)[None])
        shapes = [forest.by_tree(seen).shape[2:] for forest in model.forests]
        if model.network is not None:
            drawn = DENSITIES[model.density](model.network({INPUT: seen}), lattice.n_params, 2, rng)
            shapes.append(drawn.reshape(2 * groups, -1).shape[1:])
    except (KeyError, ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise unfit from error
    if any(shape != (lattice.n_params,) for shape in shapes):
        raise unfit
