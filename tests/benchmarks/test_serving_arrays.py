"""What the benchmark sends is what the endpoints take, and the echo gives it back."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from benchmarks.load import Load, Target
from benchmarks.serving.echo import fastapi as echo
from benchmarks.serving_arrays import BATCH, CASES
from tests.polarization_models import MemoryRegistry
from tests.waveform_fakes import width_model

WAVEFORM = [name for name, case in CASES.items() if case.path == "/waveform"]


@pytest.mark.parametrize("name", WAVEFORM)
def test_the_service_answers_each_body(name: str) -> None:
    case = CASES[name]
    with TestClient(create_app(Settings(), registry=MemoryRegistry(width_model()))) as client:
        response = client.post(case.path, content=case.body(), headers=dict(case.headers))
    assert response.status_code == 200, response.text
    if case.requests < BATCH:
        assert len(response.json()["waveforms"]) == BATCH


def test_the_echo_gives_back_what_it_got() -> None:
    with TestClient(echo()) as client:
        for case in (CASES["1 waveform, npy"], CASES["1 pattern, JSON"]):
            body = case.body()
            assert client.post("/echo", content=body, headers=dict(case.headers)).content == body
            if case.is_json:
                assert client.post("/parsed", content=body, headers=dict(case.headers)).status_code == 200


def test_a_request_is_one_of_http() -> None:
    request = Target(1, "/x", b"abc", {"Content-Type": "a/b"}).request
    assert request == b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\nabc"


def test_percentiles_are_those_of_the_latencies() -> None:
    load = Load([0.001 * i for i in range(1, 101)], 2.0)
    assert load.per_second == 50.0
    assert load.percentile_ms(50) == pytest.approx(50.5)
    assert Load([0.5], 1.0).percentile_ms(99) == 500.0
