"""When a cell counts as found. Written apart from the service's own reduction, so that one checks the other."""

from __future__ import annotations

from itertools import product

import gemmi
import numpy as np
from jaxtyping import Float

LENGTH_REL = 0.015
ANGLE_DEG = 1.5
INDEX_MAX = 4
LINE_WINDOW_DEG = 0.05

Constants = tuple[float, ...]


def same_constants(found: Constants, true: Constants) -> bool:
    """Compare two Niggli cells constant by constant: lengths within 1.5%, angles within 1.5 deg."""
    lengths = np.abs(np.array(found[:3]) / np.array(true[:3]) - 1.0)
    angles = np.abs(np.array(found[3:]) - np.array(true[3:]))
    return bool(np.all(lengths <= LENGTH_REL) and np.all(angles <= ANGLE_DEG))


def same_lattice(found: Constants, true: Constants) -> bool:
    """Say whether some basis of the found lattice agrees with the true Niggli cell within the same limits.

    A Niggli cell jumps from one basis to another where two lengths or a right angle nearly coincide; then the same
    lattice, measured a little differently, has other constants. Any basis will do here.
    """
    vectors = _STEPS @ basis_of(found)
    lengths = np.linalg.norm(vectors, axis=1)
    first, second, third = (np.flatnonzero(np.abs(lengths / length - 1.0) <= LENGTH_REL) for length in true[:3])
    cosines = np.clip((vectors @ vectors.T) / np.outer(lengths, lengths), -1.0, 1.0)
    angles = np.degrees(np.arccos(cosines))
    alpha, beta, gamma = (np.abs(angles - angle) <= ANGLE_DEG for angle in true[3:])
    return any(
        beta[a, c] and alpha[b, c] and abs(round(np.linalg.det(_STEPS[[a, b, c]]))) == 1
        for a, b in product(first, second)
        if gamma[a, b]
        for c in third
    )


def derivative_index(found: Constants, true: Constants) -> int:
    """Return n if the found cell is n times larger than the true one, -n if n times smaller, n up to 4; else 0."""
    for index in range(2, INDEX_MAX + 1):
        if any(same_lattice(found, cell) for cell in _larger_cells(true, index)):
            return index
        if any(same_lattice(true, cell) for cell in _larger_cells(found, index)):
            return -index
    return 0


def n_explained(two_theta_deg: Float[np.ndarray, "peak"], wavelength_ang: float, cell: Constants) -> int:
    """Count the lines within 0.05 deg of a reflection of the primitive cell ``cell``, whatever glides forbid."""
    d_min = wavelength_ang / 2.0 / np.sin(np.radians((two_theta_deg.max() + 1.0) / 2.0))
    unit_cell = gemmi.UnitCell(*cell)
    hkl = gemmi.make_miller_array(unit_cell, gemmi.SpaceGroup("P 1"), d_min)
    if len(hkl) == 0:
        return 0
    sine = wavelength_ang / (2.0 * unit_cell.calculate_d_array(hkl))
    calculated = np.degrees(2.0 * np.arcsin(np.clip(sine, 0.0, 1.0)))
    nearest = np.min(np.abs(two_theta_deg[:, None] - calculated), axis=1)
    return int(np.sum(nearest <= LINE_WINDOW_DEG))


def niggli_of(cell: Constants, centring: str) -> Constants:
    """Return the Niggli cell of a conventional cell with a centring symbol P, A, B, C, I, F or R."""
    vector = gemmi.GruberVector(gemmi.UnitCell(*cell), centring)
    vector.niggli_reduce()
    return tuple(vector.cell_parameters())


def basis_of(cell: Constants) -> Float[np.ndarray, "axis 3"]:
    """Return the axes as rows, Cartesian, Angstrom."""
    return np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T


def _larger_cells(cell: Constants, index: int) -> list[Constants]:
    """Return the Niggli cells of all sublattices of an index: one for each Hermite normal form."""
    basis = basis_of(cell)
    return [niggli_of(_constants(form @ basis), "P") for form in _hermite_forms(index)]


def _hermite_forms(index: int) -> list[np.ndarray]:
    divisors = [n for n in range(1, index + 1) if index % n == 0]
    return [
        np.array([[a, b, c], [0, d, e], [0, 0, f]])
        for a, d, f in product(divisors, repeat=3)
        if a * d * f == index
        for b, c, e in product(range(d), range(f), range(f))
    ]


def _constants(basis: Float[np.ndarray, "axis 3"]) -> Constants:
    lengths = np.linalg.norm(basis, axis=1)
    cosines = (basis @ basis.T) / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))
    return tuple(float(value) for value in (*lengths, *angles))


_STEPS = np.array([step for step in product(range(-2, 3), repeat=3) if any(step)])
