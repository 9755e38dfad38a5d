"""`POST /waveform` in front of FastAPI answers byte by byte as FastAPI does, good requests and bad ones."""

from __future__ import annotations

import base64
import inspect
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.fast_path import FastRequest
from app.api.waveform import Limits, fast_routes
from app.main import create_app
from app.settings import Settings
from tests.api.fast_and_slow import assert_same
from tests.polarization_models import MemoryRegistry
from tests.waveform_fakes import recorded, width_model

WAVEFORMS = np.concatenate([recorded(d) for d in (0.0, 3.0, 5.0)]).astype(np.float32)
X = WAVEFORMS[1].round(3).astype(float).tolist()
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
LIMITS = Limits()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(), registry=MemoryRegistry(width_model()))) as client:
        yield client


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def tensors(array: np.ndarray, **more: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "waveforms", "shape": array.shape, "datatype": "FP32"}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": array.nbytes}}], **more}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + array.tobytes(), headers


def in_base64(array: np.ndarray) -> dict[str, Any]:
    return {"data_base64": base64.b64encode(array.tobytes()).decode(), "dtype": "float32", "shape": array.shape}


BODIES: list[Any] = [
    {"waveforms": X},
    {"waveforms": [X, X[::-1]], "pulses": True, "drift_time_us": [400.0, None]},
    {"waveforms": X, "detector": {"name": "xenonnt", "gas_gap_us": 0.7}, "prior_two": 0.1},
    {"waveforms": in_base64(WAVEFORMS[0]), "detector": "lz-ws2024", "drift_time_us": 300},
    {"waveforms": X[:2000], "length": "resample", "sample_period_ns": 25.0},
    {"waveforms": [0.0] * 5000},
    {"inputs": [{"name": "waveforms", "shape": [1, 5000], "datatype": "FP32", "data": X}]},
    {"waveforms": X[:2000]},
    {"waveforms": [X, X[1:]]},
    {"waveforms": [*X[1:], None]},
    {"waveforms": X, "wavelength": 1},
    {"waveforms": X, "detector": "none"},
    {"waveforms": X, "detector": {"drift_min_us": 9e4}},
    {"waveforms": X, "drift_time_us": [5, 6]},
    {"waveforms": X, "model": "none"},
    {"waveforms": X, "version": "9"},
    {"waveforms": X, "version": "a b"},
    {"waveforms": {"data_base64": "AAAA="}},
    {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]},
    {"inputs": []},
    {},
    [],
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[-60:])
def test_json(client: TestClient, body: Any) -> None:
    assert_same(client, "/waveform", json.dumps(body).encode(), JSON)


@pytest.mark.parametrize("content", [b"", b"{", b'{"waveforms": [1, NaN]}', b"\xff", b'"\\ud800"', b'{"a": 1e999}'])
def test_what_is_no_json(client: TestClient, content: bytes) -> None:
    assert_same(client, "/waveform", content, JSON)


QUERIES = [
    "", "format=csv", "format=json", "format=pdf", "pulses=true", "pulses=perhaps", "show=0", "show=0,0",
    "show=0&show=0", "prior_two=0.2", "prior_two=2", "prior_two=nan", "prior_two=", "detector=none",
    "detector=lz-ws2024&gas_gap_us=1",
    "drift_time_us=400", "drift_time_us=0", "length=resample", "unknown=1", "model=none", "version=1", "model=..%2Fx",
    "pulses=true&pulses=false", "format=png&show=9", "%ff=1", "a;b", "prior_two=0.5%20", "=", "pulses=TRUE", "pulses=1",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_options_in_the_query(client: TestClient, query: str) -> None:
    assert_same(client, f"/waveform?{query}", npy(WAVEFORMS[:1]), NPY)
    assert_same(client, f"/waveform?{query}", json.dumps({"waveforms": X}).encode(), JSON)


@pytest.mark.parametrize(
    "content",
    [
        npy(WAVEFORMS), npy(WAVEFORMS[0]), npy(np.round(WAVEFORMS).astype(">i2")), npy(WAVEFORMS)[:-1], b"", b"x",
        npy(np.array(["x"])), npy(np.zeros((2, 2, 5000))), npy(np.full((1, 5000), np.nan)), npy(np.zeros((1, 77))),
    ],
)  # fmt: skip
def test_npy(client: TestClient, content: bytes) -> None:
    assert_same(client, "/waveform", content, NPY)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"id": "7", "parameters": {"binary_data_output": True}}, {"parameters": {"drift_time_us": 400.0}},
        {"parameters": {"unknown": 1}}, {"outputs": [{"name": "p_two"}]}, {"outputs": [{"name": "none"}]}, {"more": 1},
    ],
)  # fmt: skip
def test_tensors(client: TestClient, more: dict[str, Any]) -> None:
    body, headers = tensors(WAVEFORMS[:1], **more)
    assert_same(client, "/waveform", body, headers)
    assert_same(client, "/waveform?pulses=true", body, headers)
    assert_same(client, "/waveform", body[:-1], headers)
    assert_same(client, "/waveform", body, headers | {"Inference-Header-Content-Length": "x"})


@pytest.mark.parametrize("accept", ["*/*", "text/csv", "image/png", "text/html", "text/html, application/json;q=0.1"])
@pytest.mark.parametrize("sent", ["application/json", "application/problem+json; a=b", "text/csv", "", "image/png"])
def test_representations(client: TestClient, accept: str, sent: str) -> None:
    headers = {"Accept": accept, "Content-Type": sent}
    assert_same(client, "/waveform", json.dumps({"waveforms": X}).encode(), headers)


@pytest.mark.parametrize(
    ("query", "shape"), [("format=png", (1, 5000)), ("", (9, 5000)), ("pulses=1&pulses=0", (1, 5000))]
)
def test_what_takes_long_or_is_unusual_is_left_to_fastapi(query: str, shape: tuple[int, int]) -> None:
    (route,) = fast_routes(LIMITS, MemoryRegistry(width_model()))
    content = npy(np.zeros(shape, np.uint8))
    assert len(content) < route.max_body_bytes
    assert route.handle(FastRequest({b"content-type": b"application/x-npy"}, query.encode(), content, {})) is None


def test_one_waveform_is_not_left_to_fastapi() -> None:
    (route,) = fast_routes(LIMITS, MemoryRegistry(width_model()))
    body, headers = tensors(WAVEFORMS[:1])
    sent = {name.lower().encode(): value.encode() for name, value in headers.items()}
    answer = route.handle(FastRequest(sent, b"", body, {}))
    assert inspect.iscoroutine(answer)
    answer.close()
