"""What the regression models learn from: cells in the solver's setting, and the lines as a diffractometer gives them.

The report's cells have ascending lengths, which leaves open which monoclinic angle is free. Here they are in the
setting of `app.crystallography.lattice` (unique axis b, obtuse beta, C face; lengths ascending where they may be): one
cell for each lattice, and what is drawn goes into the search as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.bragg import q2_from_two_theta, two_theta_from_q2
from app.crystallography.lattice import CONSTANTS, LATTICES
from app.crystallography.metric import constants_from_x
from app.indexing.learned.regression import FRAMES, Scaling, first_lines
from training.indexing.data.lattice_patterns import PatternOptions, draw_patterns
from training.indexing.data.lattices import lattice_of
from training.indexing.data.pattern_set import group_names, read_patterns

N_LINES: Final[dict[str, int]] = {"cubic": 10}
"""Lines that a model looks at, by lattice system; 20 for the others."""
DEFAULT_LINES: Final = 20
KEPT: Final = 40
"""Lines of a pattern that are kept: enough that some may be lost among the first 20."""
SPARE_LINES: Final = 4
"""Lines that a pattern needs beyond the number of its constants."""
WAVELENGTH_ANG: Final = 1.5406
LEAST_TWO_THETA_DEG: Final = 0.1
WIDEST_TWO_THETA_DEG: Final = 179.0
WIDEST_Q2: Final = 1.68
"""q^2 of 2theta = 173 degrees."""
LEAST_SPREAD: Final = 1e-6
_PLAIN_SETTING: Final[dict[str, str]] = {
    "cF": "F 2 3", "cI": "I 2 3", "cP": "P 2 3", "hR": "R 3:H", "hP": "P 3", "tI": "I 4", "tP": "P 4",
    "oF": "F 2 2 2", "oI": "I 2 2 2", "oC": "C 2 2 2", "oP": "P 2 2 2", "mC": "C 1 2 1", "mP": "P 1 2 1", "aP": "P 1",
}  # fmt: skip
"""A space group without further absences for each lattice in the solver's axes."""
ALL: Final = "all"


@dataclass(frozen=True)
class Rows:
    """Patterns of one Bravais lattice.

    Attributes:
        bravais: the lattice.
        constants: conventional cells in the solver's setting, Angstrom and degrees, shape (pattern, 6).
        q2: Angstrom^-2, ascending, NaN behind the last line, shape (pattern, line).
        group: number of the group, shape (pattern,).
        validation: patterns that no model is fitted to, shape (pattern,).
        real: from a published structure, shape (pattern,).
        groups: names of the groups.
    """

    bravais: str
    constants: Float[np.ndarray, "pattern 6"]
    q2: Float[np.ndarray, "pattern line"]
    group: Int[np.ndarray, "pattern"]
    validation: Bool[np.ndarray, "pattern"]
    real: Bool[np.ndarray, "pattern"]
    groups: tuple[str, ...] = (ALL,)

    def __len__(self) -> int:
        return len(self.q2)

    def where(self, chosen: Bool[np.ndarray, "pattern"] | Int[np.ndarray, "kept"]) -> Rows:
        """Some of the patterns."""
        arrays = (self.constants[chosen], self.q2[chosen], self.group[chosen], self.validation[chosen])
        return Rows(self.bravais, *arrays, self.real[chosen], self.groups)


def n_lines_of(bravais: str) -> int:
    """Lines that a model of this lattice looks at."""
    return N_LINES.get(LATTICES[bravais].system, DEFAULT_LINES)


def conventional(constants: Float[np.ndarray, "pattern 6"], setting: str) -> Float[np.ndarray, "pattern 6"]:
    """Cells of a space-group setting in the solver's conventional one; NaN where there is none."""
    group = gemmi.SpaceGroup(setting)
    found = np.full((len(constants), 6), np.nan)
    for row, cell in enumerate(constants):
        lattice = lattice_of(gemmi.UnitCell(*cell), group)
        if lattice is not None:
            found[row] = lattice.cell
    return found


def rows_of(folder: Path, bravais: str) -> Rows:
    """Read the patterns of a lattice, those that have enough lines to fix its cell.

    Raises:
        InvalidInput: as `training.indexing.data.pattern_set.read_patterns`.
    """
    found = read_patterns(folder, bravais=bravais)
    q2 = found.q2[:, :KEPT].astype(np.float64)
    enough = np.isfinite(q2).sum(axis=1) >= LATTICES[bravais].n_params + SPARE_LINES
    rows = Rows(
        bravais, found.cell, q2, found.group.astype(np.int64), found.validation, found.real,
        tuple(group_names(folder, bravais)),
    )  # fmt: skip
    return rows.where(enough)


def with_random_lattices(rows: Rows, count: int, seed: int) -> Rows:
    """Add patterns of random lattices to those that are learnt from."""
    if not count:
        return rows
    more = synthetic_rows(rows.bravais, count, seed, held_out=0.0)
    names = ("constants", "q2", "group", "validation", "real")
    return replace(rows, **{name: np.concatenate([getattr(rows, name), getattr(more, name)]) for name in names})


def synthetic_rows(
    bravais: str, count: int, seed: int, *, held_out: float = 0.2, options: PatternOptions | None = None
) -> Rows:
    """Draw patterns of random lattices, see `training.indexing.data.lattice_patterns`, none with foreign lines."""
    options = options or PatternOptions(n_lines=KEPT, foreign=0.0, reach=110.0)
    rng = np.random.default_rng([seed, *bravais.encode()])
    patterns = draw_patterns(bravais, count, rng, options)
    constants = conventional(constants_from_x(LATTICES[bravais], patterns.x), _PLAIN_SETTING[bravais])
    validation = np.arange(count) < held_out * count
    return Rows(
        bravais, constants, np.sort(patterns.q2_inv_ang2, axis=1), np.zeros(count, np.int64), validation,
        np.zeros(count, bool),
    )  # fmt: skip


