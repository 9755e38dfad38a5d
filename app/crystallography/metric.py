"""Cell constants, the quadratic form of the reciprocal metric, and the free metric terms x of a lattice.

All functions are vectorised over the leading axis ``cell``; conventions as in `app.crystallography.lattice`. The form
(a*^2, b*^2, c*^2, 2 b*.c*, 2 a*.c*, 2 a*.b*) is the reciprocal metric tensor G* = G^-1, its off-diagonal terms doubled
(International Tables for Crystallography B, 1.1).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CONSTANTS, BravaisLattice, MetricForm
from app.errors import InvalidInput

_ROW = np.array((0, 1, 2, 1, 0, 0))
_COLUMN = np.array((0, 1, 2, 2, 2, 1))
"""Where the six terms stand in a symmetric 3 x 3 tensor."""
_DOUBLED = np.array((1.0, 1.0, 1.0, 2.0, 2.0, 2.0))

Constants = Float[np.ndarray, "cell 6"]
Form = Float[np.ndarray, "cell 6"]
Tensor = Float[np.ndarray, "cell 3 3"]
Terms = Float[np.ndarray, "cell param"]


def tensor_from_form(form: Form) -> Tensor:
    """The reciprocal metric tensor G*, Angstrom^-2."""
    half = np.asarray(form, dtype=float) / _DOUBLED
    tensor = np.empty((*half.shape[:-1], 3, 3))
    tensor[..., _ROW, _COLUMN] = half
    tensor[..., _COLUMN, _ROW] = half
    return tensor


def form_from_tensor(tensor: Tensor) -> Form:
    """The six coefficients of q^2 from the reciprocal metric tensor."""
    return np.asarray(tensor)[..., _ROW, _COLUMN] * _DOUBLED


def tensor_from_constants(constants: Constants) -> Tensor:
    """The direct metric tensor G of each cell, Angstrom^2; constants in Angstrom and degrees."""
    values = np.asarray(constants, dtype=float)
    cosines = np.cos(np.radians(values[..., 3:]))
    cosines[values[..., 3:] == 90.0] = 0.0
    tensor = values[..., :3, None] * values[..., None, :3]
    tensor[..., (1, 2, 0, 2, 0, 1), (2, 1, 2, 0, 1, 0)] *= np.repeat(cosines, 2, axis=-1)
    return tensor


def constants_from_tensor(tensor: Tensor) -> Constants:
    """Lengths in Angstrom and angles in degrees of the direct metric tensors G; NaN where one is no metric."""
    tensor = np.asarray(tensor, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.diagonal(tensor, axis1=-2, axis2=-1))
        b_c = np.stack((lengths[..., 1], lengths[..., 0], lengths[..., 0]), -1)
        c_a = np.stack((lengths[..., 2], lengths[..., 2], lengths[..., 1]), -1)
        cosines = tensor[..., (1, 0, 0), (2, 2, 1)] / (b_c * c_a)
        return np.concatenate((lengths, np.degrees(np.arccos(cosines))), axis=-1)


def form_from_constants(constants: Constants) -> Form:
    """The six coefficients of q^2 of each cell, Angstrom^-2. The cells must exist: see `exists`."""
    return form_from_tensor(np.linalg.inv(tensor_from_constants(constants)))


def constants_from_form(form: Form) -> Constants:
    """Cell constants of each form; NaN where the form is not positive definite."""
    form = np.asarray(form, dtype=float)
    ok = positive_definite(form)
    safe = np.where(ok[..., None], form, (1.0, 1.0, 1.0, 0.0, 0.0, 0.0))
    constants = constants_from_tensor(np.linalg.inv(tensor_from_form(safe)))
    return np.where(ok[..., None], constants, np.nan)


def determinant(form: Form) -> Float[np.ndarray, "cell"]:
    """det G* = 1/V^2, Angstrom^-6."""
    a, b, c, bc, ac, ab = np.moveaxis(np.asarray(form, dtype=float), -1, 0)
    return a * b * c + (bc * ac * ab - a * bc * bc - b * ac * ac - c * ab * ab) / 4


def positive_definite(form: Form) -> Bool[np.ndarray, "cell"]:
    """Tell which forms are those of a cell: finite, with positive leading minors (Sylvester)."""
    form = np.asarray(form, dtype=float)
    a, b, _, _, _, ab = np.moveaxis(form, -1, 0)
    return np.isfinite(form).all(-1) & (a > 0) & (4 * a * b > ab * ab) & (determinant(form) > 0)


def volume_from_form(form: Form) -> Float[np.ndarray, "cell"]:
    """V = det(G*)^(-1/2), Angstrom^3; NaN where the form is not positive definite."""
    ok = positive_definite(form)
    return np.where(ok, np.where(ok, determinant(form), 1.0) ** -0.5, np.nan)


def form_from_x(lattice: BravaisLattice, x: Terms) -> Form:
    """The full form from a lattice's free metric terms."""
    return np.asarray(x, dtype=float) @ lattice.terms


