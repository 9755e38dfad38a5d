"""Which published structures are good enough to learn from, and which are one crystal published several times.

The seven checks are those of section 2.1.1 of the report on data-driven indexing; two more hold the sites that
intensities are calculated from. The report's seventh check bounds the volume by 18 Angstrom^3 for each atom, which is
the molecular crystal's rule: it would refuse halides of heavy alkali metals. Here the volume for each atom that is not
hydrogen lies in a range that all sound minerals keep.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from app.crystallography import metric
from training.indexing.data.amcsd import Structure
from training.indexing.data.conventions import Conventional, conventional
from training.indexing.data.kinematic import Atoms
from training.indexing.data.space_groups import Operations, operations_of, turned_operations
from training.indexing.data.structures import elements_agree, sites_sound

_COMPATIBLE = 0.01
_VOLUME_REL = 0.01
VOLUME_PER_ATOM_ANG3 = (4.5, 75.0)
"""For each atom that is not hydrogen: diamond has 5.7, ices up to 33, caesium iodide 48."""
_U_ISO_ANG2 = 0.6 / (8.0 * np.pi**2)
"""Where none was published, as `training.indexing.data.powder`."""
_COINCIDE_ANG = 0.4
"""Images of a site closer than this are one atom, as gemmi has it."""
_HYDROGEN = ("H", "D")
SAME_CELL = 0.05
"""Relative difference of the constants of two reduced cells of one crystal."""
RESEMBLES = 0.03
"""The same, of a crystal and a case of evaluation."""
SAME_ATOMS = 1.0
"""Atoms of the primitive cell that may be others in one crystal."""
SAME_SHARE = 0.05
"""The same as a share of the atoms, where one of the two is synthetic."""
_SAME_COUNT = 0.05
_ROUNDING = 1e-4
_PAIRS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Entry:
    """A structure on its way through the checks; what no check needs yet is None.

    Attributes:
        structure: as published.
        lattice: its conventional axes.
        atoms: its contents in these axes.
        amounts: atoms of each of ``atoms.elements`` in the primitive cell, shape (element,).
    """

    structure: Structure
    lattice: Conventional | None
    atoms: Atoms | None
    amounts: Float[np.ndarray, "element"]

    @property
    def heavy_atoms(self) -> float:
        """Atoms of the primitive cell that are not hydrogen."""
        elements = () if self.atoms is None else self.atoms.elements
        return float(
            sum(amount for element, amount in zip(elements, self.amounts, strict=True) if element not in _HYDROGEN)
        )

    @property
    def volume_per_atom(self) -> float:
        """Angstrom^3 for each atom that is not hydrogen; infinite without any."""
        group = self.structure.space_group
        points = 1 if group is None else len(group.operations().cen_ops)
        return self.structure.cell.volume / points / self.heavy_atoms if self.heavy_atoms > 0 else np.inf


def entry_of(structure: Structure) -> Entry:
    """Bring a structure to its conventional axes, as far as it is complete enough for that."""
    group = structure.space_group
    if group is None or not structure.cell.is_compatible_with_spacegroup(group, _COMPATIBLE):
        return Entry(structure, None, None, np.empty(0))
    lattice = conventional(structure.cell, group)
    if lattice is None or not structure.sites or not sites_sound(structure):
        return Entry(structure, lattice, None, np.empty(0))
    atoms = atoms_of(structure, lattice)
    amounts = np.bincount(atoms.species, weights=atoms.weight) * len(atoms.operations.rotations)
    return Entry(structure, lattice, atoms, amounts)


def atoms_of(structure: Structure, lattice: Conventional) -> Atoms:
    """Return the sites of a structure and its operations, turned into the conventional axes."""
    assert structure.space_group is not None  # noqa: S101
    published = operations_of(structure.space_group.operations())
    turned = turned_operations(published, lattice.basis, operations_of(lattice.setting.operations).centrings)
    # With new axes A' = basis A, coordinates change by the inverse transpose.
    change = np.linalg.inv(lattice.basis).T
    fract = np.array([site.fract for site in structure.sites])
    elements = tuple(sorted({site.element for site in structure.sites}))
    u_iso = [
        _U_ISO_ANG2 if site.u_iso_ang2 is None or site.u_iso_ang2 <= 0 else site.u_iso_ang2 for site in structure.sites
    ]
    share = _different_images(published, fract, np.array(structure.cell.orth.mat.tolist()))
    return Atoms(
        turned,
        elements,
        np.array([elements.index(site.element) for site in structure.sites]),
        fract @ change.T,
        np.array([site.occupancy for site in structure.sites]) * share,
        8.0 * np.pi**2 * np.array(u_iso),
    )


def _different_images(
    operations: Operations, fract: Float[np.ndarray, "site 3"], orthogonal: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "site"]:
    """The share of a site's images that are different atoms."""
    turned = np.einsum("oij,sj->soi", operations.rotations, fract) + operations.translations
    images = (turned[:, :, None] + operations.centrings).reshape(len(fract), -1, 3)
    step = images - fract[:, None]
    distance = np.linalg.norm((step - np.round(step)) @ orthogonal.T, axis=2)
    return 1.0 / (distance < _COINCIDE_ANG).sum(axis=1)


