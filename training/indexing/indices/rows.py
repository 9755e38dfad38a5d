"""What index assignment networks learn from: cells in the solver's setting, their lines, and each line's index.

The index of a line is the reference reflection that it meets under the true cell: with the true cell the assignment is
exact, whatever setting the structure was published in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.crystallography import metric
from app.crystallography.bragg import dq2_d_two_theta
from app.crystallography.lattice import CONSTANTS, LATTICES
from app.crystallography.reflections import reference_count, reference_reflections
from app.errors import InvalidInput
from app.indexing.learned.indices import closeness, differences, least_symmetric
from app.indexing.problem import BRAVAIS
from training.indexing.data.lattice_patterns import PatternOptions, draw_patterns, extinctions
from training.indexing.data.lattices import lattice_of
from training.indexing.data.pattern_set import PatternSet

WAVELENGTH_ANG: Final = 1.5406
N_PEAKS: Final = 20
N_PEAKS_CUBIC: Final = 10
ROWS_FILE: Final = "rows.npz"
MATCH_SHARE: Final = 2e-6
"""Of q^2: so far may a line lie from its reflection under the true cell (positions come in single precision)."""
_MOST_REFERENCES: Final = 4
"""Times the reflections wanted, before they are sorted by their mean position and cut."""
_SHORTEST_SHARE: Final = 0.5
"""A perturbed axis is not cut by more than this."""
_MOST_HALVINGS: Final = 12
"""Of an error that would break its cell: after these it is nothing."""
_HOLOHEDRY: Final = {
    "cF": 225, "cI": 229, "cP": 221, "hR": 166, "hP": 191, "tI": 139, "tP": 123, "oF": 69, "oI": 71, "oC": 65,
    "oP": 47, "mC": 12, "mP": 10, "aP": 2,
}  # fmt: skip


@dataclass(frozen=True)
class IndexRows:
    """Patterns of one lattice system.

    Attributes:
        constants: conventional cells as the solver sets them, Angstrom and degrees, shape (pattern, 6).
        q2: first lines, ascending, Angstrom^-2, 0 behind the last, shape (pattern, peak).
        real: tells lines from padding.
    """

    constants: Float[np.ndarray, "pattern 6"]
    q2: Float[np.ndarray, "pattern peak"]

    def __len__(self) -> int:
        return len(self.q2)

    @property
    def real(self) -> Bool[np.ndarray, "pattern peak"]:
        return self.q2 > 0

    def take(self, rows: np.ndarray | slice) -> IndexRows:
        """Some of the patterns."""
        return IndexRows(self.constants[rows], self.q2[rows])


@dataclass(frozen=True)
class Scaling:
    """Mean and spread of the training set, by which the source measures errors.

    Attributes:
        length_ang: standard deviation of all axes.
        angle_deg: standard deviation about 90 degrees of the free angles; 1 where there are none.
        q2_inv_ang2: standard deviation of all lines.
    """

    length_ang: float
    angle_deg: float
    q2_inv_ang2: float


def n_peaks_of(system: str) -> int:
    """How many lines a network of this system takes (source, 2.2)."""
    return N_PEAKS_CUBIC if least_symmetric(system).n_params == 1 else N_PEAKS


# --- patterns ---------------------------------------------------------------------------------------------------------


def rows_from_patterns(patterns: PatternSet, system: str) -> IndexRows:
    """Give the patterns of one lattice system; their cells are in the solver's setting already."""
    of_system = np.array([LATTICES[symbol].system == system for symbol in BRAVAIS])[patterns.bravais]
    n_peaks = n_peaks_of(system)
    lines = [_padded(np.asarray(q2, float), n_peaks) for q2 in patterns.q2[of_system]]
    return IndexRows(patterns.cell[of_system].astype(float), np.array(lines).reshape(-1, n_peaks))


def random_rows(system: str, count: int, rng: np.random.Generator) -> IndexRows:
    """Draw patterns of random lattices; those of a system occur as often as their space groups do."""
    symbols = [symbol for symbol, lattice in LATTICES.items() if lattice.system == system]
    weight = np.array([sum(rule.weight for rule in extinctions(symbol)) for symbol in symbols])
    parts = [
        _random_rows(symbol, int(n), rng)
        for symbol, n in zip(symbols, rng.multinomial(count, weight / weight.sum()), strict=True)
        if n
    ]
    joined = IndexRows(np.concatenate([p.constants for p in parts]), np.concatenate([p.q2 for p in parts]))
    return joined.take(rng.permutation(len(joined)))


def _random_rows(symbol: str, count: int, rng: np.random.Generator) -> IndexRows:
    lattice = LATTICES[symbol]
    n_peaks = n_peaks_of(lattice.system)
    drawn = draw_patterns(symbol, count, rng, PatternOptions(n_lines=n_peaks, foreign=0.0))
    group = gemmi.find_spacegroup_by_number(_HOLOHEDRY[symbol])
    cells = [lattice_of(gemmi.UnitCell(*row), group) for row in metric.constants_from_x(lattice, drawn.x)]
    kept = [i for i, cell in enumerate(cells) if cell is not None]
    lines = np.array([_padded(q2, n_peaks) for q2 in drawn.q2_inv_ang2[kept]])
    return IndexRows(np.array([cells[i].cell for i in kept]), lines)  # pyright: ignore[reportOptionalMemberAccess]


