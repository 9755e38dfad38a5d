"""KServe's own client works with this server as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.model_registry.loading import LoadedModel
from tests.clients.environment import python_with

ROWS = np.linspace(-1.0, 1.0, 30, dtype=np.float32).reshape(3, 10)


@pytest.fixture(scope="module")
def found(server: str, model: LoadedModel) -> dict[str, Any]:
    script = Path(__file__).with_name("kserve_session.py")
    command = [python_with("kserve"), script, f"http://{server}", model.name, "features", json.dumps(ROWS.tolist())]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_health(found: dict[str, Any]) -> None:
    states = [found[key] for key in ("live", "ready", "model ready", "other ready")]
    assert states == [True, True, True, False]


@pytest.mark.parametrize("form", ["json", "binary"])
def test_infer_gives_the_models_own_answer(form: str, found: dict[str, Any], model: LoadedModel) -> None:
    expected = model.run({"features": ROWS})
    assert found[form].keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[form][name], values, rtol=1e-6)
    assert found[f"{form} types"] == ["float32"]
    assert found[f"{form} id"] == "7"


def test_errors_are_problems_with_the_protocols_member(found: dict[str, Any]) -> None:
    other, shape = found["error of other"], found["error of shape"]
    assert (other["status"], other["type"]) == (404, "/problems/not-found")
    assert "no model" in other["error"]
    assert shape["error"] == shape["detail"] == "input 'features': the shape is [3, 9], expected [-1, 10]"
