"""Synthetic crystals, as many as are wanted: a space group, a cell, and atoms at plausible density.

Positions are drawn at random; a point that comes close to its own symmetry images moves onto the symmetry element
between them, which gives special positions their share without a table of them. Atoms keep a least distance. Molecules
are not built: their atoms are scattered over the cell, as intensities of a crystal with many atoms follow the same
statistics (A. J. C. Wilson, Acta Cryst. 2 (1949) 318) whatever the molecule. Hydrogen is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from training.indexing.data.cells import (
    MOLECULAR_VOLUME_ANG3,
    Distributions,
    broad_cell,
    mineral_cell,
    molecular_cell,
)
from training.indexing.data.kinematic import Atoms
from training.indexing.data.space_groups import (
    Operations,
    Setting,
    mineral_weight,
    molecular_weight,
    operations_of,
    setting_of,
    settings,
    turned_operations,
)

_MOST_TRIES = 4000
_PATIENCE = 40
"""Draws after which a cell that no group fills, or a group that fills no cell, is given up."""
_SNAPS = 4
"""Rounds in which points move onto symmetry elements."""
_SAME_ANG2 = 1e-6
"""Squared distance of two images that are one atom."""
_FULLER = 1.25
_LEAST_FILLED = 0.5
"""A crystal has between these shares of the atoms that its volume asks for."""
_MOST_ELEMENTS = 6

Palette = tuple[tuple[str, ...], Float[np.ndarray, "element"]]


@dataclass(frozen=True)
class Crystal:
    """One synthetic crystal in the conventional axes of its lattice.

    Attributes:
        bravais: Pearson symbol.
        kind: of `KINDS`.
        setting: of the space group.
        cell: Angstrom and degrees, shape (6,).
        atoms: its contents.
        amounts: atoms of each of ``atoms.elements`` in the primitive cell, shape (element,).
    """

    bravais: str
    kind: str
    setting: Setting
    cell: Float[np.ndarray, "6"]
    atoms: Atoms
    amounts: Float[np.ndarray, "element"]


@dataclass(frozen=True)
class Kind:
    """One kind of crystals.

    Attributes:
        share: of all crystals, over all lattices.
        weight: how often a space group occurs, by its number.
        cell: draws a cell.
        fixes: what is kept while the other is drawn again, where the atoms of a group do not go into a cell: the
            ``cell`` (small cells belong to groups with special positions) or the ``setting``.
        volume_per_atom: draws Angstrom^3 for each atom that is not hydrogen.
        palette: draws elements and how often each fills a site.
        least_ang: range of the least distance of two atoms.
        snap: range of the distance from which points move onto symmetry elements, in least distances.
        b_iso_ang2: median of B, and standard deviation of its logarithm.
    """

    share: float
    weight: Callable[[int], float]
    cell: Callable[[str, Setting, Distributions, np.random.Generator], Float[np.ndarray, "6"] | None]
    fixes: Literal["cell", "setting"]
    volume_per_atom: Callable[[Distributions, np.random.Generator], float]
    palette: Callable[[Distributions, np.random.Generator], Palette]
    least_ang: tuple[float, float]
    snap: tuple[float, float]
    b_iso_ang2: tuple[float, float]


def _mineral_volume(distributions: Distributions, rng: np.random.Generator) -> float:
    mean, spread = distributions.log_volume_per_atom
    return float(np.clip(np.exp(mean + spread * rng.standard_normal()), 5.0, 45.0))


def _molecular_volume(distributions: Distributions, rng: np.random.Generator) -> float:
    return MOLECULAR_VOLUME_ANG3


def _any_volume(distributions: Distributions, rng: np.random.Generator) -> float:
    return float(rng.uniform(8.0, 26.0))


def _mineral_palette(distributions: Distributions, rng: np.random.Generator) -> Palette:
    symbols = np.array(list(distributions.elements))
    shares = np.array(list(distributions.elements.values()))
    lengths = np.array(distributions.n_elements[:_MOST_ELEMENTS])
    count = 1 + int(rng.choice(len(lengths), p=lengths / lengths.sum()))
    chosen = rng.choice(len(symbols), size=min(count, len(symbols)), replace=False, p=shares / shares.sum())
    return tuple(symbols[chosen].tolist()), shares[chosen] / shares[chosen].sum()


_LIGHT = MappingProxyType({"C": 0.72, "N": 0.1, "O": 0.18})
_COMMON = ("S", "Cl", "F", "P", "Br", "Si", "I", "B")
_METALS = ("Cu", "Zn", "Co", "Fe", "Ni", "Mn", "Ru", "Pd", "Pt", "Rh", "Ir", "Mo", "Ag", "Cd", "Sn", "Re", "W", "Gd")
_WITH_COMMON, _WITH_METAL = 0.5, 0.5
"""Half of the molecular crystals on record are of metal complexes."""
_COMMON_SHARE, _METAL_SHARE = 0.05, 0.04


def _molecular_palette(distributions: Distributions, rng: np.random.Generator) -> Palette:
    shares = dict(_LIGHT)
    if rng.random() < _WITH_COMMON:
        shares[_COMMON[rng.integers(len(_COMMON))]] = _COMMON_SHARE
    if rng.random() < _WITH_METAL:
        shares[_METALS[rng.integers(len(_METALS))]] = _METAL_SHARE
    weights = np.array(list(shares.values()))
    return tuple(shares), weights / weights.sum()


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "mineral": Kind(
            share=0.45,
            weight=mineral_weight,
            cell=mineral_cell,
            fixes="cell",
            volume_per_atom=_mineral_volume,
            palette=_mineral_palette,
            least_ang=(1.55, 2.0),
            snap=(1.0, 2.2),
            b_iso_ang2=(0.7, 0.5),
        ),
        "molecular": Kind(
            share=0.45,
            weight=molecular_weight,
            cell=molecular_cell,
            fixes="setting",
            volume_per_atom=_molecular_volume,
            palette=_molecular_palette,
            least_ang=(1.25, 1.5),
            snap=(0.7, 1.0),
            b_iso_ang2=(3.5, 0.3),
        ),
        "broad": Kind(
            share=0.10,
            weight=lambda number: (mineral_weight(number) + molecular_weight(number)) / 2.0,
            cell=broad_cell,
            fixes="cell",
            volume_per_atom=_any_volume,
            palette=_mineral_palette,
            least_ang=(1.4, 2.2),
            snap=(1.0, 2.2),
            b_iso_ang2=(1.5, 0.5),
        ),
    }
)
"""Kinds of crystals."""


@cache
def kind_shares(bravais: str) -> tuple[float, ...]:
    """Return the share of each kind among the crystals of one lattice, by how its space groups are used."""
    numbers = {setting.number for setting in settings(bravais)}
    weights = np.array([kind.share * sum(kind.weight(number) for number in numbers) for kind in KINDS.values()])
    return tuple((weights / weights.sum()).tolist())


@cache
def setting_shares(bravais: str, kind: str) -> tuple[float, ...]:
    """Return the probability of each of `settings`; those of one group share its frequency."""
    numbers = [setting.number for setting in settings(bravais)]
    weights = np.array([KINDS[kind].weight(number) / numbers.count(number) for number in numbers])
    return tuple((weights / weights.sum()).tolist())


def draw_crystal(bravais: str, distributions: Distributions, rng: np.random.Generator) -> Crystal:
    """Draw one crystal of a Bravais lattice.

    Raises:
        RuntimeError: thousands of draws gave no cell that holds atoms.
    """
    name = list(KINDS)[rng.choice(len(KINDS), p=kind_shares(bravais))]
    kind, choices, shares = KINDS[name], settings(bravais), setting_shares(bravais, name)
    cell = setting = None
    for attempt in range(_MOST_TRIES):
        fresh = attempt % _PATIENCE == 0
        if setting is None or fresh or kind.fixes == "cell":
            setting = choices[rng.choice(len(choices), p=shares)]
        if cell is None or fresh or kind.fixes == "setting":
            cell = kind.cell(bravais, setting, distributions, rng)
        made = None if cell is None else _filled(bravais, name, setting, cell, distributions, rng)
        if made is not None:
            return made
    raise RuntimeError(f"no {name} crystal of {bravais} in {_MOST_TRIES} draws")


def _filled(
    bravais: str,
    name: str,
    setting: Setting,
    cell: Float[np.ndarray, "6"],
    distributions: Distributions,
    rng: np.random.Generator,
) -> Crystal | None:
    kind, centring = KINDS[name], LATTICES[bravais].centring
    volume = float(metric.volume_from_form(metric.form_from_constants(cell))) / centring.multiplicity
    wanted = volume / kind.volume_per_atom(distributions, rng)
    tensor = centring.primitive @ metric.tensor_from_constants(cell) @ centring.primitive.T
    primitive = _primitive_operations(bravais, setting.symbol)
    placed = place_atoms(primitive, tensor, wanted, rng.uniform(*kind.least_ang), kind.snap, rng)
    if placed is None:
        return None
    fract, multiplicity = placed
    elements, shares = kind.palette(distributions, rng)
    species = rng.choice(len(elements), size=len(fract), p=shares)
    used, species = np.unique(species, return_inverse=True)
    elements = tuple(elements[index] for index in used)
    median, spread = kind.b_iso_ang2
    b_iso = median * np.exp(spread * rng.standard_normal(len(elements)))
    atoms = Atoms(
        conventional_operations(bravais, setting.symbol),
        elements,
        species,
        fract @ centring.primitive,
        multiplicity / len(primitive.rotations),
        b_iso[species],
    )
    return Crystal(bravais, name, setting, cell, atoms, np.bincount(species, weights=multiplicity))


@cache
def conventional_operations(bravais: str, symbol: str) -> Operations:
    """Return the operations of a setting as arrays."""
    return operations_of(setting_of(bravais, symbol).operations)


def place_atoms(
    operations: Operations,
    tensor: Float[np.ndarray, "3 3"],
    wanted: float,
    least_ang: float,
    snap: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "atom 3"], Int[np.ndarray, "atom"]] | None:
    """Scatter atoms over a primitive cell.

    Args:
        operations: of the space group, in the axes of that cell.
        tensor: its metric, Angstrom^2.
        wanted: atoms in it.
        least_ang: no two atoms, images included, come closer.
        snap: range, in least distances, from which a point moves onto symmetry elements.
        rng: of all that is drawn.

    Returns:
        Positions of the asymmetric unit and the atoms of the cell that each stands for; None where the cell is not
        filled to between half and five quarters of what is wanted.
    """
    rotations, translations = operations.rotations.astype(float), operations.translations
    order = len(rotations)
    count = int(np.clip(4.0 * wanted / order, 24, 400))
    points = rng.random((count, 3))
    reach = (least_ang * rng.uniform(*snap, count)) ** 2
    for _ in range(_SNAPS):
        step = np.einsum("oij,pj->poi", rotations, points) + translations - points[:, None]
        step -= np.round(step)
        near = (np.einsum("poi,poi->po", step @ tensor, step) < reach[:, None]).astype(float)
        points = points + np.einsum("poi,po->pi", step, near) / near.sum(axis=1)[:, None]
    images = np.einsum("oij,pj->poi", rotations, points) + translations
    metric_of = _Metric.of(tensor, least_ang)
    square = metric_of.least_square(images - points[:, None])
    same = square < _SAME_ANG2
    multiplicity = order // same.sum(axis=1)
    alone = ~((square < least_ang**2) & ~same).any(axis=1) & (multiplicity * same.sum(axis=1) == order)
    chosen = _chosen(points, images, multiplicity, alone, wanted, least_ang, metric_of)
    if multiplicity[chosen].sum() < _LEAST_FILLED * wanted:
        return None
    return points[chosen], multiplicity[chosen]


def _chosen(
    points: Float[np.ndarray, "point 3"],
    images: Float[np.ndarray, "point operation 3"],
    multiplicity: Int[np.ndarray, "point"],
    alone: np.ndarray,
    wanted: float,
    least_ang: float,
    metric_of: _Metric,
) -> list[int]:
    """Take points in their order, as long as there is room for them and they keep their distance."""
    room, free, chosen = _FULLER * wanted, alone.copy(), []
    while True:
        free &= multiplicity <= room
        left = np.flatnonzero(free)
        if not len(left) or room <= (_FULLER - 1.0) * wanted:
            return chosen
        taken = int(left[0])
        chosen.append(taken)
        room -= multiplicity[taken]
        square = metric_of.least_square(images[taken] - points[left, None])
        free[left] = square.min(axis=1) >= least_ang**2
        free[taken] = False


@dataclass(frozen=True)
class _Metric:
    """Shortest distances between points of a lattice.

    Attributes:
        tensor: Angstrom^2.
        shifts: lattice vectors to be tried beside the nearest by coordinates, shape (shift, 3).
    """

    tensor: Float[np.ndarray, "3 3"]
    shifts: Float[np.ndarray, "shift 3"]

    @classmethod
    def of(cls, tensor: Float[np.ndarray, "3 3"], reach_ang: float) -> _Metric:
        """A vector shorter than half the least distance of lattice planes has no coordinate beyond a half."""
        widest = 1.0 / np.sqrt(np.diagonal(np.linalg.inv(tensor)))
        return cls(tensor, _NO_SHIFT if widest.min() > 2.0 * reach_ang else _SHIFTS)

    def least_square(self, step: np.ndarray) -> np.ndarray:
        """Return the squared length of the shortest of the vectors that differ from each by a lattice vector."""
        step = step - np.round(step)
        if len(self.shifts) > 1:
            step = step[..., None, :] + self.shifts
        square = np.einsum("...i,...i->...", step @ self.tensor, step)
        return square if len(self.shifts) == 1 else square.min(axis=-1)


_SHIFTS = np.stack(np.meshgrid(*[np.arange(-1.0, 2.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
_NO_SHIFT = np.zeros((1, 3))


@cache
def _primitive_operations(bravais: str, symbol: str) -> Operations:
    """The operations in the axes of the primitive cell."""
    operations = operations_of(setting_of(bravais, symbol).operations)
    return turned_operations(operations, LATTICES[bravais].centring.primitive, _NO_SHIFT)