# The checks


@dataclass(frozen=True)
class Check:
    """One thing that a structure must fulfil."""

    name: str
    passes: Callable[[Entry], bool]


def _volume_agrees(entry: Entry) -> bool:
    published = entry.structure.volume_published_ang3
    return published is not None and abs(entry.structure.cell.volume / published - 1.0) <= _VOLUME_REL


def _system_agrees(entry: Entry) -> bool:
    group = entry.structure.space_group
    return group is not None and entry.structure.cell.is_compatible_with_spacegroup(group, _COMPATIBLE)


CHECKS: tuple[Check, ...] = (
    Check("1 formula is listed", lambda e: bool(re.search(r"[A-Z]", e.structure.formula))),
    Check("2 space group is one of the 230", lambda e: e.structure.space_group is not None),
    Check("4 cell has the metric of the crystal system", _system_agrees),
    Check("3 symbol can be had in the conventional setting", lambda e: e.lattice is not None),
    Check("5 cell can be reduced", lambda e: e.lattice is not None and bool(np.isfinite(e.lattice.niggli).all())),
    Check("6 volume is the published one", _volume_agrees),
    Check("sites have coordinates, elements and occupancies up to 1", lambda e: e.atoms is not None),
    Check(
        "7 volume suits the atoms",
        lambda e: VOLUME_PER_ATOM_ANG3[0] <= e.volume_per_atom <= VOLUME_PER_ATOM_ANG3[1],
    ),
    Check("sites have the elements of the formula", lambda e: elements_agree(e.structure)),
)
"""In their order; those with a number are the report's."""


def failed_check(entry: Entry) -> str | None:
    """Return the name of the first check that an entry fails; None where it passes all."""
    return next((check.name for check in CHECKS if not check.passes(entry)), None)


# One crystal several times


@dataclass(frozen=True)
class Contents:
    """What crystals are compared by, one row each.

    Attributes:
        family: crystal family: the first letter of the Pearson symbol (rhombohedral and hexagonal are one).
        number: of the space group.
        niggli: constants of the reduced cell, shape (crystal, 6).
        amounts: atoms of each element of the primitive cell, shape (crystal, element); 0 for hydrogen.
        real: a published structure, shape (crystal,).
    """

    family: np.ndarray
    number: Int[np.ndarray, "crystal"]
    niggli: Float[np.ndarray, "crystal 6"]
    amounts: Float[np.ndarray, "crystal element"]
    real: Bool[np.ndarray, "crystal"]


def near_pairs(contents: Contents) -> Int[np.ndarray, "pair 2"]:
    """Return the pairs of crystals of one family whose lattices agree within 5%.

    They do where the reduced cells agree in every constant, or the shortest lattice vectors in their lengths: a reduced
    cell changes its form at once where two lengths are nearly equal or an angle nearly right, the vectors do not.
    """
    count, found = len(contents.number), [np.empty(0, np.int64)]
    shortest = shortest_vectors(contents.niggli)
    for family in np.unique(contents.family):
        rows = np.flatnonzero(contents.family == family)
        for values in (contents.niggli[rows], shortest[rows]):
            tree = KDTree(np.log(values))
            near = tree.query_pairs(np.log1p(SAME_CELL), p=np.inf, output_type="ndarray").reshape(-1, 2)
            pairs = np.sort(rows[near], axis=1)
            found.append(pairs[:, 0] * count + pairs[:, 1])
    return np.stack(np.divmod(np.unique(np.concatenate(found)), max(1, count)), axis=1)


