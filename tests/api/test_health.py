"""The service is ready when it can answer for every model that an alias names."""

from __future__ import annotations

from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeModel, FakeRegistry


def test_ready_with_every_aliased_model(client: TestClient) -> None:
    body = client.get("/health/ready").json()
    assert (body["status"], body["models"]) == ("ready", ["decay/1", "decay/2"])


def test_not_ready_while_an_aliased_model_loads(client: TestClient, registry: FakeRegistry) -> None:
    registry.models.append(FakeModel("indexing", "1", state="loading", reason="warming up"))
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/not-ready"
    (waiting,) = response.json()["waiting_for"]
    assert (waiting["name"], waiting["reason"]) == ("indexing", "warming up")
    assert client.get("/health/live").status_code == 200


def test_a_version_that_no_alias_names_keeps_nothing_waiting(client: TestClient, registry: FakeRegistry) -> None:
    registry.models.append(FakeModel("decay", "3", state="refused", aliases=()))
    assert client.get("/health/ready").status_code == 200


def test_the_metrics_say_which_versions_answer(client: TestClient, registry: FakeRegistry) -> None:
    assert 'beamline_model_loaded{model="decay",version="1"} 1.0' in client.get("/metrics").text
    registry.models.pop(0)
    text = client.get("/metrics").text
    assert 'beamline_model_loaded{model="decay",version="1"} 0.0' in text
    assert 'beamline_model_loaded{model="decay",version="2"} 1.0' in text


def test_the_registry_runs_exactly_as_long_as_the_service(settings: Settings, registry: FakeRegistry) -> None:
    with TestClient(create_app(settings, registry=registry)):
        assert registry.running
    assert not registry.running
