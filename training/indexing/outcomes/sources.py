"""Whose pattern is indexed: a published structure, a random molecular crystal, or a case of an evaluation set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from app.crystallography.bragg import two_theta_from_q2
from app.crystallography.lattice import LATTICES
from app.crystallography.metric import cell_from_x
from app.crystallography.reduction import niggli
from training.indexing.data.amcsd import Structure, read_structures
from training.indexing.data.lattice_patterns import PatternOptions, draw_patterns
from training.indexing.data.lattices import lattice_of
from training.indexing.data.powder import LineOptions, Lines, lorentz_polarisation, merge, reflections
from training.indexing.data.structures import sound
from training.indexing.outcomes.conditions import Conditions

SAME_CELL_REL: Final = 0.03
"""Structures of one Bravais lattice whose Niggli constants agree within this share are kept on one side of a split."""
ENOUGH_LINES: Final = 110
"""Lines of a pattern that are worked out, weak ones included."""
SHORTEST_D_ANG: Final = 0.7
SYNTHETIC: Final[Mapping[str, float]] = {"aP": 0.35, "mP": 0.35, "mC": 0.1, "oP": 0.2}
"""Lattices of the random crystals: those of molecular crystals, which the database of minerals lacks."""
_SYNTHETIC_VOLUMES: Final = (900.0, 0.7, 100.0, 6000.0)


@dataclass(frozen=True)
class Known:
    """A structure that patterns can be made of.

    Attributes:
        amcsd_id: in the database.
        group: structures with about the same lattice share it.
        bravais: of its space group.
        niggli: true cell, Angstrom and degrees.
        volume_ang3: of the primitive cell.
    """

    amcsd_id: int
    group: int
    bravais: str
    niggli: tuple[float, ...]
    volume_ang3: float


@dataclass(frozen=True)
class Truth:
    """What a list of lines comes from; ``group`` is for splits."""

    identifier: str
    group: str
    bravais: str
    niggli: tuple[float, ...]


# --- published structures ---------------------------------------------------------------------------------------------


def make_catalogue(database: Path, reserved: frozenset[int]) -> list[Known]:
    """List the structures that are sound and not reserved, grouped by lattice.

    Raises:
        InvalidInput: the database is not there.
    """
    rows = []
    for structure in read_structures(database):
        if structure.amcsd_id in reserved or not sound(structure) or structure.space_group is None:
            continue
        lattice = lattice_of(structure.cell, structure.space_group)
        if lattice is not None:
            cell = tuple(round(value, 5) for value in lattice.niggli)
            rows.append(Known(structure.amcsd_id, 0, lattice.bravais, cell, lattice.volume_primitive_ang3))
    groups = grouped([row.bravais for row in rows], np.array([row.niggli for row in rows]))
    return [replace(row, group=int(group)) for row, group in zip(rows, groups, strict=True)]


def grouped(bravais: Sequence[str], cells: Float[np.ndarray, "structure 6"]) -> np.ndarray:
    """Give each structure the number of its group: connected by cells that agree within `SAME_CELL_REL`."""
    parent = np.arange(len(bravais))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    names = np.array(bravais)
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        members = members[np.argsort(cells[members, 0])]
        own = cells[members]
        ends = np.searchsorted(own[:, 0], own[:, 0] * (1.0 + SAME_CELL_REL), side="right")
        for i, end in enumerate(ends):
            near = np.all(np.abs(own[i + 1 : end] / own[i] - 1.0) < SAME_CELL_REL, axis=1)
            for j in np.flatnonzero(near) + i + 1:
                parent[root(members[j])] = root(members[i])
    return np.array([root(i) for i in range(len(parent))])


def write_catalogue(path: Path, catalogue: Iterable[Known]) -> None:
    """Write the list as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(known) for known in catalogue]))


def read_catalogue(path: Path) -> list[Known]:
    """Read what `write_catalogue` wrote."""
    return [Known(**{**row, "niggli": tuple(row["niggli"])}) for row in json.loads(path.read_text())]


Shelves = Mapping[str, Sequence[Sequence[Known]]]
"""Structures by Bravais lattice and group."""


def arranged(catalogue: Iterable[Known]) -> Shelves:
    """Put the structures in order for `choose`."""
    found: dict[str, dict[int, list[Known]]] = {}
    for known in catalogue:
        found.setdefault(known.bravais, {}).setdefault(known.group, []).append(known)
    return {name: [found[name][group] for group in sorted(found[name])] for name in sorted(found)}