def shortest_vectors(niggli: Float[np.ndarray, "crystal 6"]) -> Float[np.ndarray, "crystal 7"]:
    """Return the lengths of the seven shortest lattice vectors, of each pair of opposite ones one, ascending."""
    tensor = metric.tensor_from_constants(niggli)
    square = np.einsum("vi,cij,vj->cv", _AROUND, tensor, _AROUND)
    return np.sqrt(np.sort(square, axis=1)[:, :_N_SHORTEST])


_AROUND = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)[14:]
"""Sums and differences of the axes of a reduced cell, among which its shortest vectors are."""
_N_SHORTEST = 7


def resembles(
    niggli: Float[np.ndarray, "crystal 6"], cases: Float[np.ndarray, "case 6"]
) -> Bool[np.ndarray, "crystal"]:
    """Say which crystals have a lattice within 3% of one of these cases', by either measure of `near_pairs`."""
    found = np.zeros(len(niggli), bool)
    if not len(cases):
        return found
    for values, wanted in ((niggli, cases), (shortest_vectors(niggli), shortest_vectors(cases))):
        nearest = KDTree(np.log(wanted)).query(np.log(values), p=np.inf)[0]
        found |= np.asarray(nearest <= np.log1p(RESEMBLES))
    return found


def same_composition(contents: Contents, pairs: Int[np.ndarray, "pair 2"]) -> Bool[np.ndarray, "pair"]:
    """Say which pairs differ by at most one atom of the primitive cell.

    Where one of them is synthetic it is one atom in twenty at most: among thousands of small crystals, of two or three
    atoms each, a difference of one would make nearly all alike.
    """
    same, count = np.zeros(len(pairs), bool), contents.amounts.sum(axis=1)
    fewer = np.minimum(count[pairs[:, 0]], count[pairs[:, 1]])
    published = contents.real[pairs].all(axis=1)
    allowed = np.where(published, SAME_ATOMS, np.minimum(SAME_ATOMS, SAME_SHARE * fewer)) + _ROUNDING
    possible = np.flatnonzero(np.abs(count[pairs[:, 0]] - count[pairs[:, 1]]) <= allowed)
    for start in range(0, len(possible), _PAIRS_AT_ONCE):
        rows = possible[start : start + _PAIRS_AT_ONCE]
        change = contents.amounts[pairs[rows, 0]] - contents.amounts[pairs[rows, 1]]
        more, less = np.maximum(change, 0).sum(axis=1), np.maximum(-change, 0).sum(axis=1)
        same[rows] = np.maximum(more, less) <= allowed[rows]
    return same


def same_type(contents: Contents, pairs: Int[np.ndarray, "pair 2"]) -> Bool[np.ndarray, "pair"]:
    """Say which pairs of real structures are probably isotypic: one space group, as many atoms."""
    first, second = pairs.T
    count = contents.amounts.sum(axis=1)
    alike = np.abs(count[first] - count[second]) <= _SAME_COUNT * np.maximum(count[first], count[second])
    both = contents.real[first] & contents.real[second]
    return both & alike & (contents.number[first] == contents.number[second])


def without_duplicates(contents: Contents, preference: Sequence[float]) -> Int[np.ndarray, "kept"]:
    """Return the rows that stay when of each crystal published several times the most preferred is kept.

    A duplicate has the same family, a reduced cell within 5% and a composition that differs by at most one atom.
    """
    pairs = near_pairs(contents)
    pairs = pairs[same_composition(contents, pairs)]
    neighbours: dict[int, list[int]] = {}
    for one, other in pairs.tolist():
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    kept = np.zeros(len(contents.number), bool)
    for row in np.argsort(-np.asarray(preference), kind="stable").tolist():
        kept[row] = not any(kept[other] for other in neighbours.get(row, ()))
    return np.flatnonzero(kept)


def clusters(contents: Contents) -> Int[np.ndarray, "crystal"]:
    """Number the groups of near-duplicates, which must be on one side of a split.

    Two crystals are near-duplicates where they would be duplicates, or both are real and probably isotypic. Chains of
    near-duplicates are one group.
    """
    pairs = near_pairs(contents)
    pairs = pairs[same_composition(contents, pairs) | same_type(contents, pairs)]
    count = len(contents.number)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]
