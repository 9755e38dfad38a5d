"""Powder patterns with known cells, as arrays: what everything that learns to index is trained on and judged by.

A folder holds one ``patterns-<bravais>.npz`` for each Bravais lattice and ``groups.json``. `read_patterns` reads it;
`python -m training.indexing data` makes it (docs/training-indexing-data.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from app.errors import InvalidInput
from app.indexing.problem import BRAVAIS

N_LINES = 60
"""Places for lines in each list."""
GROUPS_FILE = "groups.json"


@dataclass(frozen=True)
class PatternSet:
    """Patterns side by side. Lines ascend in q^2; where a pattern has fewer, q^2 is NaN, hkl and intensity are 0.

    Cells and indices are in the axes of `app.crystallography.lattice.LATTICES`: a <= b <= c for oP, oI and oF,
    C-centred with a <= b for oC, unique axis b with the shortest a and c and obtuse beta for mP and mC (C-centred),
    hexagonal axes for hR, Niggli-reduced for aP. `training.indexing.data.conventions.sorted_by_length` gives the same
    patterns with the axes of oC, mP and mC in ascending order.

    Attributes:
        bravais: index into `app.indexing.problem.BRAVAIS`, int8, shape (pattern,).
        group: of reflection conditions within the lattice, int16, shape (pattern,); ``groups.json`` has their names.
        cell: conventional cell, Angstrom and degrees, shape (pattern, 6).
        niggli: reduced primitive cell, shape (pattern, 6).
        setting: extended Hermann-Mauguin symbol of the space group in these axes, shape (pattern,).
        real: a published structure, not a synthetic crystal, shape (pattern,).
        identifier: AMCSD's number of a real structure, a running number in its lattice of a synthetic one, int32.
        validation: not to be learnt from, shape (pattern,).
        q2_all: q^2 of the first lines that are not systematically absent, Angstrom^-2, float32, shape (pattern, 60).
        hkl_all: one reflection of each, int8, shape (pattern, 60, 3).
        q2: of the first lines that a measurement would show (`training.indexing.data.peak_lists`), as ``q2_all``.
        hkl: one reflection of each, int8, shape (pattern, 60, 3).
        intensity: of these lines in percent of the strongest of them, float32, shape (pattern, 60); 0 in augmented
            patterns, whose lines are drawn without regard to intensity.
    """

    bravais: Int[np.ndarray, "pattern"]
    group: Int[np.ndarray, "pattern"]
    cell: Float[np.ndarray, "pattern 6"]
    niggli: Float[np.ndarray, "pattern 6"]
    setting: Shaped[np.ndarray, "pattern"]
    real: Bool[np.ndarray, "pattern"]
    identifier: Int[np.ndarray, "pattern"]
    validation: Bool[np.ndarray, "pattern"]
    q2_all: Float[np.ndarray, "pattern 60"]
    hkl_all: Int[np.ndarray, "pattern 60 3"]
    q2: Float[np.ndarray, "pattern 60"]
    hkl: Int[np.ndarray, "pattern 60 3"]
    intensity: Float[np.ndarray, "pattern 60"]

    def __len__(self) -> int:
        return len(self.bravais)

    def take(self, rows: Int[np.ndarray, "row"] | Bool[np.ndarray, "pattern"]) -> PatternSet:
        """Give some of the patterns, by number or by mask."""
        return PatternSet(**{name: getattr(self, name)[rows] for name in NAMES})


NAMES = tuple(field.name for field in fields(PatternSet))
_TYPES = ("i1", "i2", "f8", "f8", "U16", "?", "i4", "?", "f4", "i1", "f4", "i1", "f4")
_SHAPES = ((), (), (6,), (6,), (), (), (), (), (N_LINES,), (N_LINES, 3), (N_LINES,), (N_LINES, 3), (N_LINES,))


def pattern_set(columns: dict[str, Any]) -> PatternSet:
    """Put columns (arrays, or lists of rows) together as patterns of the documented types and shapes."""
    return PatternSet(
        **{
            name: np.asarray(columns[name], dtype=kind).reshape(-1, *shape)
            for name, kind, shape in zip(NAMES, _TYPES, _SHAPES, strict=True)
        }
    )


def joined(sets: Sequence[PatternSet]) -> PatternSet:
    """Put several sets one behind the other; none make an empty one."""
    if not sets:
        return pattern_set({name: [] for name in NAMES})
    return PatternSet(**{name: np.concatenate([getattr(one, name) for one in sets]) for name in NAMES})


def read_patterns(
    folder: Path, *, bravais: str | None = None, validation: bool | None = None, real: bool | None = None
) -> PatternSet:
    """Read the patterns of a folder, lattice after lattice.

    Args:
        folder: made by `python -m training.indexing data` (or ``augment``).
        bravais: one lattice only.
        validation: only those of this side.
        real: only real structures, or only synthetic crystals.

    Raises:
        InvalidInput: the folder holds no patterns, or none of that lattice.
    """
    wanted = BRAVAIS if bravais is None else (bravais,)
    files = [path for path in (pattern_file(folder, one) for one in wanted) if path.is_file()]
    if not files:
        of_what = "patterns" if bravais is None else f"patterns of {bravais}"
        raise InvalidInput(f"no {of_what} here: make them with `python -m training.indexing data`")
    found = joined([_read(path) for path in files])
    keep = np.ones(len(found), bool)
    for column, value in ((found.validation, validation), (found.real, real)):
        if value is not None:
            keep &= column == value
    return found if keep.all() else found.take(keep)


def _read(path: Path) -> PatternSet:
    with np.load(path, allow_pickle=False) as arrays:
        return PatternSet(**{name: arrays[name] for name in NAMES})


def write_patterns(folder: Path, patterns: PatternSet) -> None:
    """Write the file of each lattice that occurs; the same patterns make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in np.unique(patterns.bravais):
        one = patterns.take(patterns.bravais == index)
        write_arrays(pattern_file(folder, BRAVAIS[index]), {name: getattr(one, name) for name in NAMES})


def pattern_file(folder: Path, bravais: str) -> Path:
    """Where the patterns of a lattice lie."""
    return folder / f"patterns-{bravais}.npz"


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
    partial.replace(path)


def group_names(folder: Path, bravais: str) -> list[str]:
    """Read the names of a lattice's groups, in the order of `PatternSet.group`."""
    return [group["name"] for group in json.loads((folder / GROUPS_FILE).read_text())[bravais]]
