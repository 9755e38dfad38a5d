"""Distributions of cell constants and contents: fitted to minerals, published for molecular crystals, and broad.

A mineral's cell is drawn from a mixture of normal distributions of the logarithms of the free lengths and of the free
angles, fitted to real structures of its Bravais lattice (the training side only). A molecular crystal's volume follows
from its molecule: 18 Angstrom^3 for each atom that is not hydrogen (A. I. Kitaigorodskii's and the crystallographer's
rule of thumb), as many molecules as the group has operations, or half or twice as many. Broad cells cover what neither
shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.crystallography.reduction import reduce_cell
from training.indexing.data.conventions import is_conventional
from training.indexing.data.lattice_patterns import random_constants
from training.indexing.data.space_groups import Setting

LENGTHS_ANG = (2.0, 50.0)
"""Shortest and longest axis."""
_MOST_COMPONENTS = 4
_ENOUGH = 25
"""Structures for each further component of a mixture."""
_LEAST_VARIANCE = 2e-3
"""Added to variances: a standard deviation of 4.5% of a length, 2.6 degrees of an angle."""

MOLECULAR_VOLUME_ANG3 = 18.0
"""Of each atom that is not hydrogen."""
_VOLUME_SPREAD = 0.07
_ATOMS = (26.0, 0.55, 5.0, 160.0)
"""Atoms of a molecule that are not hydrogen: median, standard deviation of the logarithm, fewest, most."""
_MOLECULES = ((1.0, 0.72), (0.5, 0.18), (2.0, 0.10))
"""Molecules for each operation of the group, and how often: Z' = 1 in about three structures of four."""
_MOST_MOLECULES = 16.0
"""In a primitive cell."""
_SHAPE = (0.32, 0.5)
"""Standard deviation of ln(length) of usual and of thin or flat molecular cells."""
_THIN = 0.25
_ANGLE_SPREAD_DEG = 12.0


@dataclass(frozen=True)
class Mixture:
    """A mixture of normal distributions.

    Attributes:
        weights: shape (component,).
        means: shape (component, feature).
        covariances: shape (component, feature, feature).
    """

    weights: Float[np.ndarray, "component"]
    means: Float[np.ndarray, "component feature"]
    covariances: Float[np.ndarray, "component feature feature"]

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "feature"]:
        """Draw one row of features."""
        component = rng.choice(len(self.weights), p=self.weights)
        root = np.linalg.cholesky(self.covariances[component])
        return self.means[component] + root @ rng.standard_normal(len(root))


@dataclass(frozen=True)
class Distributions:
    """What was learnt of minerals, on the training side.

    Attributes:
        cells: of each Bravais lattice.
        n_structures: that each was fitted to.
        elements: chemical symbols, hydrogen aside, and the share of sites that each fills.
        n_elements: how often a structure has 1, 2, ... elements beside hydrogen, as shares.
        log_volume_per_atom: mean and standard deviation of ln(volume in Angstrom^3 / atoms that are not hydrogen).
    """

    cells: Mapping[str, Mixture]
    n_structures: Mapping[str, int]
    elements: Mapping[str, float]
    n_elements: tuple[float, ...]
    log_volume_per_atom: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "cells": {
                bravais: {name: np.round(getattr(mixture, name), 9).tolist() for name in _MIXTURE}
                for bravais, mixture in self.cells.items()
            },
            "n_structures": dict(self.n_structures),
            "elements": dict(self.elements),
            "n_elements": list(self.n_elements),
            "log_volume_per_atom": list(self.log_volume_per_atom),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Distributions:
        cells = {
            bravais: Mixture(**{name: np.array(mixture[name]) for name in _MIXTURE})
            for bravais, mixture in record["cells"].items()
        }
        first, second = record["log_volume_per_atom"]
        return cls(
            cells,
            record["n_structures"],
            record["elements"],
            tuple(record["n_elements"]),
            (float(first), float(second)),
        )


_MIXTURE = ("weights", "means", "covariances")


# Features of cells


def features(lattice: BravaisLattice, cell: Float[np.ndarray, "cell 6"]) -> Float[np.ndarray, "cell feature"]:
    """Return ln(length) and angle - 90 degrees in radians of the free constants."""
    free = cell[:, [CONSTANTS.index(name) for name in lattice.free_constants]]
    return np.where(_is_length(lattice), np.log(free), np.radians(free - 90.0))


def cells_from_features(
    lattice: BravaisLattice, values: Float[np.ndarray, "cell feature"]
) -> Float[np.ndarray, "cell 6"]:
    """Return the cells with these features; the reverse of `features`."""
    length = _is_length(lattice)
    free = np.where(length, np.exp(np.where(length, values, 0.0)), 90.0 + np.degrees(values))
    full = np.zeros((len(values), 6))
    full[:, [CONSTANTS.index(name) for name in lattice.free_constants]] = free
    return _tied(lattice, full)


def _is_length(lattice: BravaisLattice) -> np.ndarray:
    return np.array([name.endswith("ang") for name in lattice.free_constants])


def _tied(lattice: BravaisLattice, constants: Float[np.ndarray, "cell 6"]) -> Float[np.ndarray, "cell 6"]:
    sources, fixed = np.array(lattice.constant_sources), np.array(lattice.fixed_constants)
    return np.where(sources >= 0, constants[:, np.maximum(sources, 0)], fixed)


