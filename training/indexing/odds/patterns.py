"""Patterns of published structures under the conditions that a search has to stand, as the solver takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from app.crystallography.cell import UnitCell
from app.crystallography.reduction import same_lattice
from app.indexing.problem import BRAVAIS, PeakList
from training.indexing.data.pattern_set import read_patterns
from training.indexing.odds.data import N_DRAWN, WAVELENGTH_ANG, Disturbance, disturbed

_USUAL = {"lost": (0.0, 0.0), "foreign": (1.0,), "sigma_deg": (0.01, 0.02), "zero_sigma_deg": 0.0, "short": 0.0}
CONDITIONS: Mapping[str, Disturbance] = MappingProxyType(
    {
        "clean": Disturbance(**_USUAL),
        "noisy": Disturbance(**{**_USUAL, "sigma_deg": (0.03, 0.03)}),
        "2 foreign": Disturbance(**{**_USUAL, "foreign": (0.0, 0.0, 1.0)}),
        "5 foreign": Disturbance(**{**_USUAL, "foreign": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)}),
        "shift 0.05": Disturbance(**_USUAL, zero_deg=0.05),
        "shift 0.1": Disturbance(**_USUAL, zero_deg=0.1),
        "lost": Disturbance(**{**_USUAL, "lost": (0.1, 0.2)}),
    }
)
_MOST_ALIKE = 0.03
_FEWEST_LINES = 10


@dataclass(frozen=True)
class Known:
    """A pattern whose cell is known."""

    identifier: int
    bravais: str
    niggli: UnitCell
    condition: str
    peaks: PeakList

    def is_cell(self, niggli: UnitCell) -> bool:
        """Tell whether a reduced cell is the true one."""
        return same_lattice(niggli, self.niggli)


def known_patterns(
    folder: Path, per_lattice: int, *, validation: bool, seed: int, every_condition: bool = False
) -> list[Known]:
    """Draw published structures, as many of each lattice; near-duplicates are passed over.

    Args:
        folder: made by `python -m training.indexing data`.
        per_lattice: structures, as far as there are so many.
        validation: of the part that nothing learns from, or of the other.
        seed: of the choice and of what is done to the lines.
        every_condition: each structure under all conditions, else under one, in turn.
    """
    patterns = read_patterns(folder, real=True, validation=validation)
    patterns = patterns.take(np.isfinite(patterns.q2).sum(axis=1) >= _FEWEST_LINES)
    rng = np.random.default_rng([seed, validation])
    found: list[Known] = []
    for index, bravais in enumerate(BRAVAIS):
        rows = different(np.flatnonzero(patterns.bravais == index), patterns.niggli, per_lattice, rng)
        for i, row in enumerate(rows):
            chosen = CONDITIONS if every_condition else [list(CONDITIONS)[(i + index) % len(CONDITIONS)]]
            for name in chosen:
                q2, _ = disturbed(patterns.q2[row : row + 1, :N_DRAWN].astype(float), CONDITIONS[name], rng)
                peaks = PeakList(q2[0][np.isfinite(q2[0])], wavelength_ang=WAVELENGTH_ANG)
                cell = UnitCell(*(float(value) for value in patterns.niggli[row]))
                found.append(Known(int(patterns.identifier[row]), bravais, cell, name, peaks))
    return found


def different(rows: np.ndarray, cells: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Choose rows at random whose cells are no near-duplicates of each other."""
    kept: list[int] = []
    for row in rng.permutation(rows):
        if len(kept) == count:
            break
        if not any(np.all(np.abs(cells[row] / cells[other] - 1.0) < _MOST_ALIKE) for other in kept):
            kept.append(int(row))
    return kept
