"""Standard scaling of q^2, lengths and angles for each lattice system, as section 2.1.4 of the report has it.

q^2: minus the mean and over the standard deviation of all lines of all training patterns. Lengths: the same over all
free lengths together. Angles: radians from the right angle over the standard deviation of those that are not right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.indexing.problem import BRAVAIS
from training.indexing.data.pattern_set import PatternSet

_LINES = 20
"""Of each pattern: those that models are given."""


@dataclass(frozen=True)
class Scaling:
    """The numbers of one lattice system.

    Attributes:
        q2_mean, q2_scale: of q^2, Angstrom^-2.
        length_mean, length_scale: of lengths, Angstrom.
        angle_scale: of angles, radians; 1 where the system has no free angle.
    """

    q2_mean: float
    q2_scale: float
    length_mean: float
    length_scale: float
    angle_scale: float

    def q2(self, q2_inv_ang2: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Scale q^2."""
        return (q2_inv_ang2 - self.q2_mean) / self.q2_scale

    def parameters(
        self, lattice: BravaisLattice, cell: Float[np.ndarray, "pattern 6"]
    ) -> Float[np.ndarray, "pattern param"]:
        """Scale the free constants of cells."""
        free = cell[:, free_columns(lattice)]
        lengths, angles = (free - self.length_mean) / self.length_scale, np.radians(free - 90.0) / self.angle_scale
        return np.where(is_length(lattice), lengths, angles)

    def cells(
        self, lattice: BravaisLattice, parameters: Float[np.ndarray, "pattern param"]
    ) -> Float[np.ndarray, "pattern 6"]:
        """Return the cells of scaled constants; they need not exist."""
        lengths = parameters * self.length_scale + self.length_mean
        angles = 90.0 + np.degrees(parameters * self.angle_scale)
        full = np.zeros((len(parameters), 6))
        full[:, free_columns(lattice)] = np.where(is_length(lattice), lengths, angles)
        sources, fixed = np.array(lattice.constant_sources), np.array(lattice.fixed_constants)
        return np.where(sources >= 0, full[:, np.maximum(sources, 0)], fixed)


def free_columns(lattice: BravaisLattice) -> list[int]:
    """Where the free constants stand among the six."""
    return [CONSTANTS.index(name) for name in lattice.free_constants]


def is_length(lattice: BravaisLattice) -> np.ndarray:
    """Which of the free constants are lengths."""
    return np.array([name.endswith("ang") for name in lattice.free_constants])


def fit_scalings(patterns: PatternSet) -> dict[str, Scaling]:
    """Return the scaling of each lattice system that occurs, from the training side alone."""
    train = patterns.take(~patterns.validation)
    systems = np.array([lattice.system for lattice in map(LATTICES.__getitem__, BRAVAIS)])[train.bravais]
    return {str(system): _fit(train.take(systems == system)) for system in np.unique(systems)}


def _fit(train: PatternSet) -> Scaling:
    q2 = train.q2[:, :_LINES].astype(float)
    q2 = q2[np.isfinite(q2)]
    lengths, angles = [], []
    for index in np.unique(train.bravais):
        lattice, cell = LATTICES[BRAVAIS[index]], train.cell[train.bravais == index]
        free = cell[:, free_columns(lattice)]
        lengths.append(free[:, is_length(lattice)].ravel())
        angles.append(np.radians(free[:, ~is_length(lattice)].ravel() - 90.0))
    length, angle = np.concatenate(lengths), np.concatenate(angles)
    angle = angle[angle != 0.0]
    return Scaling(
        float(q2.mean()),
        float(q2.std()) or 1.0,
        float(length.mean()),
        float(length.std()) or 1.0,
        float(angle.std()) or 1.0 if len(angle) else 1.0,
    )


def scalings_to_json(scalings: Mapping[str, Scaling]) -> dict[str, dict[str, float]]:
    """Return what ``scaling.json`` holds."""
    return {system: asdict(scaling) for system, scaling in scalings.items()}


def scalings_from_json(record: Mapping[str, Mapping[str, float]]) -> dict[str, Scaling]:
    """Read what ``scaling.json`` holds."""
    return {system: Scaling(**numbers) for system, numbers in record.items()}
