"""The database reader, the checks and the choice of cases, on a small database in the published layout."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import InvalidInput
from tests.training.indexing.crystals import CORUNDUM, HALITE, SILICON
from training.indexing.data.amcsd import Structure, element_of, read_structures
from training.indexing.data.powder import LineOptions, line_list
from training.indexing.data.structures import CaseOptions, make_cases, sound

_LIGHT = CaseOptions(lines=LineOptions(two_theta_max_deg=150.0), min_lines=6)


@pytest.mark.parametrize(
    ("label", "element"),
    [("FeM1", "Fe"), ("Ow", "O"), ("Wat1", "O"), ("NiO2", "Ni"), ("CO1", "C"), ("D2", "D"), ("T1", "X"), ("SX", "S")],
)
def test_labels_name_their_elements(label: str, element: str) -> None:
    assert element_of(label) == element


def test_what_is_written_is_read(tmp_path: Path) -> None:
    read = list(read_structures(_database(tmp_path, [HALITE, CORUNDUM])))
    for made, original in zip(read, (HALITE, CORUNDUM), strict=True):
        assert original.space_group is not None
        assert made.space_group == original.space_group
        assert made.cell.parameters == pytest.approx(original.cell.parameters)
        np.testing.assert_allclose(
            line_list(made, LineOptions()).intensity, line_list(original, LineOptions()).intensity, rtol=1e-4
        )


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="larixite"):
        list(read_structures(tmp_path / "none.db"))
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(InvalidInput, match="larixite"):
        list(read_structures(tmp_path / "text.db"))


def test_incomplete_or_contradictory_structures_are_not_sound() -> None:
    assert sound(HALITE)
    unknown, full = HALITE.sites[0], HALITE.sites[1]
    assert not sound(replace(HALITE, space_group=None))
    assert not sound(replace(HALITE, volume_published_ang3=200.0))
    assert not sound(replace(HALITE, formula="K Cl"))
    assert not sound(replace(HALITE, sites=(replace(unknown, element="X"), full)))
    assert not sound(replace(HALITE, sites=(replace(full, occupancy=1.2),)))
    assert not sound(replace(HALITE, sites=(replace(full, fract=np.array([np.nan, 0, 0])),)))
    assert not sound(replace(CORUNDUM, space_group=HALITE.space_group))


def test_cases_state_the_lattice_and_repeat_with_the_seed(tmp_path: Path) -> None:
    path = _database(tmp_path, [HALITE, SILICON, CORUNDUM])
    cases = make_cases(path, _LIGHT)
    assert sorted(case["bravais"] for case in cases) == ["cF", "cF", "hR"]
    assert cases == make_cases(path, _LIGHT)
    corundum = cases[-1]
    assert corundum["niggli"][2] == pytest.approx(np.hypot(4.7592 / np.sqrt(3), 12.992 / 3), abs=1e-4)
    np.testing.assert_allclose(
        corundum["d"], 1.5406 / 2 / np.sin(np.radians(np.array(corundum["two_theta"]) / 2)), atol=1e-5
    )


def test_near_duplicates_reserved_and_taken_structures_are_left_out(tmp_path: Path) -> None:
    path = _database(tmp_path, [HALITE, HALITE, SILICON])
    assert len(make_cases(path, _LIGHT)) == 2
    assert make_cases(path, _LIGHT, reserved=frozenset({1, 2, 3})) == []
    assert make_cases(path, _LIGHT, taken=make_cases(path, _LIGHT)) == []


def _database(folder: Path, structures: list[Structure]) -> Path:
    path = folder / "structures.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE spacegroups (id INTEGER, hm_notation TEXT, symmetry_xyz TEXT);
        CREATE TABLE minerals (id INTEGER, name TEXT);
        CREATE TABLE cif (id INTEGER, mineral_id INTEGER, spacegroup_id INTEGER, formula TEXT, a TEXT, b TEXT, c TEXT,
            alpha TEXT, beta TEXT, gamma TEXT, cell_volume TEXT, atoms_sites TEXT, atoms_x TEXT, atoms_y TEXT,
            atoms_z TEXT, atoms_occupancy TEXT, atoms_u_iso TEXT);
        """
    )
    for number, structure in enumerate(structures, start=1):
        assert structure.space_group is not None
        triplets = json.dumps([op.triplet() for op in structure.space_group.operations()])
        connection.execute("INSERT INTO spacegroups VALUES (?, ?, ?)", (number, structure.space_group.hm, triplets))
        columns = [_packed([site.fract[axis] for site in structure.sites]) for axis in range(3)]
        row = [number, None, number, structure.formula, *(str(value) for value in structure.cell.parameters)]
        row += [str(structure.cell.volume), json.dumps([site.label for site in structure.sites]), *columns]
        row += ["0", _packed([site.u_iso_ang2 for site in structure.sites])]
        connection.execute(f"INSERT INTO cif VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
    connection.commit()
    connection.close()
    return path


def _packed(values: list) -> str:
    return b64encode(np.round(np.array(values, dtype=float) * 4e6).astype("<i4").tobytes()).decode()