# Imperfect lines


@dataclass(frozen=True)
class Disturbance:
    """What measurement does to lines; all drawn anew for every pattern.

    Attributes:
        sigma_deg: range of the standard deviation of the noise in 2theta.
        zero_shift_deg: standard deviation of a zero shift.
        missing_share: share of the patterns that lose lines: 1 to ``most_missing`` of the first 20.
        impure_share: share of the patterns with foreign lines: 1 to ``most_foreign`` among the first 20.
    """

    sigma_deg: tuple[float, float] = (0.0, 0.02)
    zero_shift_deg: float = 0.04
    missing_share: float = 0.3
    most_missing: int = 3
    impure_share: float = 0.4
    most_foreign: int = 5


CLEAN: Final = Disturbance((0.01, 0.02), 0.0, 0.0, 0, 0.0, 0)
"""Noise alone."""
IMPURE: Final = Disturbance((0.01, 0.02), 0.0, 0.0, 0, 1.0, 5)
"""Noise and 1 to 5 foreign lines."""


def disturbed(
    q2: Float[np.ndarray, "pattern line"], how: Disturbance, rng: np.random.Generator
) -> Float[np.ndarray, "pattern line"]:
    """Lines as they would be measured at copper K-alpha1; ascending, NaN behind the last."""
    angle, count = _angles(q2), len(q2)
    angle = angle + rng.uniform(*how.sigma_deg, (count, 1)) * rng.standard_normal(angle.shape)
    angle += how.zero_shift_deg * rng.standard_normal((count, 1))
    first, last = angle[:, :1], np.nanmax(angle[:, :DEFAULT_LINES], axis=1, keepdims=True)
    lost = _some(count, how.missing_share, how.most_missing, rng)
    rank = np.argsort(np.argsort(rng.random((count, DEFAULT_LINES)), axis=1), axis=1)
    angle[:, :DEFAULT_LINES][rank[:, : angle.shape[1]] < lost[:, None]] = np.nan
    foreign = first + (last - first) * rng.random((count, how.most_foreign))
    foreign[np.arange(how.most_foreign) >= _some(count, how.impure_share, how.most_foreign, rng)[:, None]] = np.nan
    return _q2(np.sort(np.concatenate([angle, foreign], axis=1), axis=1)[:, : q2.shape[1]])


def _angles(q2: Float[np.ndarray, "pattern line"]) -> Float[np.ndarray, "pattern line"]:
    """2theta in degrees; NaN where there is no line."""
    known = np.minimum(np.where(np.isnan(q2), 1.0, q2), WIDEST_Q2)
    return np.where(np.isnan(q2), np.nan, two_theta_from_q2(q2_inv_ang2=known, wavelength_ang=WAVELENGTH_ANG))


def _q2(angle: Float[np.ndarray, "pattern line"]) -> Float[np.ndarray, "pattern line"]:
    known = np.clip(np.where(np.isnan(angle), 90.0, angle), LEAST_TWO_THETA_DEG, WIDEST_TWO_THETA_DEG)
    return np.where(np.isnan(angle), np.nan, q2_from_two_theta(two_theta_deg=known, wavelength_ang=WAVELENGTH_ANG))


def _some(count: int, share: float, most: int, rng: np.random.Generator) -> Int[np.ndarray, "pattern"]:
    """0, or for a share of the patterns a number from 1 to ``most``."""
    return np.where(rng.random(count) < share, rng.integers(1, most + 1, count), 0) if most else np.zeros(count, int)


# Scaling


def fit_scaling(rows: Rows, frame: str, n_lines: int, *, rotate: bool = False) -> Scaling:
    """Fit the scaling to training patterns; with ``rotate``, to the principal directions of their targets.

    In the frame ``absolute`` one mean and one standard deviation serve all lines, and one all lengths; angles are only
    divided by the standard deviation of those that are no right angles (report, 2.1.4). In ``relative`` every column
    has its own.
    """
    lattice = LATTICES[rows.bravais]
    names = lattice.free_constants
    free = rows.constants[:, [CONSTANTS.index(name) for name in names]]
    lines = first_lines(rows.q2, n_lines)
    inputs, targets = FRAMES[frame].inputs(lines), FRAMES[frame].targets(lattice, free, lines)
    mean, scale = np.zeros(len(names)), np.ones(len(names))
    angle = np.array([name.endswith("deg") for name in names])
    mean[~angle], scale[~angle] = _COLUMNS[frame](targets[:, ~angle])
    scale[angle] = np.maximum(np.sqrt(np.mean(targets[:, angle] ** 2)) if angle.any() else 1.0, LEAST_SPREAD)
    rotation = np.eye(len(names))
    if rotate:
        rotation = np.linalg.svd(targets - mean, full_matrices=False)[2].T
        scale = np.maximum(((targets - mean) @ rotation).std(axis=0), LEAST_SPREAD)
    return Scaling(frame, n_lines, *_COLUMNS[frame](inputs), mean, scale, rotation)


def _pooled(values: Float[np.ndarray, "row column"]) -> tuple[Float[np.ndarray, "column"], Float[np.ndarray, "column"]]:
    columns = values.shape[1]
    return np.full(columns, values.mean()), np.full(columns, max(values.std(), LEAST_SPREAD))


def _each(values: Float[np.ndarray, "row column"]) -> tuple[Float[np.ndarray, "column"], Float[np.ndarray, "column"]]:
    return values.mean(axis=0), np.maximum(values.std(axis=0), LEAST_SPREAD)


_COLUMNS: Final = {"absolute": _pooled, "relative": _each}
