"""`python -m app aggregates FILE` answers as the service does."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.api import aggregates
from app.cli import cli
from app.errors import AppError, InvalidInput
from app.model_registry import registry
from tests.aggregates.fake_model import OneModel
from tests.aggregates.image_files import npy, png, tiff

STACK = np.random.default_rng(21).poisson(5.0, (3, 64, 64)).astype(np.uint16)
DECLARED = ("--radius-px", "5", "--centre", "32,31.5", "--beam-stop", "3")


class _Opened(OneModel):
    def __init__(self, store: Any) -> None:
        super().__init__()

    def refresh(self) -> None: ...


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "Registry", _Opened)
    monkeypatch.setattr(aggregates, "aggregate_model", lambda loaded: loaded)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run7.npy"
    path.write_bytes(npy(STACK))
    return path


def run(*arguments: str) -> bytes:
    result = CliRunner().invoke(cli, ["aggregates", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_a_row_a_pattern_is_the_default(file: Path) -> None:
    found = rows(run(str(file), *DECLARED))
    assert [row["pattern"] for row in found] == ["0", "1", "2"]
    assert all(1 <= int(row["count"]) <= 5 for row in found)
    assert rows(run(str(file), *DECLARED, "--first", "2")) == found[2:]


def test_several_files_have_their_names(file: Path) -> None:
    other = file.with_name("shot.tif")
    other.write_bytes(tiff(STACK[0]))
    found = rows(run(str(file), str(other), *DECLARED))
    assert [row["file"] for row in found] == ["run7.npy"] * 3 + ["shot.tif"]
    assert {**found[3], "file": ""} == {**found[0], "file": ""}
    content = json.loads(run(str(file), str(other), *DECLARED, "--format", "json"))
    assert [len(one["patterns"]) for one in content["files"]] == [3, 1]


def test_a_mask(file: Path) -> None:
    mask = file.with_name("mask.png")
    good = np.full((64, 64), 255, np.uint8)
    good[30:34, 30:34] = 0
    mask.write_bytes(png(good))
    found = rows(run(str(file), *DECLARED, "--mask", str(mask), "--mask-marks", "good"))
    assert float(found[0]["measured"]) == pytest.approx(1 - 16 / 4096, abs=1e-4)


@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("json", b"{")])
def test_the_ending_chooses_the_format(file: Path, ending: str, begin: bytes) -> None:
    out = file.with_suffix(f".{ending}")
    assert run(str(file), *DECLARED, "--out", str(out)) == b""
    assert out.read_bytes().startswith(begin)


@pytest.mark.parametrize("arguments", [[], ["--radius-px", "-1"], ["--radius-px", "5", "--particle", "cube"]])
def test_an_option_out_of_range_is_told(file: Path, arguments: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"radius_px|particle"):
        run(str(file), *arguments)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(AppError, match="no file"):
        run("nowhere.npy", *DECLARED)
