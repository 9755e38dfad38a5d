"""Which structures are good enough to simulate, and the cases made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import gemmi
import numpy as np

from training.indexing.data.amcsd import Structure, read_structures
from training.indexing.data.lattices import Lattice, lattice_of
from training.indexing.data.powder import LineOptions, line_list

_BRAVAIS = ("cF", "cI", "cP", "hR", "hP", "tI", "tP", "oF", "oI", "oC", "oP", "mC", "mP", "aP")
_VOLUME_REL = 0.01
_NOT_SEEN = {"H", "D", "X"}


@dataclass(frozen=True)
class CaseOptions:
    """Which cases to make.

    Attributes:
        per_lattice: cases for each of the 14 Bravais lattices, as far as the structures reach.
        seed: of the choice and of the noise.
        sigma_min_deg, sigma_max_deg: each case draws the standard deviation of its 2theta noise between these.
        min_lines: structures that give fewer lines are passed over.
        same_cell_rel: a structure is a near-duplicate when its Bravais lattice is that of a case already taken and each
            constant of its Niggli cell agrees within this share.
        lines: how the pattern becomes a list of lines.
    """

    per_lattice: int = 20
    seed: int = 1
    sigma_min_deg: float = 0.01
    sigma_max_deg: float = 0.02
    min_lines: int = 10
    same_cell_rel: float = 0.03
    lines: LineOptions = field(default_factory=LineOptions)


def sound(structure: Structure) -> bool:
    """Say whether the structure is complete and consistent enough for its intensities to mean something."""
    group = structure.space_group
    if group is None or not structure.cell.is_compatible_with_spacegroup(group, 0.01):
        return False
    published = structure.volume_published_ang3
    if published is not None and abs(structure.cell.volume / published - 1.0) > _VOLUME_REL:
        return False
    return sites_sound(structure) and elements_agree(structure)


def sites_sound(structure: Structure) -> bool:
    """Say whether every site has coordinates, a known element and an occupancy up to 1."""
    coordinates = [value for site in structure.sites for value in site.fract]
    return (
        all(np.isfinite(value) for value in coordinates)
        and all(site.element != "X" for site in structure.sites)
        and all(0.0 < site.occupancy <= 1.0 for site in structure.sites)
    )


def elements_agree(structure: Structure) -> bool:
    """Hold the elements of the sites against the published formula; light hydrogen may be missing from the sites."""
    in_formula = set(re.findall(r"[A-Z][a-z]?", structure.formula)) - _NOT_SEEN
    in_sites = {site.element for site in structure.sites} - _NOT_SEEN
    return bool(in_sites) and (not in_formula or in_sites == in_formula)


def make_cases(
    database: Path, options: CaseOptions, *, reserved: frozenset[int] = frozenset(), taken: Iterable[dict] = ()
) -> list[dict]:
    """Return the cases, lattice by lattice, in the keys of the published evaluation sets.

    Args:
        database: amcsd_cif1.db.
        reserved: ids that no case may come from.
        taken: cases of earlier calls; neither they nor near-duplicates of them are made again.
    """
    rng = np.random.default_rng(options.seed)
    usable = _by_lattice(read_structures(database), reserved)
    before = [(case["bravais"], case["niggli"]) for case in taken]
    return [
        case
        for bravais in _BRAVAIS
        for case in _cases_of(usable.get(bravais, []), options, rng, [cell for name, cell in before if name == bravais])
    ]


def _by_lattice(
    structures: Iterable[Structure], reserved: frozenset[int]
) -> dict[str, list[tuple[Structure, Lattice]]]:
    found: dict[str, list[tuple[Structure, Lattice]]] = {}
    for structure in structures:
        if structure.amcsd_id in reserved or not sound(structure):
            continue
        assert structure.space_group is not None  # noqa: S101
        lattice = lattice_of(structure.cell, structure.space_group)
        if lattice is not None:
            found.setdefault(lattice.bravais, []).append((structure, lattice))
    return found


def _cases_of(
    usable: list[tuple[Structure, Lattice]], options: CaseOptions, rng: np.random.Generator, seen: list
) -> Iterator[dict]:
    cells, made = [np.array(cell) for cell in seen], 0
    for index in rng.permutation(len(usable)):
        if made == options.per_lattice:
            return
        structure, lattice = usable[index]
        niggli = np.array(lattice.niggli)
        if any(np.all(np.abs(niggli / cell - 1.0) < options.same_cell_rel) for cell in cells):
            continue
        case = _case(structure, lattice, options, rng)
        if case is not None:
            cells.append(niggli)
            made += 1
            yield case


def _case(structure: Structure, lattice: Lattice, options: CaseOptions, rng: np.random.Generator) -> dict | None:
    sigma = float(rng.uniform(options.sigma_min_deg, options.sigma_max_deg))
    lines = line_list(structure, replace(options.lines, sigma_deg=sigma), rng)
    if lines.two_theta_deg.size < options.min_lines:
        return None
    wavelength = options.lines.wavelength_ang
    d = wavelength / (2.0 * np.sin(np.radians(lines.two_theta_deg / 2.0)))
    group: gemmi.SpaceGroup = structure.space_group  # pyright: ignore[reportAssignmentType]
    return {
        "id": f"{lattice.bravais}-{structure.amcsd_id:05d}",
        "name": structure.name,
        "formula": structure.formula,
        "amcsd_id": structure.amcsd_id,
        "spacegroup": group.xhm(),
        "bravais": lattice.bravais,
        "centring": lattice.bravais[1],
        "cell": _rounded(lattice.cell, 5),
        "volume_primitive": round(lattice.volume_primitive_ang3, 3),
        "niggli": _rounded(lattice.niggli, 5),
        "cell_published": list(structure.cell.parameters),
        "centring_published": str(group.centring_type()),
        "wavelength": wavelength,
        "sigma_2theta": round(sigma, 5),
        "two_theta": _rounded(lines.two_theta_deg, 5),
        "d": _rounded(d, 6),
        "intensity": _rounded(lines.intensity, 3),
    }


def _rounded(values: Iterable[float], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