def x_from_form(lattice: BravaisLattice, form: Form) -> Terms:
    """The free metric terms of the nearest form (least squares) with the lattice's metric; exact where it has it."""
    return np.asarray(form, dtype=float) @ _inverse_terms(lattice.form)


@cache
def _inverse_terms(form: MetricForm) -> Float[np.ndarray, "6 param"]:
    return np.linalg.pinv(form.terms)


def volume_from_x(lattice: BravaisLattice, x: Terms) -> Float[np.ndarray, "cell"]:
    """Volume of the conventional cell, Angstrom^3; NaN where x is no cell."""
    return volume_from_form(form_from_x(lattice, x))


def valid(lattice: BravaisLattice, x: Terms) -> Bool[np.ndarray, "cell"]:
    """Tell which x are cells: finite, and their form positive definite."""
    return positive_definite(form_from_x(lattice, x))


def constants_from_x(lattice: BravaisLattice, x: Terms) -> Constants:
    """Cell constants of each x, those that symmetry fixes exact; NaN where x is no cell."""
    constants = constants_from_form(form_from_x(lattice, x))
    fixed, is_free, sources = _ties(lattice.form)
    return np.where(is_free | np.isnan(constants), constants[..., sources], fixed)


@cache
def _ties(form: MetricForm) -> tuple[Float[np.ndarray, "6"], Bool[np.ndarray, "6"], Int[np.ndarray, "6"]]:
    """The values of the constants that symmetry fixes, which are free, and the constant that each equals."""
    is_free = np.array([isinstance(value, str) for value in form.setting])
    fixed = [np.nan if isinstance(value, str) else value for value in form.setting]
    sources = [CONSTANTS.index(value) if isinstance(value, str) else i for i, value in enumerate(form.setting)]
    return np.array(fixed), is_free, np.array(sources)


def x_from_constants(lattice: BravaisLattice, constants: Constants) -> Terms:
    """The free metric terms of each cell; constants that the lattice ties are averaged in the metric."""
    return x_from_form(lattice, form_from_constants(constants))


def cell_from_x(lattice: BravaisLattice, x: Float[np.ndarray, "param"]) -> UnitCell:
    """The cell of one x.

    Raises:
        InvalidInput: x is not the metric of a cell.
    """
    return _cell(constants_from_x(lattice, np.asarray(x, dtype=float)))


def x_from_cell(lattice: BravaisLattice, cell: UnitCell) -> Float[np.ndarray, "param"]:
    """The free metric terms of one cell.

    Raises:
        InvalidInput: the constants are those of no cell.
    """
    return x_from_form(lattice, form_from_cell(cell))


