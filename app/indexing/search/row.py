"""One Bravais lattice as the arrays that compiled code reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from app.crystallography.lattice import LATTICES

PERIOD = 6
"""Every centring condition repeats after six in h, k and l."""


class Domain(NamedTuple):
    """Which of the equivalent reflections stands for all: h >= 0, and what else holds.

    Attributes:
        negative_k, negative_l: k, l take both signs (one of hkl and -h-k-l is left out).
        h_from_k: h >= k.
        k_from_l: k >= l.
    """

    negative_k: bool = False
    negative_l: bool = False
    h_from_k: bool = False
    k_from_l: bool = False


DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "cubic": Domain(h_from_k=True, k_from_l=True),
        # h and k do not commute with the obverse centring: both orders are needed.
        "rhombohedral": Domain(),
        "hexagonal": Domain(h_from_k=True),
        "tetragonal": Domain(h_from_k=True),
        "orthorhombic": Domain(),
        "monoclinic": Domain(negative_l=True),
        "triclinic": Domain(negative_k=True, negative_l=True),
    }
)
"""By lattice system."""


class Row(NamedTuple):
    """What compiled code needs of a lattice; a plain tuple of arrays and numbers.

    Attributes:
        terms: ``form = x @ terms``, shape (param, 6).
        domain: the four flags of `Domain`, shape (4,).
        allowed: whether the centring allows (h mod 6, k mod 6, l mod 6), shape (6, 6, 6).
        multiplicity: lattice points in the conventional cell.
    """

    terms: Float[np.ndarray, "param 6"]
    domain: Bool[np.ndarray, "4"]
    allowed: Bool[np.ndarray, "6 6 6"]
    multiplicity: float


@cache
def row_of(bravais: str) -> Row:
    """Give the arrays of one of the 14 lattices."""
    lattice = LATTICES[bravais]
    residues = np.moveaxis(np.indices((PERIOD,) * 3), 0, -1).reshape(-1, 3)
    allowed = lattice.allowed(residues).reshape((PERIOD,) * 3)
    domain = np.array(DOMAINS[lattice.system], dtype=np.bool_)
    return Row(lattice.terms.astype(np.float64), domain, allowed, float(lattice.centring.multiplicity))
