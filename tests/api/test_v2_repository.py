"""Taking models out of service and back, by Triton's repository extension."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.model_registry.store import ModelStore
from app.settings import Settings
from tests.open_inference_models import INFER, KEY, ROWS, STUMP, client_of, in_json, outputs, publish, published
from tests.served import served

ADMIN = {"Authorization": f"Apikey {KEY}"}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return published(tmp_path / "model_store")


@pytest.fixture
def client(store: ModelStore) -> Iterator[TestClient]:
    with client_of(store) as opened:
        yield opened


def test_unloading_takes_a_model_from_every_endpoint_until_it_is_loaded(client: TestClient) -> None:
    answer = client.post("/v2/repository/models/line/unload", headers=ADMIN)
    assert answer.json() == {"name": "line", "state": "UNAVAILABLE", "reason": "unloaded"}
    for path in ("", "/ready", "/config", "/stats", "/versions/1", "/versions/2/ready"):
        told = client.get(f"/v2/models/line{path}")
        assert (told.status_code, told.json()["type"]) == (503, "/problems/model-unavailable")
        assert "unloaded" in told.json()["error"]
    assert client.post(INFER, json=in_json(ROWS)).status_code == 503
    assert client.post("/v2/models/line/versions/2/infer", json=in_json(ROWS)).status_code == 503
    entries = client.post("/v2/repository/index", content=b'{"ready": true}').json()
    assert {entry["name"] for entry in entries} == {"stump", "card"}
    assert {version["state"] for version in client.get("/models/line").json()["versions"]} == {"unloaded"}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/health/ready").status_code == 200
    assert client.post("/v2/repository/models/line/load", headers=ADMIN).json()["state"] == "READY"
    assert outputs(client.post(INFER, json=in_json(ROWS)))["line"] == [4.0, 3.0]


def test_loading_picks_up_a_new_model_at_once(client: TestClient, store: ModelStore) -> None:
    publish(store, "newcomer", value=STUMP)
    assert client.post("/v2/repository/models/newcomer/load", headers=ADMIN).status_code == 200
    assert client.get("/v2/models/newcomer/ready").status_code == 200


def test_a_model_that_fails_its_check_is_reported(client: TestClient, store: ModelStore) -> None:
    (store.root / "stump" / "1" / "extra").write_bytes(b"")
    client.post("/v2/repository/models/stump/unload", headers=ADMIN)
    refused = client.post("/v2/repository/models/stump/load", headers=ADMIN)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/model-refused")
    assert "extra" in refused.json()["error"]
    states = {e["name"]: (e["state"], e["reason"]) for e in client.post("/v2/repository/index").json()}
    assert states["stump"][0] == "UNAVAILABLE"
    assert "extra" in states["stump"][1]
    ready = client.get("/v2/health/ready")
    assert ready.status_code == 503
    assert ready.json()["waiting_for"][0]["name"] == "stump"


@pytest.mark.parametrize("action", ["load", "unload"])
def test_a_change_needs_the_key(action: str, client: TestClient) -> None:
    path = f"/v2/repository/models/line/{action}"
    assert client.post(path).status_code == 401
    assert client.post(path, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.post(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert client.post(path.replace("line", "none"), headers=ADMIN).status_code == 404
    assert client.post(path.replace("line", "..%2fline"), headers=ADMIN).status_code in (404, 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"{}", 200),
        (b'{"parameters": {"unload_dependents": false}}', 200),
        (b"[", 400),
        (b"[]", 422),
        (b'{"parameters": {"config": "{}"}}', 422),
        (b'{"parameters": {"file:1/model.onnx": "AA=="}}', 422),
        (b'{"config": "{}"}', 422),
    ],
)
def test_what_may_be_said_with_a_load(body: bytes, status: int, client: TestClient) -> None:
    assert client.post("/v2/repository/models/line/load", content=body, headers=ADMIN).status_code == status


def test_without_a_key_nothing_can_be_changed(store: ModelStore) -> None:
    with TestClient(create_app(Settings(model_store=store.root))) as client:
        answer = client.post("/v2/repository/models/line/unload", headers=ADMIN)
    assert answer.status_code == 403
    assert "BEAMLINE_ADMIN_KEY" in answer.json()["error"]


def test_a_store_that_cannot_be_written_is_a_problem(client: TestClient, store: ModelStore) -> None:
    (store.root / ".lock").unlink()
    (store.root / ".lock").mkdir()
    answer = client.post("/v2/repository/models/line/unload", headers=ADMIN)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert "cannot be written" in answer.json()["error"]
    assert client.get("/v2/models/line/ready").status_code == 200


def test_all_workers_of_a_service_follow_and_a_restart_changes_nothing(store: ModelStore) -> None:
    settings = {"admin_key": KEY, "registry_poll_s": "0.1"}
    with served(store.root, workers=2, **settings) as address:
        url = f"http://{address}"
        assert httpx.post(f"{url}/v2/repository/models/line/unload", headers=ADMIN).status_code == 200
        wait_for(url, 503)
        assert httpx.post(f"{url}/v2/repository/models/line/load", headers=ADMIN).status_code == 200
        wait_for(url, 200)
        assert httpx.post(f"{url}/v2/repository/models/line/unload", headers=ADMIN).status_code == 200
    with served(store.root, **settings) as address:
        assert httpx.get(f"http://{address}/v2/models/line/ready").status_code == 503


def wait_for(url: str, status: int) -> None:
    """Until each of many new connections, of which any worker takes some, finds the same."""
    pause = threading.Event()
    for _ in range(600):
        if {httpx.get(f"{url}/v2/models/line/ready").status_code for _ in range(20)} == {status}:
            return
        pause.wait(0.1)
    raise AssertionError(f"the workers do not agree on {status}")