def choose(shelves: Shelves, rng: np.random.Generator) -> Known:
    """Draw a structure: half of the time all lattices are alike, half they come as often as their groups.

    Every group counts once, however many structures of a mineral were published.
    """
    count = np.array([len(groups) for groups in shelves.values()], dtype=float)
    odds = np.full(len(count), 1.0 / len(count)) if rng.random() < 0.5 else count / count.sum()
    groups = shelves[str(rng.choice(list(shelves), p=odds))]
    members = groups[int(rng.integers(len(groups)))]
    return members[int(rng.integers(len(members)))]


def lines_of(structure: Structure, conditions: Conditions) -> Lines:
    """Give the lines of a structure as the radiation shows them, ascending, down to the weakest that is seen."""
    options = LineOptions(
        wavelength_ang=conditions.wavelength_ang,
        minimum_percent=conditions.weakest_percent,
        merge_deg=conditions.resolution_deg,
    )
    d, strength = reflections(structure, d_min_ang=_least_d(structure, conditions))
    theta = np.arcsin(np.clip(conditions.wavelength_ang / (2.0 * d), 0.0, 0.9999))
    return merge(Lines(np.degrees(2.0 * theta), strength * lorentz_polarisation(theta)), options)


def _least_d(structure: Structure, conditions: Conditions) -> float:
    """The spacing down to which there are enough lines, or the end of the pattern at 2theta = 150 deg."""
    group = structure.space_group
    assert group is not None  # noqa: S101
    operations = group.operations()
    primitive = structure.cell.volume / len(operations.cen_ops)
    order = len(operations.derive_symmorphic().sym_ops) * (1 if operations.is_centrosymmetric() else 2)
    enough = (4.0 / 3.0 * np.pi * primitive / (order * ENOUGH_LINES)) ** (1.0 / 3.0)
    return max(enough, SHORTEST_D_ANG, conditions.wavelength_ang / (2.0 * np.sin(np.radians(75.0))))


def truth_of(known: Known) -> Truth:
    """Give what an answer on this structure is held against."""
    return Truth(f"amcsd-{known.amcsd_id}", f"amcsd-{known.group}", known.bravais, known.niggli)


# --- random crystals --------------------------------------------------------------------------------------------------


def random_crystal(name: str, conditions: Conditions, rng: np.random.Generator) -> tuple[Truth, Lines]:
    """Draw a molecular crystal and its lines; their intensities are not known."""
    bravais = str(rng.choice(list(SYNTHETIC), p=list(SYNTHETIC.values())))
    options = PatternOptions(
        n_lines=60,
        wavelength_ang=conditions.wavelength_ang,
        two_theta_min_deg=(2.0 * conditions.scale, 6.0 * conditions.scale),
        merge_deg=(0.8 * conditions.resolution_deg, 1.2 * conditions.resolution_deg),
        log_weakest=(np.log10(conditions.weakest_percent) - 2.0,) * 2,
        foreign=0.0,
        volume_ang3=_SYNTHETIC_VOLUMES,
    )
    pattern = draw_patterns(bravais, 1, rng, options)
    lattice, q2 = LATTICES[bravais], pattern.q2_inv_ang2[0]
    reduced = niggli(cell_from_x(lattice, pattern.x[0]), lattice.centring.symbol)
    two_theta = two_theta_from_q2(q2_inv_ang2=np.sort(q2[np.isfinite(q2)]), wavelength_ang=conditions.wavelength_ang)
    return Truth(name, name, bravais, reduced.constants), Lines(two_theta, np.full(two_theta.size, np.nan))


# --- evaluation sets --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvaluationCase:
    """One pattern of an evaluation set as it was published, with its wavelength."""

    truth: Truth
    wavelength_ang: float
    lines: Lines


def read_evaluation(path: Path) -> list[EvaluationCase]:
    """Read the cases of a JSON file in the keys of `training.indexing.data.structures.make_cases`."""
    return [_evaluation_case(entry) for entry in json.loads(path.read_text())]


def _evaluation_case(entry: Mapping[str, Any]) -> EvaluationCase:
    two_theta = np.array(entry["two_theta"], dtype=float)
    intensity = np.array(entry.get("intensity") or np.full(two_theta.size, np.nan), dtype=float)
    order = np.argsort(two_theta, kind="stable")
    cell = tuple(float(value) for value in entry.get("niggli") or entry["niggli_cell"])
    truth = Truth(entry["id"], entry.get("material_group") or entry["id"], entry["bravais"], cell)
    return EvaluationCase(truth, float(entry["wavelength"]), Lines(two_theta[order], intensity[order]))
