"""The whole package on the structures of the indexing cases: type, reduced cell, reference reflections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.crystallography import bragg, metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.lattice_symmetry import BravaisCandidate, bravais_of, promote
from app.crystallography.reduction import niggli, same_lattice
from app.crystallography.reflections import reference_reflections, reflections_within

CU_ANG = 1.5406


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> list[dict[str, Any]]:
    return json.loads((shared_data / "indexing" / "simulated.json").read_text())


def _conventional(case: dict[str, Any]) -> BravaisCandidate:
    return next(one for one in bravais_of(UnitCell(*case["niggli"])) if one.bravais == case["bravais"])


def test_the_reduced_cell_gives_the_bravais_lattice(cases: list[dict[str, Any]]) -> None:
    assert [promote(UnitCell(*case["niggli"])).bravais for case in cases] == [case["bravais"] for case in cases]


def test_the_conventional_cell_gives_the_reduced_one_back(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        found = _conventional(case)
        reduced = niggli(found.cell, LATTICES[found.bravais].centring.symbol)
        assert same_lattice(reduced, UnitCell(*case["niggli"]), length_tolerance=2e-3, angle_tolerance_deg=0.1)


def test_reference_reflections_hold_the_first_twenty_lines(cases: list[dict[str, Any]]) -> None:
    """What decides whether 100 and 500 reference reflections are enough."""
    for case in cases:
        found = _conventional(case)
        lattice = LATTICES[found.bravais]
        two_theta = np.sort(case["two_theta"])[:20]
        q2 = bragg.q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=CU_ANG)
        lines = reflections_within(lattice, metric.x_from_cell(lattice, found.cell), 1.02 * float(q2[-1]))
        nearest = np.abs(lines.q2_inv_ang2[:, None] - q2).argmin(axis=0)
        known = {tuple(row) for row in reference_reflections(found.bravais).design}
        assert all(tuple(row) in known for row in lattice.design(lines.hkl[nearest]).astype(float)), case["id"]