def form_from_cell(cell: UnitCell) -> Float[np.ndarray, "6"]:
    """The six coefficients of q^2 of one cell.

    Raises:
        InvalidInput: the constants are those of no cell.
    """
    constants = np.array(cell.constants)
    if not exists(constants):
        raise InvalidInput(
            f"No unit cell has the constants {tuple(round(float(c), 4) for c in constants)}; give positive lengths in "
            "Angstrom and angles in degrees with alpha + beta + gamma < 360, none larger than the other two together."
        )
    return form_from_constants(constants)


def cell_from_form(form: Float[np.ndarray, "6"]) -> UnitCell:
    """The cell of one form.

    Raises:
        InvalidInput: the form is not positive definite.
    """
    return _cell(constants_from_form(np.asarray(form, dtype=float)))


def _cell(constants: Float[np.ndarray, "6"]) -> UnitCell:
    if not np.isfinite(constants).all():
        raise InvalidInput("These metric terms belong to no unit cell: the reciprocal metric is not positive definite.")
    return UnitCell(*(float(value) for value in constants))


def exists(constants: Constants) -> Bool[np.ndarray, "cell"]:
    """Tell which constants are those of a cell: positive lengths, angles that three axes can have."""
    constants = np.asarray(constants, dtype=float)
    lengths, angles = constants[..., :3], constants[..., 3:]
    total = angles.sum(-1)
    triangle = (2 * angles < total[..., None]).all(-1) & (total < 360)
    return np.isfinite(constants).all(-1) & (lengths > 0).all(-1) & (angles > 0).all(-1) & triangle


def volume(cell: UnitCell) -> float:
    """Volume of one cell, Angstrom^3. Raises `InvalidInput` as `form_from_cell`."""
    return float(volume_from_form(form_from_cell(cell)))


def jacobian(lattice: BravaisLattice, x: Terms) -> Float[np.ndarray, "cell 6 param"]:
    """Derivatives of the six cell constants with respect to x, in Angstrom and degrees per Angstrom^-2.

    dG = -G dG* G, a = sqrt(G_11), cos(alpha) = G_23/(b c). The rows of constants that symmetry fixes are 0. Every x
    must be a cell: see `valid`.
    """
    x = np.asarray(x, dtype=float)
    direct = np.linalg.inv(tensor_from_form(form_from_x(lattice, x)))
    change = -np.einsum("...ij,pjk,...kl->...pil", direct, tensor_from_form(lattice.terms.astype(float)), direct)
    lengths = np.sqrt(np.diagonal(direct, axis1=-2, axis2=-1))[..., None, :]
    d_lengths = np.diagonal(change, axis1=-2, axis2=-1) / (2 * lengths)
    relative = d_lengths / lengths
    first, second = np.array((1, 0, 0)), np.array((2, 2, 1))
    product = lengths[..., first] * lengths[..., second]
    cosines = direct[..., None, first, second] / product
    d_cosines = change[..., first, second] / product - cosines * (relative[..., first] + relative[..., second])
    d_angles = -np.degrees(d_cosines / np.sqrt(1 - cosines**2))
    full = np.swapaxes(np.concatenate((d_lengths, d_angles), axis=-1), -1, -2)
    return np.where(np.isnan(lattice.fixed_constants)[:, None], full, 0.0)


def sigma_constants(lattice: BravaisLattice, x: Terms, covariance: Float[np.ndarray, "cell param param"]) -> Constants:
    """Standard deviations of the six constants from the covariance of x; 0 for those that symmetry fixes."""
    slope = jacobian(lattice, x)
    variance = np.einsum("...ip,...pq,...iq->...i", slope, np.asarray(covariance, dtype=float), slope)
    return np.sqrt(np.maximum(variance, 0.0))


def cell_sigma(
    lattice: BravaisLattice, x: Float[np.ndarray, "param"], covariance: Float[np.ndarray, "param param"]
) -> UnitCell:
    """Standard deviations of one cell's constants, in the units of the constants."""
    return UnitCell(*(float(value) for value in sigma_constants(lattice, x, covariance)))