def fit_mixture(values: Float[np.ndarray, "row feature"], *, seed: int) -> Mixture:
    """Fit a mixture; the number of components has the best Bayesian information criterion of those that data allow."""
    from sklearn.mixture import GaussianMixture

    most = max(1, min(_MOST_COMPONENTS, len(values) // _ENOUGH))
    fits = [
        GaussianMixture(count, reg_covar=_LEAST_VARIANCE, random_state=seed, n_init=2).fit(values)
        for count in range(1, most + 1)
    ]
    best = min(fits, key=lambda fit: fit.bic(values))
    return Mixture(np.asarray(best.weights_), np.asarray(best.means_), np.asarray(best.covariances_))


def fit_cells(
    cells: Mapping[str, Sequence[Float[np.ndarray, "6"]]], *, seed: int
) -> tuple[dict[str, Mixture], dict[str, int]]:
    """Fit the cells of each Bravais lattice; gives the mixtures and the numbers of structures."""
    mixtures = {
        bravais: fit_mixture(features(LATTICES[bravais], np.array(rows)), seed=seed)
        for bravais, rows in cells.items()
        if len(rows) > 1
    }
    return mixtures, {bravais: len(rows) for bravais, rows in cells.items()}


# Drawing cells


def mineral_cell(
    bravais: str, setting: Setting, distributions: Distributions, rng: np.random.Generator
) -> Float[np.ndarray, "6"] | None:
    """Draw a cell as minerals have them (a broad one where too few are known to be fitted).

    None where this draw is no cell of the lattice within the bounds.
    """
    mixture = distributions.cells.get(bravais)
    if mixture is None:
        return broad_cell(bravais, setting, distributions, rng)
    return in_convention(bravais, cells_from_features(LATTICES[bravais], mixture.draw(rng)[None])[0])


def molecular_cell(
    bravais: str, setting: Setting, distributions: Distributions, rng: np.random.Generator
) -> Float[np.ndarray, "6"] | None:
    """Draw a cell whose volume holds whole molecules; None as for `mineral_cell`."""
    median, spread, fewest, most = _ATOMS
    atoms = np.clip(median * np.exp(spread * rng.standard_normal()), fewest, most)
    ratios, shares = zip(*_MOLECULES, strict=True)
    molecules = min(_MOST_MOLECULES, len(setting.operations.sym_ops) * ratios[rng.choice(len(ratios), p=shares)])
    primitive = max(1.0, molecules) * atoms * MOLECULAR_VOLUME_ANG3 * np.exp(_VOLUME_SPREAD * rng.standard_normal())
    lattice = LATTICES[bravais]
    shape = _SHAPE[int(rng.random() < _THIN)]
    lengths, angles = np.exp(shape * rng.standard_normal(3)), 90.0 + _ANGLE_SPREAD_DEG * rng.standard_normal(3)
    cell = _tied(lattice, np.concatenate((lengths, angles))[None])
    if not metric.exists(cell)[0]:
        return None
    volume = float(metric.volume_from_form(metric.form_from_constants(cell))[0])
    cell[:, :3] *= np.cbrt(primitive * lattice.centring.multiplicity / volume)
    return in_convention(bravais, cell[0])


def broad_cell(
    bravais: str, setting: Setting, distributions: Distributions, rng: np.random.Generator
) -> Float[np.ndarray, "6"] | None:
    """Draw a cell of any size and shape; None as for `mineral_cell`."""
    found = random_constants(LATTICES[bravais], 1, rng)
    return in_convention(bravais, found[0]) if len(found) else None


def in_convention(bravais: str, cell: Float[np.ndarray, "6"]) -> Float[np.ndarray, "6"] | None:
    """Order and reduce the axes as the lattice's convention asks; None where they cannot be, or are out of bounds."""
    if not metric.exists(cell):
        return None
    ordered = _ORDERS.get(bravais, _kept)(cell.copy())
    inside = (ordered[:3] >= LENGTHS_ANG[0]).all() and (ordered[:3] <= LENGTHS_ANG[1]).all()
    return ordered if inside and is_conventional(bravais, ordered[None])[0] else None


def _kept(cell: np.ndarray) -> np.ndarray:
    return cell


def _sorted(cell: np.ndarray) -> np.ndarray:
    return np.concatenate((np.sort(cell[:3]), cell[3:]))


def _first_two_sorted(cell: np.ndarray) -> np.ndarray:
    return np.concatenate((np.sort(cell[:2]), cell[2:]))


def _obtuse(cell: np.ndarray) -> np.ndarray:
    cell[4] = max(cell[4], 180.0 - cell[4])
    return cell


def _obtuse_sorted(cell: np.ndarray) -> np.ndarray:
    cell[[0, 2]] = np.sort(cell[[0, 2]])
    return _obtuse(cell)


def _niggli(cell: np.ndarray) -> np.ndarray:
    return np.array(reduce_cell(UnitCell(*map(float, cell))).cell.constants)


_ORDERS = {
    **dict.fromkeys(("oP", "oI", "oF"), _sorted),
    "oC": _first_two_sorted,
    "mP": _obtuse_sorted,
    "mC": _obtuse,
    "aP": _niggli,
}
