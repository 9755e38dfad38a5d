"""Problems with known cells for the tests of the refinement."""

from __future__ import annotations

import numpy as np

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.metric import x_from_cell
from app.crystallography.reflections import reflections_within
from app.indexing.walk.mcmc import Bounds, Lines, Problem, lattice_problem, one_pattern

WAVELENGTH_ANG = 1.5406
SIGMA_DEG = 0.01
CELLS = {
    "cP": UnitCell(6.3, 6.3, 6.3, 90, 90, 90),
    "hR": UnitCell(5.1, 5.1, 13.4, 90, 90, 120),
    "tI": UnitCell(5.4, 5.4, 11.2, 90, 90, 90),
    "oP": UnitCell(5.6, 7.3, 9.9, 90, 90, 90),
    "mC": UnitCell(12.1, 6.3, 7.7, 90, 103.0, 90),
    "aP": UnitCell(6.1, 7.2, 8.7, 77.0, 81.0, 69.0),
}


def true_x(symbol: str) -> np.ndarray:
    return x_from_cell(LATTICES[symbol], CELLS[symbol])


def slope(q2: np.ndarray) -> np.ndarray:
    """d(q^2)/d(2theta) in Angstrom^-2 per degree, from q = 2 sin(theta) / lambda."""
    theta = np.arcsin(np.sqrt(q2) * WAVELENGTH_ANG / 2)
    return np.radians(2 * np.sin(2 * theta) / WAVELENGTH_ANG**2)


def lines_of(symbol: str, n_lines: int = 20, noise_deg: float = 0.0, shift_deg: float = 0.0, seed: int = 0) -> Lines:
    """Give the first lines of a cell, no two of them closer than 0.05 deg."""
    q2 = reflections_within(LATTICES[symbol], true_x(symbol), 0.9).q2_inv_ang2
    apart = np.diff(q2, prepend=0.0) > 0.05 * slope(q2)
    q2 = q2[apart][:n_lines]
    generator = np.random.default_rng(seed)
    q2 = np.sort(q2 + slope(q2) * (shift_deg + noise_deg * generator.standard_normal(q2.size)))
    return one_pattern(q2, SIGMA_DEG * slope(q2), slope(q2))


def problem_of(symbol: str, lines: Lines | None = None, n_ref: int | None = None) -> Problem:
    lattice = LATTICES[symbol]
    return lattice_problem(lattice, lines or lines_of(symbol), Bounds(lattice.terms), n_ref)


def starts(symbol: str, n_cells: int, spread: float = 0.02, seed: int = 1) -> np.ndarray:
    """Perturb the metric terms of the true cell by a relative ``spread``."""
    x = true_x(symbol)
    return x * (1 + spread * np.random.default_rng(seed).standard_normal((n_cells, x.size)))
