"""Lines of one known cell of each Bravais lattice, as a diffractometer would give them."""

from __future__ import annotations

import gemmi
import numpy as np

from app.crystallography import metric
from app.crystallography.bragg import q2_from_two_theta, two_theta_from_q2
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli, same_lattice
from app.crystallography.reflections import reflections_within
from app.indexing.problem import PeakList, Solution
from app.indexing.search.cells import Limits

WAVELENGTH_ANG = 1.5406
LIMITS = Limits(2.0, 50.0, 8.0, 1e6)
CELLS = {
    "cF": UnitCell(12.31, 12.31, 12.31, 90.0, 90.0, 90.0),
    "cI": UnitCell(10.23, 10.23, 10.23, 90.0, 90.0, 90.0),
    "cP": UnitCell(9.14, 9.14, 9.14, 90.0, 90.0, 90.0),
    "hR": UnitCell(6.34, 6.34, 17.12, 90.0, 90.0, 120.0),
    "hP": UnitCell(6.41, 6.41, 9.27, 90.0, 90.0, 120.0),
    "tI": UnitCell(7.32, 7.32, 12.83, 90.0, 90.0, 90.0),
    "tP": UnitCell(6.93, 6.93, 9.71, 90.0, 90.0, 90.0),
    "oF": UnitCell(9.31, 13.12, 16.74, 90.0, 90.0, 90.0),
    "oI": UnitCell(6.12, 9.33, 12.71, 90.0, 90.0, 90.0),
    "oC": UnitCell(7.23, 10.91, 8.64, 90.0, 90.0, 90.0),
    "oP": UnitCell(6.14, 7.93, 10.72, 90.0, 90.0, 90.0),
    "mC": UnitCell(11.32, 6.13, 8.24, 90.0, 106.5, 90.0),
    "mP": UnitCell(6.32, 8.11, 9.93, 90.0, 101.7, 90.0),
    "aP": UnitCell(5.83, 7.12, 8.94, 97.1, 104.2, 100.6),
}
"""In the conventional setting of each lattice."""


def terms_of(bravais: str, cell: UnitCell | None = None) -> np.ndarray:
    return metric.x_from_cell(LATTICES[bravais], cell or CELLS[bravais])


def first_lines(bravais: str, cell: UnitCell, count: int, space_group: str | None = None) -> np.ndarray:
    """The first distinct q^2 of a cell, without those that the space group forbids."""
    x, q2_max = terms_of(bravais, cell), 0.02
    while True:
        found = reflections_within(LATTICES[bravais], x, q2_max, tolerance_inv_ang2=1e-6)
        q2 = found.q2_inv_ang2
        if space_group is not None:
            operations = gemmi.SpaceGroup(space_group).operations()
            q2 = q2[~operations.systematic_absences(found.hkl.astype(np.int32))]
        if len(q2) >= count:
            return q2[:count]
        q2_max *= 1.2


def pattern(
    bravais: str,
    cell: UnitCell | None = None,
    *,
    count: int = 20,
    noise_deg: float = 0.01,
    zero_deg: float = 0.0,
    foreign: int = 0,
    seed: int = 0,
    space_group: str | None = None,
    wavelength_ang: float = WAVELENGTH_ANG,
) -> PeakList:
    """The first lines with normal errors and a zero shift, and foreign lines somewhere between them."""
    rng = np.random.default_rng(seed)
    q2 = first_lines(bravais, cell or CELLS[bravais], count, space_group)
    angles = two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=wavelength_ang)
    angles = angles + zero_deg + noise_deg * rng.standard_normal(count)
    angles = np.sort(np.append(angles, rng.uniform(angles[0], angles[-1], foreign)))
    return PeakList(
        q2_from_two_theta(two_theta_deg=angles, wavelength_ang=wavelength_ang), wavelength_ang=wavelength_ang
    )


def is_lattice(solution: Solution, bravais: str, cell: UnitCell | None = None) -> bool:
    """Tell whether a solution is this lattice, read with this symmetry."""
    true = niggli(cell or CELLS[bravais], LATTICES[bravais].centring.symbol)
    close = same_lattice(solution.niggli, true, length_tolerance=0.004, angle_tolerance_deg=0.4)
    return solution.bravais == bravais and close
