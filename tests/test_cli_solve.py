"""`python -m app solve FILE` answers as the service does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.api.indexing_schema import SolveAnswer
from app.cli import cli
from app.errors import AppError, InvalidInput, NotFound
from app.indexing import job
from app.model_registry.store import ModelStore
from tests import indexing_fakes
from tests.indexing_learned import NAME, publish_probability
from tests.indexing_patterns import LAB6_A_ANG, WAVELENGTH_ANG, lab6_list, lab6_xy


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModelStore:
    """A fake solver, and a store of models that is empty until a test publishes one."""
    monkeypatch.setattr(job, "_solve", lambda: indexing_fakes.solve)
    monkeypatch.setenv("BEAMLINE_MODEL_STORE", str(tmp_path / "store"))
    return ModelStore(tmp_path / "store")


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_bytes(lab6_list() + b"\n45.5 3\n")
    return path


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["solve", *map(str, arguments)])


def run(*arguments: object) -> str:
    result = invoked(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def failure(*arguments: object) -> AppError:
    error = invoked(*arguments).exception
    assert isinstance(error, AppError)
    return error


def test_a_table_is_the_default(lines: Path) -> None:
    text = run(lines, "--wavelength", WAVELENGTH_ANG)
    rows = text.splitlines()
    assert rows[0] == "lines.txt: 14 lines, wavelength 1.5406 Angstrom"
    assert "a          b" in rows[2]
    first = rows[3].split()
    assert first[:2] == ["1", "cP"]
    assert float(first[2]) == pytest.approx(LAB6_A_ANG, abs=1e-3)
    assert first[-2:] == ["13/14", "90.0%"]
    assert "the first cell leaves unindexed: d = 1.9919 Angstrom" in text
    assert "one cell is beyond doubt" in text
    assert "warning: the solver's own warning" in text


def test_json_is_the_answer_of_the_service(lines: Path) -> None:
    text = run(lines, "--wavelength", WAVELENGTH_ANG, "--json", "--seed", "4", "--lattices", "tP,cP")
    found = SolveAnswer.model_validate_json(text)
    assert found.name == "lines.txt"
    assert found.seed == 4
    assert found.searches[0].lattice == "cP"


def test_a_pattern_is_searched_first(tmp_path: Path) -> None:
    path = tmp_path / "scan.xy"
    path.write_bytes(lab6_xy())
    found = json.loads(run(path, "--wavelength", WAVELENGTH_ANG, "--json"))
    assert found["solutions"][0]["n_indexed"] == 13


def test_lines_may_be_over_d(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_text("\n".join(str(4.0 / n**0.5) for n in range(1, 8)))
    assert run(path, "--axis", "d_ang").startswith("d.txt: 7 lines, no wavelength")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "give wavelength_ang"),
        (["--wavelength", 1.54, "--lattices", "cQ"], "expected some of cF"),
        (["--wavelength", 1.54, "--max-seconds", 0], "max_seconds"),
        (["--wavelength", 1.54, "--json", "--csv"], "--json and --csv"),
        (["--wavelength", 1.54, "--plot", "cell.bmp"], ".png or .svg"),
        (["--wavelength", 1.54, "--content", "pattern"], "at least 50"),
    ],
)
def test_an_error_is_one_that_can_be_told(lines: Path, arguments: list[object], hint: str) -> None:
    error = failure(lines, *arguments)
    assert isinstance(error, InvalidInput)
    assert hint in error.message


def test_a_file_that_is_not_there() -> None:
    assert isinstance(failure("nowhere.xy"), NotFound)


def test_the_help_shows_the_units() -> None:
    assert "Deadline [s]" in run("--help")


def test_csv_and_cif_are_printed(lines: Path) -> None:
    assert run(lines, "--wavelength", WAVELENGTH_ANG, "--csv").splitlines()[1].startswith("1,cP,4.15")
    assert run(lines, "--wavelength", WAVELENGTH_ANG, "--cif").startswith("data_lines.txt_1_cP")


@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_ending_of_the_picture_chooses_its_format(lines: Path, ending: str, begin: bytes) -> None:
    picture = lines.with_suffix(f".{ending}")
    assert "cP" in run(lines, "--wavelength", WAVELENGTH_ANG, "--plot", picture)
    assert picture.read_bytes().startswith(begin)


# --- learned parts ----------------------------------------------------------------------------------------------------


def models_of(*arguments: object) -> list[str]:
    found = SolveAnswer.model_validate_json(run(*arguments, "--axis", "two_theta_deg", "--wavelength", 1.54, "--json"))
    return [f"{one.name}:{one.version}" for one in found.models]


def test_the_learned_parts_of_the_store_take_part(lines: Path, store: ModelStore) -> None:
    publish_probability(store, 0.5)
    publish_probability(store, 0.9, promote=False)
    assert models_of(lines) == [f"{NAME}:1"]
    assert models_of(lines, "--models", f"{NAME}:2") == [f"{NAME}:2"]
    assert models_of(lines, "--models", f"{NAME}:latest") == [f"{NAME}:2"]
    assert models_of(lines, "--models", "none") == []


def test_the_settings_may_leave_learned_parts_out(
    lines: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_probability(store, 0.5)
    monkeypatch.setenv("BEAMLINE_INDEXING_LEARNED", "false")
    assert models_of(lines) == []
    assert models_of(lines, "--models", NAME) == [f"{NAME}:1"]


def test_the_table_tells_the_probability(lines: Path, store: ModelStore) -> None:
    publish_probability(store, 0.5)
    text = run(lines, "--wavelength", WAVELENGTH_ANG)
    rows = text.splitlines()
    assert rows[2].split()[-1] == "prob."
    assert rows[3].split()[-1] == "33.3%"
    assert f"learned parts: {NAME} version 1" in text


def test_a_model_that_is_not_there_is_told(lines: Path) -> None:
    assert isinstance(failure(lines, "--wavelength", 1.54, "--models", "indexing-nothing"), NotFound)
