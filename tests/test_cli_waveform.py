"""`python -m app waveform FILE` answers as the service does."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.errors import AppError
from tests.polarization_models import MemoryRegistry
from tests.waveform_fakes import light, recorded, width_model


class Store(MemoryRegistry):
    """In place of the registry over a folder."""

    def __init__(self, _store: object) -> None:
        super().__init__(width_model())

    def refresh(self) -> None: ...


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.model_registry.registry.Registry", Store)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "set.npy"
    np.save(path, np.concatenate([recorded(0.0), recorded(5.0)]))
    return path


def run(*arguments: Any) -> bytes:
    result = CliRunner().invoke(cli, ["waveform", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_csv_is_the_default(file: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(file).decode())))
    assert [row["number_of_s2"] for row in rows] == ["1", "2"]
    assert float(rows[1]["separation_us"]) == pytest.approx(5.0, abs=0.3)


def test_options_reach_the_question(file: Path) -> None:
    found = json.loads(run(file, "--format", "json", "--detector", "xenonnt", "--gas-gap", "1.2", "--pulses"))
    assert (found["detector"]["drift_velocity_mm_per_us"], found["detector"]["gas_gap_us"]) == (1.335, 1.2)
    assert len(found["waveforms"][1]["pulses"]) == 2


def test_another_period_is_resampled(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=light(5.0, samples=2500, period_ns=20.0)[None], d=[5.0])
    printed = run(tmp_path / "set.npz", "--length", "resample", "--sample-period", "20").decode()
    assert "resampled" in printed


@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("json", b"{")])
def test_the_ending_chooses_the_format(file: Path, ending: str, begin: bytes) -> None:
    out = file.with_suffix(f".{ending}")
    assert run(file, "--out", out, "--show", "0,1") == b""
    assert out.read_bytes().startswith(begin)


@pytest.mark.parametrize(
    "arguments", [["--prior-two", "2"], ["--detector", "none"], ["--show", "5", "--format", "svg"], ["--show", "x"]]
)
def test_what_is_wrong_is_one_error(file: Path, arguments: list[str]) -> None:
    with pytest.raises(AppError):
        run(file, *arguments)


def test_a_file_that_is_none_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"text")
    for name in ("a.npy", "missing.npy"):
        with pytest.raises(AppError):
            run(tmp_path / name)
