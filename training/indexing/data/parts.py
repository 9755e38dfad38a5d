"""The parts that a set of patterns is made of: each a file that depends on its seed and nothing else.

A part is some real structures, or some synthetic crystals of one lattice. Parts are made in any order, by any number of
processes; one that is there is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli
from app.indexing.problem import BRAVAIS
from training.indexing.data.amcsd import read_structures
from training.indexing.data.cells import Distributions
from training.indexing.data.crystals import KINDS, draw_crystal
from training.indexing.data.pattern_set import N_LINES, write_arrays
from training.indexing.data.peak_lists import PeakLists, is_of_smaller_cell, peak_lists
from training.indexing.data.quality import entry_of

MOST_ELEMENTS = 24
"""Places for elements in a part's file."""
FEWEST_LINES = 4
"""Crystals that show fewer lines are left out: nothing can be indexed."""
DISTRIBUTIONS_FILE = "distributions.json"
REAL = "real"
_KIND_NAMES = (*KINDS, REAL)
COLUMNS = (
    *("bravais", "number", "cell", "niggli", "setting", "real", "identifier", "kind"),
    *("q2_all", "hkl_all", "q2", "hkl", "intensity", "elements", "amounts"),
)
_TYPES = ("i1", "i2", "f8", "f8", "U16", "?", "i4", "i1", "f4", "i1", "f4", "i1", "f4", "i2", "f4")
_SHAPES: tuple[tuple[int, ...], ...] = (
    *((), (), (6,), (6,), (), (), (), ()),
    *((N_LINES,), (N_LINES, 3), (N_LINES,), (N_LINES, 3), (N_LINES,), (MOST_ELEMENTS,), (MOST_ELEMENTS,)),
)


@dataclass(frozen=True)
class Part:
    """What one part holds.

    Attributes:
        source: a Bravais lattice, or `REAL`.
        index: of the part.
        count: crystals in it.
        seed: of the whole set.
        ids: of the real structures.
    """

    source: str
    index: int
    count: int
    seed: int
    ids: tuple[int, ...] = ()

    @property
    def file_name(self) -> str:
        return f"{self.source}-{self.index:05d}.npz"


def make_part(part: Part, folder: Path, database: Path) -> int:
    """Make the file of a part, unless it is there; gives the number of crystals in it."""
    path = folder / "parts" / part.file_name
    if not path.is_file():
        rows = _real_rows(part, database) if part.source == REAL else _synthetic_rows(part, folder)
        write_arrays(path, _columns(rows))
    with np.load(path) as arrays:
        return len(arrays["bravais"])


def read_parts(folder: Path, parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """Read the columns of several parts, one behind the other."""
    found = []
    for part in parts:
        with np.load(folder / "parts" / part.file_name) as arrays:
            found.append({name: arrays[name] for name in COLUMNS})
    return {name: np.concatenate([one[name] for one in found]) for name in COLUMNS}


def _real_rows(part: Part, database: Path) -> list[dict[str, Any]]:
    rows = []
    for structure in read_structures(database, ids=part.ids):
        entry = entry_of(structure)
        assert entry.lattice is not None  # noqa: S101
        assert entry.atoms is not None  # noqa: S101
        lattice = entry.lattice
        lists = peak_lists(lattice.bravais, lattice.setting, lattice.cell, entry.atoms)
        common = {"real": True, "identifier": structure.amcsd_id, "kind": _KIND_NAMES.index(REAL)}
        described = _described(
            lattice.bravais, lattice.setting.symbol, lattice.setting.number, lattice.cell, lattice.niggli
        )
        rows.append({**common, **described, **_lists(lists), **_contents(entry.atoms.elements, entry.amounts)})
    return [row for row in rows if np.isfinite(row["q2"]).sum() >= FEWEST_LINES]


def _synthetic_rows(part: Part, folder: Path) -> list[dict[str, Any]]:
    distributions = Distributions.from_json(json.loads((folder / DISTRIBUTIONS_FILE).read_text()))
    rng = np.random.default_rng(np.random.SeedSequence([part.seed, BRAVAIS.index(part.source), part.index]))
    centring, rows = LATTICES[part.source].centring.symbol, []
    while len(rows) < part.count:
        crystal = draw_crystal(part.source, distributions, rng)
        lists = peak_lists(part.source, crystal.setting, crystal.cell, crystal.atoms)
        if len(lists.q2) < FEWEST_LINES or is_of_smaller_cell(part.source, crystal.atoms.operations, lists.hkl):
            continue
        reduced = niggli(UnitCell(*map(float, crystal.cell)), centring).constants
        identifier = part.index * part.count + len(rows)
        common = {"real": False, "identifier": identifier, "kind": _KIND_NAMES.index(crystal.kind)}
        described = _described(
            part.source, crystal.setting.symbol, crystal.setting.number, crystal.cell, np.array(reduced)
        )
        rows.append({**common, **described, **_lists(lists), **_contents(crystal.atoms.elements, crystal.amounts)})
    return rows


def _described(bravais: str, symbol: str, number: int, cell: np.ndarray, reduced: np.ndarray) -> dict[str, Any]:
    return {
        "bravais": BRAVAIS.index(bravais),
        "setting": symbol,
        "number": number,
        "cell": cell,
        "niggli": reduced,
    }


def _lists(lists: PeakLists) -> dict[str, Any]:
    return {
        "q2_all": _padded(lists.q2_all, np.nan),
        "hkl_all": _padded(lists.hkl_all, 0),
        "q2": _padded(lists.q2, np.nan),
        "hkl": _padded(lists.hkl, 0),
        "intensity": _padded(lists.intensity, 0),
    }


def _padded(values: np.ndarray, fill: float) -> np.ndarray:
    full = np.full((N_LINES, *values.shape[1:]), fill, dtype=values.dtype)
    full[: len(values)] = values[:N_LINES]
    return full


def _contents(elements: Sequence[str], amounts: np.ndarray) -> dict[str, Any]:
    """Atomic numbers and amounts, hydrogen aside; the scarcest are left out where there are too many."""
    number = np.array([gemmi.Element(element).atomic_number for element in elements])
    chosen = np.argsort(-amounts, kind="stable")
    chosen = chosen[number[chosen] > 1][:MOST_ELEMENTS]
    numbers, values = np.zeros(MOST_ELEMENTS), np.zeros(MOST_ELEMENTS)
    numbers[: len(chosen)], values[: len(chosen)] = number[chosen], amounts[chosen]
    return {"elements": numbers, "amounts": values}


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {
        name: np.array([row[name] for row in rows], dtype=kind).reshape(-1, *shape)
        for name, kind, shape in zip(COLUMNS, _TYPES, _SHAPES, strict=True)
    }


def kind_names() -> tuple[str, ...]:
    """What the numbers of the column ``kind`` mean."""
    return _KIND_NAMES
