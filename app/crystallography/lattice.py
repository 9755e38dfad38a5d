"""The table of the 14 Bravais lattices, and the conventions that the whole project keeps.

- q = 1/d without 2 pi, q^2 in Angstrom^-2.
- The six `products` of hkl are, in this order, h^2, k^2, l^2, kl, hl, hk; q^2 = products . form, where the `form` of a
  cell is (a*^2, b*^2, c*^2, 2 b*.c*, 2 a*.c*, 2 a*.b*).
- A lattice has fewer free metric terms: form = x @ terms, so that q^2 = (products @ terms.T) @ x = design @ x. The
  integer matrix ``terms`` is all that the calculation of q^2 knows of a crystal system.
- Hexagonal axes (gamma = 120, obverse: -h + k + l = 3n) for rhombohedral lattices; monoclinic with unique axis b,
  C-centred; orthorhombic one-face centred as C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

CONSTANTS = ("a_ang", "b_ang", "c_ang", "alpha_deg", "beta_deg", "gamma_deg")
"""The six cell constants in the order of every (cell, 6) array."""


@dataclass(frozen=True)
class Centring:
    """Which reflections a centring leaves, and the primitive cell in it.

    Attributes:
        symbol: P, A, B, C, I, F or R.
        multiplicity: lattice points in the conventional cell.
        conditions: integer rows, shape (rule, 3): a reflection is allowed where each ``row . hkl`` is a multiple of
            ``modulus``.
        modulus: 2, or 3 for R.
        primitive_sixths: rows are the primitive axes in the conventional ones, times 6, shape (3, 3).
    """

    symbol: str
    multiplicity: int
    conditions: tuple[tuple[int, int, int], ...]
    modulus: int
    primitive_sixths: tuple[tuple[int, int, int], ...]

    @property
    def primitive(self) -> Float[np.ndarray, "3 3"]:
        """Rows are the axes of a primitive cell in conventional axes; the determinant is 1/multiplicity."""
        return np.array(self.primitive_sixths) / 6

    def allowed(self, hkl: Int[np.ndarray, "ref 3"]) -> Bool[np.ndarray, "ref"]:
        """Tell which reflections the centring does not extinguish."""
        rules = np.array(self.conditions, dtype=np.int64).reshape(-1, 3)
        return np.all((np.asarray(hkl) @ rules.T) % self.modulus == 0, axis=-1)


CENTRINGS: Mapping[str, Centring] = MappingProxyType(
    {
        row.symbol: row
        for row in (
            Centring("P", 1, (), 2, ((6, 0, 0), (0, 6, 0), (0, 0, 6))),
            Centring("A", 2, ((0, 1, 1),), 2, ((6, 0, 0), (0, 3, 3), (0, -3, 3))),
            Centring("B", 2, ((1, 0, 1),), 2, ((3, 0, -3), (0, 6, 0), (3, 0, 3))),
            Centring("C", 2, ((1, 1, 0),), 2, ((3, 3, 0), (-3, 3, 0), (0, 0, 6))),
            Centring("I", 2, ((1, 1, 1),), 2, ((-3, 3, 3), (3, -3, 3), (3, 3, -3))),
            Centring("F", 4, ((1, 1, 0), (0, 1, 1)), 2, ((0, 3, 3), (3, 0, 3), (3, 3, 0))),
            Centring("R", 3, ((-1, 1, 1),), 3, ((4, 2, 2), (-2, 2, 2), (-2, -4, 2))),
        )
    }
)
"""The centrings; R is obverse, in hexagonal axes."""


@dataclass(frozen=True)
class MetricForm:
    """The metric of one crystal family.

    Attributes:
        terms: shape (param, 6), see the module's docstring.
        setting: for each of the six cell constants either its value, fixed by symmetry, or the name of the free
            constant that it equals.
    """

    terms: tuple[tuple[int, int, int, int, int, int], ...]
    setting: tuple[str | float, ...]


CUBIC = MetricForm(((1, 1, 1, 0, 0, 0),), ("a_ang", "a_ang", "a_ang", 90.0, 90.0, 90.0))
TETRAGONAL = MetricForm(((1, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)), ("a_ang", "a_ang", "c_ang", 90.0, 90.0, 90.0))
HEXAGONAL = MetricForm(((1, 1, 0, 0, 0, 1), (0, 0, 1, 0, 0, 0)), ("a_ang", "a_ang", "c_ang", 90.0, 90.0, 120.0))
ORTHORHOMBIC = MetricForm(
    ((1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)), ("a_ang", "b_ang", "c_ang", 90.0, 90.0, 90.0)
)
MONOCLINIC = MetricForm(
    ((1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, 0)),
    ("a_ang", "b_ang", "c_ang", 90.0, "beta_deg", 90.0),
)
TRICLINIC = MetricForm(
    (
        (1, 0, 0, 0, 0, 0),
        (0, 1, 0, 0, 0, 0),
        (0, 0, 1, 0, 0, 0),
        (0, 0, 0, 1, 0, 0),
        (0, 0, 0, 0, 1, 0),
        (0, 0, 0, 0, 0, 1),
    ),
    CONSTANTS,
)


@dataclass(frozen=True)
class BravaisLattice:
    """One row of the table.

    Attributes:
        symbol: Pearson's, e.g. ``oF``.
        system: lattice system, e.g. ``orthorhombic``.
        form: the metric of its family.
        centring: of the conventional cell.
        laue_order: reflections that share one q^2 by symmetry, in general position: 48 for cubic, 2 for triclinic.
        convention: the conventional setting in words.
    """

    symbol: str
    system: str
    form: MetricForm
    centring: Centring
    laue_order: int
    convention: str

    @property
    def n_params(self) -> int:
        """Free metric terms, as many as free cell constants."""
        return len(self.form.terms)

    @property
    def terms(self) -> Int[np.ndarray, "param 6"]:
        """The integer matrix with ``form = x @ terms`` and ``design = products @ terms.T``."""
        return np.array(self.form.terms)

    @property
    def free_constants(self) -> tuple[str, ...]:
        """Names of the independent cell constants."""
        return tuple(dict.fromkeys(name for name in self.form.setting if isinstance(name, str)))

    @property
    def fixed_constants(self) -> tuple[float, ...]:
        """The six constants' values where symmetry fixes them, NaN elsewhere."""
        return tuple(float("nan") if isinstance(value, str) else value for value in self.form.setting)

    @property
    def constant_sources(self) -> tuple[int, ...]:
        """For each of the six constants the index of the constant it equals, -1 where it is fixed."""
        return tuple(CONSTANTS.index(v) if isinstance(v, str) else -1 for v in self.form.setting)

    def allowed(self, hkl: Int[np.ndarray, "ref 3"]) -> Bool[np.ndarray, "ref"]:
        """Tell which reflections the centring does not extinguish."""
        return self.centring.allowed(hkl)

    def design(self, hkl: Int[np.ndarray, "*shape 3"]) -> Int[np.ndarray, "*shape param"]:
        """The design matrix: q^2 = design @ x."""
        return products(hkl) @ self.terms.T


