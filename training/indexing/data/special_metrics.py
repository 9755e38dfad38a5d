"""How often a crystal's lattice has the metric of a more symmetric relative that its symmetry does not ask for.

Polytypes of hexagonal sheets, superstructures and slightly distorted crystals have a sub- or superlattice of small
index that is hexagonal, tetragonal, cubic, rhombohedral or orthorhombic to within the errors of a powder pattern. Their
lines fall together as that relative's do, and a search finds the relative. The share of such lattices, by kind, is the
prior of `app.indexing.special`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.lattice_symmetry import promote
from app.crystallography.reduction import derivative_lattices
from training.indexing.data.amcsd import read_structures
from training.indexing.data.lattices import lattice_of
from training.indexing.data.structures import sound

INDICES = (2, 3)
TOLERANCE = 0.002
"""Relative change of a length, or angle in radians, that a pattern of 20 lines hardly tells from none."""
SAME_CELL = 0.02
"""Structures of one Bravais lattice whose Niggli constants all agree within this share count once."""


@dataclass(frozen=True)
class Kind:
    """A relation: this lattice has a relative of that lattice and of so many times its volume."""

    bravais: str
    relative: str
    volume_ratio: float


def distinct_cells(database: Path, reserved: frozenset[int] = frozenset()) -> dict[str, list[UnitCell]]:
    """Give the distinct Niggli cells of the sound structures, by Bravais lattice of their space group."""
    kept: dict[str, list[np.ndarray]] = {}
    for structure in read_structures(database):
        if structure.amcsd_id in reserved or not sound(structure) or structure.space_group is None:
            continue
        lattice = lattice_of(structure.cell, structure.space_group)
        if lattice is None:
            continue
        cells, cell = kept.setdefault(lattice.bravais, []), np.array(lattice.niggli)
        if not cells or not np.any(np.all(np.abs(np.array(cells) / cell - 1.0) < SAME_CELL, axis=1)):
            cells.append(cell)
    return {bravais: [UnitCell(*map(float, cell)) for cell in cells] for bravais, cells in kept.items()}


def relations(cell: UnitCell, bravais: str, *, tolerance: float = TOLERANCE) -> Iterator[Kind]:
    """Give the relatives of a primitive cell that are more symmetric than its own metric, each kind once."""
    order, found = LATTICES[promote(cell, tolerance=tolerance).bravais].laue_order, set()
    for one in derivative_lattices(cell, indices=INDICES):
        reading = promote(one.niggli, tolerance=tolerance)
        if LATTICES[reading.bravais].laue_order > order:
            found.add(Kind(bravais, reading.bravais, one.volume_ratio))
    yield from sorted(found, key=lambda kind: (kind.relative, kind.volume_ratio))


def counted(cells: Iterable[UnitCell], bravais: str, *, tolerance: float = TOLERANCE) -> Counter[Kind]:
    """Count the lattices that have each kind of relative with fewer free metric terms, all of them lengths."""
    own = LATTICES[bravais].n_params
    return Counter(
        kind
        for cell in cells
        for kind in relations(cell, bravais, tolerance=tolerance)
        if LATTICES[kind.relative].n_params < own and LATTICES[kind.relative].system != "monoclinic"
    )
