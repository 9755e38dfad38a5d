"""The model store over HTTP."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.model_registry.manifest import CARD_FILE, Feature, ModelDraft
from app.model_registry.store import ModelStore
from app.settings import Settings

DRAFT = ModelDraft(
    name="decay",
    family="polarization/test",
    description="Nothing but a card.",
    features=(Feature(name="pressure_bar", unit="bar", min=2.2, max=3.2),),
    metrics={"rmse": 0.013},
)


class System:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("false",)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    store = ModelStore(tmp_path / "model_store")
    for _ in range(2):
        store.publish(DRAFT, {CARD_FILE: b"# The card\n"})
    with TestClient(create_app(Settings(model_store=store.root)), raise_server_exceptions=False) as opened:
        yield opened


def test_the_list_names_every_version_and_its_state(client: TestClient) -> None:
    answer = client.get("/models")
    assert answer.status_code == 200
    (model,) = answer.json()["models"]
    assert model["name"] == "decay"
    told = [(v["version"], v["aliases"], v["state"]) for v in model["versions"]]
    assert told == [(1, ["stable"], "ready"), (2, ["latest"], "ready")]
    assert client.get("/models/decay").json() == model


@pytest.mark.parametrize(("ref", "version"), [("stable", 1), ("latest", 2), ("1", 1), ("2", 2)])
def test_a_version_comes_with_card_and_metrics(ref: str, version: int, client: TestClient) -> None:
    answer = client.get(f"/models/decay/versions/{ref}")
    assert answer.status_code == 200
    told = answer.json()
    assert told["version"] == version
    assert told["card"] == "# The card\n"
    assert told["metrics"] == {"rmse": 0.013}
    assert told["features"][0]["unit"] == "bar"
    assert set(told["files"]) == {CARD_FILE}


@pytest.mark.parametrize(
    "path",
    [
        "/models/none",
        "/models/decay/versions/9",
        "/models/decay/versions/newest",
        "/models/..%2fdecay",
        "/models/%2e%2e",
        "/models/decay%00",
        "/models/decay%0a",
        "/models/" + "a" * 6_000,
        "/models/decay/versions/..%2f1",
        "/models/decay/versions/-1",
        "/models/decay/versions/1%00",
        "/models/decay/versions/" + "9" * 6_000,
    ],
)
def test_what_does_not_exist_or_is_no_name_is_a_problem(path: str, client: TestClient) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 2000


def test_a_refused_model_is_reported_with_its_reason_and_no_path(client: TestClient, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "model_store")
    bad = ModelDraft(name="bad", family="polarization/test", description="x", scalers={"y": "y.pkl"})
    store.publish(bad, {"y.pkl": pickle.dumps(System())})
    client.app.state.registry.refresh()  # type: ignore[attr-defined]
    answer = client.get("/models/bad")
    assert answer.json()["versions"][0]["state"] == "refused"
    assert "system" in answer.json()["versions"][0]["reason"]
    assert str(tmp_path) not in answer.text
    assert client.get("/health/ready").status_code == 503
    assert client.get("/models/decay").json()["versions"][0]["state"] == "ready"