def products(hkl: Int[np.ndarray, "*shape 3"]) -> Int[np.ndarray, "*shape 6"]:
    """The six products h^2, k^2, l^2, kl, hl, hk of each reflection."""
    h, k, l = np.moveaxis(np.asarray(hkl), -1, 0)  # noqa: E741 - the crystallographer's name
    return np.stack((h * h, k * k, l * l, k * l, h * l, h * k), axis=-1)


_ROWS = (
    ("cF", "cubic", CUBIC, "F", 48, "a = b = c"),
    ("cI", "cubic", CUBIC, "I", 48, "a = b = c"),
    ("cP", "cubic", CUBIC, "P", 48, "a = b = c"),
    ("hR", "rhombohedral", HEXAGONAL, "R", 12, "hexagonal axes, obverse: -h + k + l = 3n"),
    ("hP", "hexagonal", HEXAGONAL, "P", 24, "a = b, gamma = 120"),
    ("tI", "tetragonal", TETRAGONAL, "I", 16, "a = b, unique axis c"),
    ("tP", "tetragonal", TETRAGONAL, "P", 16, "a = b, unique axis c"),
    ("oF", "orthorhombic", ORTHORHOMBIC, "F", 8, "a <= b <= c"),
    ("oI", "orthorhombic", ORTHORHOMBIC, "I", 8, "a <= b <= c"),
    ("oC", "orthorhombic", ORTHORHOMBIC, "C", 8, "C-centred, a <= b"),
    ("oP", "orthorhombic", ORTHORHOMBIC, "P", 8, "a <= b <= c"),
    ("mC", "monoclinic", MONOCLINIC, "C", 4, "unique axis b, C-centred, beta >= 90, shortest a and c with C"),
    ("mP", "monoclinic", MONOCLINIC, "P", 4, "unique axis b, beta >= 90, the shortest a <= c"),
    ("aP", "triclinic", TRICLINIC, "P", 2, "Niggli-reduced"),
)

LATTICES: Mapping[str, BravaisLattice] = MappingProxyType(
    {
        symbol: BravaisLattice(symbol, system, form, CENTRINGS[centring], order, convention)
        for symbol, system, form, centring, order, convention in _ROWS
    }
)
"""The 14 Bravais lattices by Pearson symbol, from the highest symmetry to the lowest."""
