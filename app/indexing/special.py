"""Cells of lower symmetry that have the metric of a more symmetric relative: polytypes, superstructures, distortions.

Crystals built of hexagonal sheets, superstructures, and structures slightly distorted from a symmetric one have
lattices whose metric is that of a more symmetric sub- or superlattice although their own symmetry does not ask for it:
in a mica (mC) b = a sqrt(3) and c cos(beta) = -a/3, so that a hexagonal lattice with three times the cell belongs to
it. G. Friedel (Lecons de cristallographie, 1926) explains twins by it. The lines of such a crystal fall together as
those of the relative do. As a cell with free constants it pays for more parameters than its lines show, and the
relative, which predicts more lines but has fewer parameters, wins. Here it is weighed as what it is: the relative's few
parameters, its own few lines, and the share of known crystals that are of this kind (`SPECIAL_COUNTS`) as its prior.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.lattice_symmetry import promote
from app.crystallography.reduction import derivative_lattices
from app.indexing.search.cells import Limits
from app.indexing.search.hypotheses import ZERO_SIGMA_DEG, Hypotheses, weighed
from app.indexing.search.observed import Observed
from app.indexing.search.row import Row, row_of
from app.indexing.special_counts import SPECIAL_COUNTS

INDICES = (2, 3)
"""Of the relatives that are counted."""
_EXACT = 1e-6
_GENERIC: Mapping[str, float] = MappingProxyType(
    {"a_ang": 7.1, "b_ang": 9.37, "c_ang": 12.83, "alpha_deg": 97.3, "beta_deg": 104.9, "gamma_deg": 101.1}
)
"""Constants with no relation among them but those that symmetry asks for."""


@dataclass(frozen=True)
class Kind:
    """One way in which a lattice can have the metric of a more symmetric one.

    Attributes:
        bravais: of the lattice.
        terms: its form is ``x @ terms`` with the relative's metric terms x, shape (param, 6).
        log_share: logarithm of the share of this Bravais lattice's crystals that have such a relative.
    """

    bravais: str
    terms: Float[np.ndarray, "param 6"]
    log_share: float


def special_readings(
    relative: str,
    x: Float[np.ndarray, "param"],
    observed: Observed,
    limits: Limits,
    *,
    zero_shift_deg: float = 0.0,
    zero_sigma_deg: float = ZERO_SIGMA_DEG,
) -> list[Hypotheses]:
    """Weigh the less symmetric cells that have the metric of a given one.

    Args:
        relative: Bravais lattice of the given cell.
        x: its refined metric terms.
        observed: the lines.
        limits: bounds on the cells.
        zero_shift_deg: refined with the cell.
        zero_sigma_deg: expected size of the zero shift, degrees.

    Returns:
        One hypothesis for each kind that real crystals have and these lines allow; ``x`` in its own lattice's terms.
    """
    zero, found = np.array([zero_shift_deg]), []
    for kind in kinds_of(relative):
        row = row_of(kind.bravais)
        special = Row(kind.terms, row.domain, row.allowed, row.multiplicity)
        batch = weighed(kind.bravais, x[None], zero, observed, limits, "derivative", 1, zero_sigma_deg, row=special)
        if len(batch):
            own = metric.x_from_form(LATTICES[kind.bravais], batch.x @ kind.terms)
            found.append(replace(batch, x=own, log_odds=batch.log_odds + kind.log_share))
    return found


@cache
def kinds_of(relative: str) -> tuple[Kind, ...]:
    """Give the kinds of lattices that have the metric of a relative of this Bravais lattice.

    Which they are follows from the relative's symmetry alone, so they are worked out once, on a generic cell.
    """
    lattice = LATTICES[relative]
    found = []
    for one in derivative_lattices(_generic(lattice), lattice.centring.symbol, indices=INDICES):
        reading = promote(one.niggli, tolerance=_EXACT)
        total, counts = SPECIAL_COUNTS.get(reading.bravais, (0, {}))
        count = counts.get((relative, round(1.0 / one.volume_ratio, 3)), 0)
        if count and LATTICES[reading.bravais].n_params > lattice.n_params:
            terms = derived_terms(lattice, reading.transformation @ one.basis)
            found.append((Kind(reading.bravais, terms, math.log(count / total)), one.volume_ratio))
    alike = Counter((kind.bravais, ratio) for kind, ratio in found)
    return tuple(
        replace(kind, log_share=kind.log_share - math.log(alike[kind.bravais, ratio])) for kind, ratio in found
    )


def derived_terms(lattice: BravaisLattice, basis: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "param 6"]:
    """Give the form of a derived cell as a function of the metric terms of the lattice it is derived from.

    With axes A' = M A the reciprocal metric tensor is M^-T G* M^-1, which is linear in G* and so in the metric terms.

    Args:
        lattice: what the cell is derived from.
        basis: M: the derived axes in its conventional axes, in rows.
    """
    inverse = np.linalg.inv(basis)
    tensors = metric.tensor_from_form(lattice.terms.astype(np.float64))
    return np.ascontiguousarray(metric.form_from_tensor(inverse.T @ tensors @ inverse))


def _generic(lattice: BravaisLattice) -> UnitCell:
    return UnitCell(*(_GENERIC[value] if isinstance(value, str) else value for value in lattice.form.setting))
