"""A set of patterns made of a small database: whole, repeatable, split without leaks, and described."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from typer.testing import CliRunner

from app.crystallography.lattice import LATTICES
from app.errors import InvalidInput
from app.indexing.problem import BRAVAIS
from tests.training.indexing.data.test_kinematic import ALL
from tests.training.indexing.data.test_structures import _database
from training.indexing.__main__ import cli
from training.indexing.data.amcsd import Structure
from training.indexing.data.build import BuildArgs, build
from training.indexing.data.card import write_card
from training.indexing.data.parts import Part, read_parts
from training.indexing.data.pattern_set import PatternSet, group_names, read_patterns

RESERVED = 3
ARGS = BuildArgs(per_lattice=12, seed=5, part=6)


def structures() -> list[Structure]:
    """Textbook structures, each in three sizes too different to be one crystal, and each published a second time."""
    found = []
    for structure in ALL:
        named = replace(structure, formula=" ".join(sorted({site.element for site in structure.sites})))
        for size in (1.0, 1.002, 1.09, 1.17):
            a, b, c, *angles = structure.cell.parameters
            found.append(replace(named, cell=gemmi.UnitCell(size * a, size * b, size * c, *angles)))
    return found


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _database(tmp_path_factory.mktemp("database"), structures())


Made = tuple[Path, PatternSet]


@pytest.fixture(scope="module")
def made(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("set")
    return folder, _build(database, folder)


def _build(database: Path, folder: Path, args: BuildArgs = ARGS, processes: int = 1) -> PatternSet:
    return build(database, folder, args, reserved=frozenset({RESERVED}), processes=processes, report=_silent)


def _silent(message: str) -> None:
    pass


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_lattice_has_its_crystals_and_duplicates_and_reserved_ones_are_out(made: Made) -> None:
    folder, patterns = made
    synthetic = patterns.take(~patterns.real)
    record = json.loads((folder / "record.json").read_text())
    assert len(synthetic) + record["synthetic between both sides"] == 14 * ARGS.per_lattice
    assert set(synthetic.bravais.tolist()) == set(range(14))
    real = set(patterns.identifier[patterns.real].tolist())
    assert RESERVED not in real
    assert all(not {4 * row + 1, 4 * row + 2} <= real for row in range(len(ALL)))
    rejected = record["rejected"]
    assert rejected["duplicate of another"] > 5
    assert rejected["reserved for evaluation"] == 1


def test_files_and_answer_are_the_same(made: Made) -> None:
    folder, patterns = made
    read = read_patterns(folder)
    np.testing.assert_array_equal(read.q2, patterns.q2)
    for index, bravais in enumerate(BRAVAIS):
        assert len(group_names(folder, bravais)) > patterns.group[patterns.bravais == index].max()


def test_lines_are_those_of_the_cell(made: Made) -> None:
    _, patterns = made
    for row in range(0, len(patterns), 7):
        lattice = LATTICES[BRAVAIS[patterns.bravais[row]]]
        cell = gemmi.UnitCell(*patterns.cell[row])
        for q2, hkl in ((patterns.q2_all[row], patterns.hkl_all[row]), (patterns.q2[row], patterns.hkl[row])):
            count = int(np.isfinite(q2).sum())
            expected = [cell.calculate_1_d2(index) for index in hkl[:count].tolist()]
            np.testing.assert_allclose(q2[:count], expected, rtol=2e-5)
            assert (np.diff(q2[:count]) > 0).all()
            assert not hkl[count:].any()
            assert lattice.allowed(hkl[:count].astype(int)).all()
        assert patterns.intensity[row].max() == pytest.approx(100.0)
        assert (np.modf(patterns.intensity[row])[0] > 0).any()


def test_a_set_that_was_stopped_goes_on_to_the_same_bytes(made: Made, database: Path, tmp_path: Path) -> None:
    """Parts that are there are kept, those that are not are made; a rest of a half-written file does no harm."""
    folder, _ = made
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    for path in [*sorted((again / "parts").iterdir())[7:], *again.glob("patterns-*")]:
        path.unlink()
    (again / "parts" / ".oP-00000.npz.1").write_bytes(b"half")
    _build(database, again)
    (again / "parts" / ".oP-00000.npz.1").unlink()
    cards = ("DATA.md", "acceptance.json")
    one, other = ({name: c for name, c in _bytes(path).items() if name not in cards} for path in (again, folder))
    assert one == other


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(made: Made, database: Path, tmp_path: Path) -> None:
    _build(database, tmp_path, processes=3)
    assert {name: _bytes(tmp_path)[name] for name in _bytes(made[0]) if name.startswith("patterns")} == {
        name: content for name, content in _bytes(made[0]).items() if name.startswith("patterns")
    }


def test_another_seed_in_the_same_folder_is_refused(made: Made, database: Path) -> None:
    with pytest.raises(InvalidInput, match="seed"):
        _build(database, made[0], replace(ARGS, seed=6))


def test_no_near_duplicates_are_on_both_sides(made: Made) -> None:
    """The plain double loop over one family, by composition and cell; and real structures of one type."""
    folder, patterns = made
    parts = [Part("real", 0, 0, 0), *(Part(b, k, 0, 0) for b in BRAVAIS for k in range(2))]
    real = sorted((folder / "parts").glob("real-*"))
    columns = read_parts(folder, [*(Part("real", k, 0, 0) for k in range(len(real))), *parts[1:]])
    keys = {
        (bool(r), int(b), int(i)): row
        for row, (r, b, i) in enumerate(zip(columns["real"], columns["bravais"], columns["identifier"], strict=True))
    }
    rows = [
        keys[bool(r), int(b), int(i)]
        for r, b, i in zip(patterns.real, patterns.bravais, patterns.identifier, strict=True)
    ]
    compositions = [
        {int(z): float(n) for z, n in zip(columns["elements"][row], columns["amounts"][row], strict=True) if z}
        for row in rows
    ]
    held, seen = np.flatnonzero(patterns.validation), np.flatnonzero(~patterns.validation)
    for one in held:
        near = seen[(np.abs(np.log(patterns.niggli[seen] / patterns.niggli[one])) < np.log(1.05)).all(axis=1)]
        for other in near:
            if BRAVAIS[patterns.bravais[one]][0] != BRAVAIS[patterns.bravais[other]][0]:
                continue
            change = [
                compositions[one].get(z, 0.0) - compositions[other].get(z, 0.0)
                for z in {*compositions[one], *compositions[other]}
            ]
            both = patterns.real[one] and patterns.real[other]
            fewer = min(sum(compositions[one].values()), sum(compositions[other].values()))
            different = max(sum(x for x in change if x > 0), -sum(x for x in change if x < 0))
            assert different > (1.0 if both else min(1.0, 0.05 * fewer))
            assert not both or patterns.setting[one] != patterns.setting[other]


def test_the_card_counts_what_is_there(made: Made) -> None:
    folder, patterns = made
    text = write_card(folder)
    assert (folder / "DATA.md").read_text() == text
    assert f"{len(patterns)} patterns with known cells" in text
    assert "duplicate of another" in text
    assert "| orthorhombic |" in text


def test_commands_make_and_augment_a_set(made: Made, database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(made[0], folder)
    reserved = tmp_path / "reserved.txt"
    reserved.write_text(f"{RESERVED}\n")
    common = ["--per-lattice", "12", "--seed", "5", "--part", "6", "--reserved", str(reserved)]
    run = CliRunner().invoke(cli, ["data", "--db", str(database), "--out", str(folder), *common])
    assert run.exit_code == 0, run.output
    assert f"{len(made[1])} patterns" in run.output
    real = made[1].take(made[1].real)
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps([{"niggli": (real.niggli[0] * [1.01, 0.99, 1.01, 1.005, 1, 1]).tolist()}]))
    without = ["--without", str(cases)]
    run = CliRunner().invoke(cli, ["data", "--db", str(database), "--out", str(folder), *common, *without])
    assert run.exit_code == 0, run.output
    left = read_patterns(folder, real=True)
    assert real.identifier[0] not in left.identifier
    assert 0 < len(left) < len(real)
    assert "lattice of a case of evaluation" in (folder / "DATA.md").read_text()
    out = tmp_path / "copies"
    run = CliRunner().invoke(cli, ["augment", "--in", str(folder), "--out", str(out), "--wanted", "4"])
    assert run.exit_code == 0, run.output
    copies = read_patterns(out)
    assert copies.real.all()
    assert set(copies.identifier.tolist()) <= set(made[1].identifier[made[1].real].tolist())
    assert len(copies) > 0
    run = CliRunner().invoke(cli, ["data", "--db", str(database), "--out", str(folder), "--seed", "6", "--part", "6"])
    assert run.exit_code == 1
    assert "another seed" in run.output
