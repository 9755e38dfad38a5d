"""Cases with known cells: lists of lines from JSON files in the layout of `docs/training-indexing.md`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from app.crystallography.bragg import q2_from_two_theta
from app.indexing.problem import PeakList

# A triclinic lattice published in a centred setting is a triclinic lattice.
_SAME_LATTICE = {"aC": "aP", "aI": "aP", "mI": "mC", "mA": "mC", "oA": "oC", "oB": "oC"}


@dataclass(frozen=True)
class Case:
    """One pattern whose cell is known.

    Attributes:
        two_theta_deg: ascending, shape (peak,).
        intensity: shape (peak,); None where the list has none.
        niggli: Niggli-reduced true cell, Angstrom and degrees.
        zero_shift_deg: what the published refinement found; 0 where none.
        sigma_deg: standard deviation of the noise that a simulated list holds already; 0 for measured ones.
    """

    id: str
    bravais: str
    niggli: tuple[float, ...]
    wavelength_ang: float
    two_theta_deg: Float[np.ndarray, "peak"]
    intensity: Float[np.ndarray, "peak"] | None
    zero_shift_deg: float = 0.0
    sigma_deg: float = 0.0

    @property
    def peaks(self) -> PeakList:
        """The lines as a user without further knowledge would give them: positions, intensities, wavelength."""
        q2 = q2_from_two_theta(two_theta_deg=self.two_theta_deg, wavelength_ang=self.wavelength_ang)
        return PeakList(q2_inv_ang2=q2, intensity=self.intensity, wavelength_ang=self.wavelength_ang)


def read_cases(path: Path) -> list[Case]:
    """Return the cases of a JSON file, in its order."""
    return [_case(entry) for entry in json.loads(path.read_text())]


def chosen(path: Path, only: str = "", limit: int | None = None) -> list[Case]:
    """Return the first ``limit`` cases of a file whose ids match a regular expression.

    Raises:
        SystemExit: there are none.
    """
    cases = [case for case in read_cases(path) if re.search(only, case.id)][:limit]
    if not cases:
        raise SystemExit(f"{path.name} holds no case that matches {only!r}")
    return cases


def _case(entry: dict[str, Any]) -> Case:
    two_theta = np.array(entry["two_theta"], dtype=float)
    order = np.argsort(two_theta, kind="stable")
    intensity, bravais = entry.get("intensity"), str(entry["bravais"])
    return Case(
        id=entry["id"],
        bravais=_SAME_LATTICE.get(bravais, bravais),
        niggli=tuple(float(value) for value in entry.get("niggli") or entry["niggli_cell"]),
        wavelength_ang=float(entry["wavelength"]),
        two_theta_deg=two_theta[order],
        intensity=None if intensity is None else np.array(intensity, dtype=float)[order],
        zero_shift_deg=float(entry.get("zero_shift_deg") or 0.0),
        sigma_deg=float(entry.get("sigma_2theta") or 0.0),
    )
