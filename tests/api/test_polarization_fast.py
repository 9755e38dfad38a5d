"""The fast path answers `/polarization/predict` byte for byte as FastAPI's route does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.api.polarization_schema import EXAMPLES
from app.main import create_app
from app.settings import Settings
from tests.api.test_polarization import URL, body, dated
from tests.polarization_models import all_models


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    settings = Settings(max_experiments=30, max_times=8000, max_body_bytes=200_000)
    with TestClient(create_app(settings, registry=all_models())) as client:
        yield client


def both(client: TestClient, content: bytes, headers: Mapping[str, str]) -> tuple[Response, Response]:
    """The answers of the fast path and of FastAPI, which gets what has no declared length."""
    named = {"Content-Type": "application/json", "X-Request-ID": "same", **headers}
    return client.post(URL, content=content, headers=named), client.post(URL, content=iter([content]), headers=named)


def several(count: int, **changes: Any) -> dict[str, Any]:
    return {"experiments": body(**changes)["experiments"] * count}


GOOD: dict[str, dict[str, Any]] = {
    **{name: example["value"] for name, example in EXAMPLES.items()},
    "in seconds": body(),
    "in UTC": dated("+02:00"),
    "on a grid": body(predict_at={"step_s": 3600.0}),
    "outside the calibrations": body(predict_at={"times_s": [-1000.0, 90_000.0, 5.0]}),
    "without a final calibration": body(final=None),
    "without a calibration": body(initial=None, final=None),
    "rising": body(final={"time_s": 86400.0, "polarization": 0.9, "sigma": 0.001}),
    "beyond the amplitude": body(initial={"polarization": 0.99, "sigma": 0.001}),
    "with a threshold": body(threshold_polarization=0.7, name="Si (1 1 1)"),
    "uncorrected": body() | {"correction": "none"},
    "an ensemble": body() | {"model": "ensemble"},
    "twenty": several(20),
    "in a thread": several(21),
    "many times": body(predict_at={"step_s": 20.0}),
}
BAD: dict[str, Any] = {
    "no experiments": {"experiments": []},
    "an unknown field": body(pressure=1.0),
    "a text for a number": body(threshold_polarization="0.7"),
    "two values": body(initial={"polarization": 0.8, "sigma": 0.1, "flipping_ratio": 9.0}),
    "a date without an origin": body(final={"time": "2025-06-06T15:15:00", "polarization": 0.79, "sigma": 0.002}),
    "zones that differ": {"experiments": dated()["experiments"] + dated("Z")["experiments"]},
    "the wrong order": body(final={"time_s": -5.0, "polarization": 0.79, "sigma": 0.002}),
    "an unknown model": body() | {"model": "nothing"},
    "a model for another set-up": body() | {"model": "polarization-amorphous"},
    "too many times": body(predict_at={"step_s": 1.0}),
    "too many experiments": several(31, predict_at={"times_s": [1.0]}),
    "no object": [1],
}


@pytest.mark.parametrize("asked", GOOD)
@pytest.mark.parametrize("accept", ["application/json", "text/csv", "*/*"])
def test_answers_are_the_same(client: TestClient, asked: str, accept: str) -> None:
    fast, slow = both(client, json.dumps(GOOD[asked]).encode(), {"Accept": accept})
    assert slow.status_code == 200, slow.text
    assert fast.content == slow.content
    assert dict(fast.headers) == dict(slow.headers)


@pytest.mark.parametrize("asked", BAD)
def test_problems_are_the_same(client: TestClient, asked: str) -> None:
    fast, slow = both(client, json.dumps(BAD[asked]).encode(), {})
    assert 400 <= slow.status_code < 500
    assert fast.content == slow.content
    assert dict(fast.headers) == dict(slow.headers)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"null", b"[" * 5000, b'{"experiments": [{"name": "\\ud800"}]}']
)
def test_bodies_that_are_no_json_are_refused_alike(client: TestClient, content: bytes) -> None:
    fast, slow = both(client, content, {})
    assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
    assert slow.status_code in (400, 422)


@pytest.mark.parametrize(
    "headers", [{"Accept": "image/gif"}, {"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}]
)
def test_headers_are_refused_alike(client: TestClient, headers: dict[str, str]) -> None:
    fast, slow = both(client, json.dumps(body()).encode(), headers)
    assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
    assert slow.status_code in (406, 415)


def test_a_picture_is_drawn(client: TestClient) -> None:
    fast, slow = both(client, json.dumps(body()).encode(), {"Accept": "image/png"})
    assert fast.content[:8] == slow.content[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_long_body_is_answered_too(client: TestClient) -> None:
    fast, slow = both(client, json.dumps(body()).encode() + b" " * 150_000, {})
    assert (fast.status_code, fast.content) == (200, slow.content)


@pytest.mark.parametrize("part", ["pressure_bar", "sigma", "time_s"])
def test_numbers_beyond_all_measure_are_answered_or_refused_but_break_nothing(client: TestClient, part: str) -> None:
    asked = body(threshold_polarization=0.5)
    experiment = asked["experiments"][0]
    (experiment["polarizer"] if part == "pressure_bar" else experiment["final"])[part] = 1e-300
    answer = client.post(URL, json=asked)
    assert answer.status_code == 200 or answer.json()["type"] == "/problems/model-output-invalid"
