"""`python -m app predict FILE` answers as the service does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.errors import AppError
from tests.api.test_polarization_file import CRYSTALLINE

STORE = Path(__file__).resolve().parents[1] / "model_store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    if not (STORE / "polarization-crystalline").is_dir():
        pytest.skip("no published model in model_store/")
    path = tmp_path / "polar.fli"
    path.write_bytes(CRYSTALLINE)
    return path


def run(*arguments: str) -> bytes:
    result = CliRunner().invoke(cli, ["predict", *arguments, "--store", str(STORE)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_csv_is_the_default(file: Path) -> None:
    lines = run(str(file), "--step", "10800").decode().splitlines()
    assert lines[0] == "GridTime,Time,PredictedPolarizationD3,ErrPredictedPolarizationD3"
    assert len(lines) == 9
    assert lines[1].startswith("0.0,2030-05-04T10:05:00,")


def test_json_lists_all_segments(file: Path) -> None:
    found = json.loads(run(str(file), "--format", "json"))
    assert [segment["accepted"] for segment in found["segments"]] == [True, False]


@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("json", b"{")])
def test_the_ending_chooses_the_format(file: Path, ending: str, begin: bytes) -> None:
    out = file.with_suffix(f".{ending}")
    assert run(str(file), "--out", str(out)) == b""
    assert out.read_bytes().startswith(begin)


@pytest.mark.parametrize("arguments", [["nowhere.fli"], ["--model", "no-such"]])
def test_an_error_is_one_that_can_be_told(file: Path, arguments: list[str]) -> None:
    files = arguments if not arguments[0].startswith("-") else [str(file), *arguments]
    with pytest.raises(AppError):
        run(*files)
