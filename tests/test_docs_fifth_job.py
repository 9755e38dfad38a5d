"""The page on adding a job holds a whole one: it is written down, trained, published and asked."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api import problems
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from tests.served import REPOSITORY


@pytest.fixture
def modules() -> Iterator[dict[str, Any]]:
    """The page's files, imported under the names that they would have."""
    page = (REPOSITORY / "docs" / "fifth-job.md").read_text("utf-8")
    found: dict[str, Any] = {}
    for path, code in re.findall(r"```python\n# ([\w/]+)\.py\n(.*?)```", page, re.DOTALL):
        name = path.replace("/", ".")
        for package in (name.rpartition(".")[0], name):
            if package not in sys.modules:
                found[package] = sys.modules[package] = ModuleType(package)
        exec(compile(code, f"{path}.py", "exec"), found[name].__dict__)  # noqa: S102  (our own page)
    yield found
    for name in found:
        del sys.modules[name]


def test_the_job_answers(modules: dict[str, Any], tmp_path: Path) -> None:
    manifest = modules["training.transmission.publish"].train(tmp_path)
    assert manifest.metrics["rmse_mm"] < 0.05
    registry = Registry(ModelStore(tmp_path))
    registry.refresh()
    app = FastAPI()
    app.state.registry = registry
    problems.install(app)
    app.include_router(modules["app.api.transmission"].router)
    client = TestClient(app)
    thickness_mm = np.array([0.5, 2.0])
    transmission = np.exp(-np.outer(thickness_mm, [0.8, 0.35])) * 1e5 / 1.2e5
    answer = client.post("/transmission", json={"transmissions": transmission.tolist()})
    assert answer.json()["thickness_mm"] == pytest.approx(thickness_mm, abs=0.1)
    refused = client.post("/transmission", json={"transmissions": [[0.5, 1.5]]})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-input")
    assert "divide by the open beam" in refused.json()["detail"]
