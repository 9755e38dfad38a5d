"""The benchmark of batches runs where there is no GPU, and says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.indexing import batch


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    n = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17])
    entries = [
        {
            "id": f"cube {side}",
            "bravais": "cP",
            "niggli": [side, side, side, 90, 90, 90],
            "wavelength": 1.0,
            "two_theta": np.degrees(2 * np.arcsin(0.5 * np.sqrt(n) / side)).tolist(),
        }
        for side in (5.1, 6.3)
    ]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(entries))
    return path


def test_the_same_cases_are_solved_in_batches_and_one_at_a_time(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "warm_up", lambda solve, options: None)
    out = tmp_path / "out.json"
    arguments = f"--device cpu --processes 1 --no-follow-up --repeat 2 --max-seconds 2 --out {out}".split()
    batch.main(["--cases", str(cases), *arguments])
    together, alone = json.loads(out.read_text())["runs"]
    assert sum(together["ranks"].values()) == sum(alone["ranks"].values()) == 2
    assert together["patterns_per_second"] == pytest.approx(4 / together["seconds"])
    assert alone["patterns_per_second"] == pytest.approx(2 / alone["seconds"])
    assert "one at a time" in capsys.readouterr().out


def test_a_gpu_that_is_not_there_is_not_measured(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.indexing.batch.gpu_ready", lambda: False)
    with pytest.raises(SystemExit, match="has none"):
        batch.main(["--cases", str(cases), "--device", "gpu"])
