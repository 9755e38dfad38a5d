"""Lines of known cells for the tests of the search."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from app.crystallography import metric
from app.crystallography.bragg import q2_from_two_theta, two_theta_from_q2
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli
from app.crystallography.reflections import reflections_within
from app.indexing.problem import PeakList
from app.indexing.search.cells import Limits
from app.indexing.search.observed import Observed, observed_from

WAVELENGTH_ANG = 1.5406
LIMITS = Limits(2.0, 50.0, 8.0, 3000.0)


def random_cell(bravais: str, rng: np.random.Generator, volume_ang3: float) -> Float[np.ndarray, "param"]:
    """Draw metric terms of a cell of one primitive volume, axes within a factor of about three."""
    lattice = LATTICES[bravais]
    lengths, angles = rng.uniform(4.0, 12.0, 3), rng.uniform(91.0, 112.0, 3)
    drawn = np.concatenate([lengths, angles])
    constants = np.array(
        [drawn[s] if s >= 0 else v for s, v in zip(lattice.constant_sources, lattice.fixed_constants, strict=True)]
    )
    x = metric.x_from_constants(lattice, constants[None])
    scale = metric.volume_from_x(lattice, x) / (volume_ang3 * lattice.centring.multiplicity)
    return (x * scale ** (2 / 3))[0]


def lines_of(
    bravais: str,
    x: Float[np.ndarray, "param"],
    rng: np.random.Generator,
    *,
    n_lines: int = 20,
    missing: float = 0.2,
    noise_deg: float = 0.005,
    n_foreign: int = 0,
) -> Observed:
    """Give a cell's first lines at copper K-alpha, some missing at random, with foreign lines among them."""
    q2_max = (2.0 * n_lines / (4.0 / 3.0 * np.pi / float(np.sqrt(_determinant(bravais, x))))) ** (2 / 3)
    q2 = reflections_within(LATTICES[bravais], x, min(8.0 * q2_max, 1.4)).q2_inv_ang2
    angle = two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=WAVELENGTH_ANG)
    angle = angle[np.diff(angle, prepend=-1.0) > 0.1]
    angle = angle[rng.random(angle.size) >= missing][: n_lines - n_foreign]
    foreign = rng.uniform(angle[0], angle[-1], n_foreign)
    angle = np.sort(np.concatenate([angle + noise_deg * rng.standard_normal(angle.size), foreign]))
    q2 = q2_from_two_theta(two_theta_deg=angle, wavelength_ang=WAVELENGTH_ANG)
    return observed_from(PeakList(q2, wavelength_ang=WAVELENGTH_ANG), max_peaks=40)


def _determinant(bravais: str, x: Float[np.ndarray, "param"]) -> float:
    return float(metric.determinant(metric.form_from_x(LATTICES[bravais], x[None]))[0])


def has_cell(bravais: str, proposed: Float[np.ndarray, "cell param"], x: Float[np.ndarray, "param"]) -> bool:
    """Tell whether one of the proposals has the Niggli cell of x within 1% and 1 degree."""
    true = _niggli(bravais, x)
    return any(np.allclose(_niggli(bravais, one), true, rtol=0.01, atol=0.01) for one in proposed)


def _niggli(bravais: str, x: Float[np.ndarray, "param"]) -> tuple[float, ...]:
    lattice = LATTICES[bravais]
    cell: UnitCell = metric.cell_from_x(lattice, x)
    return niggli(cell, lattice.centring.symbol).constants