def kept_rows(folder: Path, make: Callable[[], tuple[IndexRows, IndexRows]]) -> tuple[IndexRows, IndexRows]:
    """Training and validation patterns of an earlier run in this folder, else new ones, which are kept."""
    file = folder / ROWS_FILE
    if not file.is_file():
        training, validation = make()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, constants=training.constants, q2=training.q2, held=validation.constants, held_q2=validation.q2)
    return read_rows(folder)


def read_rows(folder: Path) -> tuple[IndexRows, IndexRows]:
    """Training and validation patterns of a run.

    Raises:
        InvalidInput: there are none.
    """
    if not (folder / ROWS_FILE).is_file():
        raise InvalidInput("the run has no patterns: train it first")
    with np.load(folder / ROWS_FILE) as kept:
        return IndexRows(kept["constants"], kept["q2"]), IndexRows(kept["held"], kept["held_q2"])


def _padded(q2: Float[np.ndarray, "peak"], n_peaks: int) -> Float[np.ndarray, "peak"]:
    present = q2[np.isfinite(q2) & (q2 > 0)][:n_peaks]
    return np.pad(present, (0, n_peaks - present.size))


def with_foreign(rows: IndexRows, mean: float, rng: np.random.Generator) -> IndexRows:
    """Add impurity lines anywhere among the lines, a Poisson number to each pattern; the last lines fall off."""
    lines = []
    for q2 in rows.q2:
        real = q2[q2 > 0]
        foreign = rng.uniform(0.5 * real[0], real[-1], rng.poisson(mean))
        lines.append(_padded(np.sort(np.concatenate([real, foreign])), q2.size))
    return replace(rows, q2=np.array(lines).reshape(rows.q2.shape))


# --- references and labels --------------------------------------------------------------------------------------------


def system_references(system: str, rows: IndexRows) -> Int[np.ndarray, "ref 3"]:
    """Give the reference reflections of a system, sorted by their mean q^2 over the training cells (source, 2.3.1)."""
    lattice = least_symmetric(system)
    count = reference_count(lattice)
    many = reference_reflections(lattice.symbol, _MOST_REFERENCES * count)
    mean_x = metric.x_from_constants(lattice, rows.constants).mean(axis=0)
    return many.hkl[np.argsort(many.design @ mean_x, kind="stable")[:count]]


def labels(rows: IndexRows, system: str, hkl: Int[np.ndarray, "ref 3"]) -> Int[np.ndarray, "pattern peak"]:
    """Give the reference reflection of each line, ``len(hkl)`` where it has none."""
    lattice = least_symmetric(system)
    x = metric.x_from_constants(lattice, rows.constants)
    found = np.empty(rows.q2.shape, np.int32)
    design = lattice.design(hkl)
    for row, (cell, q2) in enumerate(zip(x, rows.q2, strict=True)):
        distance = np.abs(q2[:, None] - design @ cell)
        nearest = distance.argmin(axis=1)
        met = distance[np.arange(q2.size), nearest] <= MATCH_SHARE * q2
        found[row] = np.where(met, nearest, len(hkl))
    return found


# --- perturbation -----------------------------------------------------------------------------------------------------


def scaling_of(rows: IndexRows, system: str) -> Scaling:
    """Measure the training set."""
    lattice = least_symmetric(system)
    free = [CONSTANTS.index(name) for name in lattice.free_constants]
    angles = [rows.constants[:, i] - 90.0 for i in free if i >= 3]
    spread = float(np.sqrt(np.mean(np.square(angles)))) if angles else 1.0
    lengths = rows.constants[:, [i for i in free if i < 3]]
    return Scaling(float(lengths.std()), spread, float(rows.q2[rows.real].std()))


def perturbed(
    constants: Float[np.ndarray, "cell 6"], system: str, level: float, scaling: Scaling, rng: np.random.Generator
) -> Float[np.ndarray, "cell param"]:
    """Give the metric terms of cells with normal errors of ``level`` standard deviations in every free constant.

    A cell that would not exist, or lose half an axis, has its constants' errors halved until it does.
    """
    lattice = least_symmetric(system)
    sources = np.maximum(lattice.constant_sources, 0)
    spread = level * np.where(np.arange(6) < 3, scaling.length_ang, scaling.angle_deg)
    error = (spread * rng.standard_normal(constants.shape))[:, sources]
    error[:, np.array(lattice.constant_sources) < 0] = 0.0
    for _ in range(_MOST_HALVINGS):
        error[_broken(constants, constants + error)] *= 0.5
    return metric.x_from_constants(lattice, constants + error)


def _broken(constants: Float[np.ndarray, "cell 6"], moved: Float[np.ndarray, "cell 6"]) -> Bool[np.ndarray, "cell"]:
    """Tell which cells do not exist any more, or have lost half an axis."""
    return ~metric.exists(moved) | (moved[:, :3] < _SHORTEST_SHARE * constants[:, :3]).any(axis=1)


def noisy(q2: Float[np.ndarray, "pattern peak"], sigma_deg: float, rng: np.random.Generator) -> np.ndarray:
    """Move lines by normal errors in 2theta; padding stays 0."""
    slope = np.zeros_like(q2)
    slope[q2 > 0] = dq2_d_two_theta(q2_inv_ang2=q2[q2 > 0], wavelength_ang=WAVELENGTH_ANG)
    return q2 + sigma_deg * slope * rng.standard_normal(q2.shape)


def network_input(
    x: Float[np.ndarray, "cell param"], q2: Float[np.ndarray, "cell peak"], design: np.ndarray, epsilon: float
) -> Float32[np.ndarray, "cell peak ref"]:
    """What a network sees, by the service's own functions."""
    return closeness(differences(x, q2, design), epsilon)
