"""`POST /aggregates` in front of FastAPI answers byte by byte as FastAPI does, good requests and bad ones."""

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

from app.api import aggregates
from app.api.aggregates import Limits, fast_routes
from app.api.aggregates_schema import EXAMPLES
from app.api.fast_path import FastRequest
from app.main import create_app
from app.settings import Settings
from tests.aggregates.fake_model import OneModel
from tests.api.fast_and_slow import assert_same

LIMITS = Limits()
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
PATTERN = np.random.default_rng(4).poisson(50.0, (64, 64)).astype(np.uint16)


@pytest.fixture(scope="module", autouse=True)
def _formula() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregates, "aggregate_model", lambda loaded: loaded)
        yield


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(), registry=OneModel())) as client:
        yield client


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def tensors(array: np.ndarray, **more: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "patterns", "shape": array.shape, "datatype": "UINT16"}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": array.nbytes}}], **more}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + array.tobytes(), headers


BASE64 = {"data_base64": base64.b64encode(PATTERN.tobytes()).decode(), "dtype": "uint16", "shape": [64, 64]}
PLAIN = {"patterns": PATTERN.tolist(), "radius_px": 5.0}
BODIES: list[Any] = [
    *(example["value"] for example in EXAMPLES.values()),
    PLAIN,
    PLAIN | {"centre_px": [31.5, 32.25], "beam_stop_px": 3.0, "background": 0.1},
    PLAIN | {"mask": (np.indices((64, 64))[0] == 30).tolist()},
    PLAIN | {"mask": (np.indices((64, 64))[0] == 30).tolist(), "mask_marks": "good"},
    {"patterns": BASE64, "radius_px": 5.0},
    {"patterns": [PATTERN.tolist()] * 2, "radius_px": 5.0},
    {"patterns": PATTERN.tolist()},
    PLAIN | {"centre_px": [99.0, 0.0]},
    PLAIN | {"radius_px": -1},
    PLAIN | {"model": "none"},
    PLAIN | {"particle_radius_nm": 3.0},
    PLAIN | {"unknown": 1},
    {"patterns": [1, 2], "radius_px": 5.0},
    {"inputs": []},
    {},
    [],
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[-60:])
def test_json(client: TestClient, body: Any) -> None:
    assert_same(client, "/aggregates", json.dumps(body).encode(), JSON)


@pytest.mark.parametrize(
    "query",
    [
        "", "radius_px=5", "radius_px=5&format=csv", "radius_px=5&centre_px=31,%2032", "radius_px=5&centre_px=a",
        "radius_px=5&radius_px=6", "radius_px=nan", "radius_px=5&first=0&count=1", "radius_px=5&first=9",
        "radius_px=5&dataset=x", "radius_px=5&version=7", "radius_px=5&format=pdf", "radius_px=5&unknown=1",
        "particle_radius_nm=35&photon_energy_ev=1200&detector_distance_mm=650&pixel_um=750", "radius_px=5&binning=2",
    ],
)  # fmt: skip
def test_options_in_the_query(client: TestClient, query: str) -> None:
    assert_same(client, f"/aggregates?{query}", npy(PATTERN), NPY)
    assert_same(client, f"/aggregates?{query}", json.dumps(PLAIN).encode(), JSON)


@pytest.mark.parametrize(
    "content",
    [
        npy(PATTERN), npy(PATTERN[None]), npy(np.stack([PATTERN] * 3)), npy(PATTERN.astype(">f4")), npy(PATTERN)[:-1],
        npy(PATTERN[:4]), npy(PATTERN[0]), npy(np.array(["x"])), npy(np.full((64, 64), np.nan)), b"", b"x", b"\x89HDF",
    ],
)  # fmt: skip
@pytest.mark.parametrize("sent", ["application/x-npy", "image/tiff", "application/octet-stream", "text/csv", ""])
def test_files(client: TestClient, content: bytes, sent: str) -> None:
    assert_same(client, "/aggregates?radius_px=5", content, {"Content-Type": sent})


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"radius_px": 5.0}}, {"parameters": {"radius_px": 5.0, "binary_data_output": True}}, {},
        {"parameters": {"radius_px": 5.0}, "outputs": [{"name": "count"}]}, {"parameters": {"radius_px": "5"}},
    ],
)  # fmt: skip
def test_tensors(client: TestClient, more: dict[str, Any]) -> None:
    body, headers = tensors(PATTERN, **more)
    assert_same(client, "/aggregates", body, headers)
    assert_same(client, "/aggregates?radius_px=5", body, headers)
    assert_same(client, "/aggregates", body[:-1], headers)


@pytest.mark.parametrize("accept", ["*/*", "text/csv", "text/html"])
def test_representations(client: TestClient, accept: str) -> None:
    assert_same(client, "/aggregates", json.dumps(PLAIN).encode(), JSON | {"Accept": accept})


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ("radius_px=5&format=png", npy(PATTERN)),
        ("radius_px=5", npy(np.stack([PATTERN] * 3))),
        ("radius_px=5", npy(np.zeros((200, 200), np.uint8))),
        ("radius_px=5", b"\x89HDF\r\n\x1a\n"),
    ],
)
def test_what_takes_long_is_left_to_fastapi(query: str, content: bytes) -> None:
    (route,) = fast_routes(LIMITS, OneModel())
    assert len(content) < route.max_body_bytes
    assert route.handle(FastRequest({b"content-type": b"application/x-npy"}, query.encode(), content, {})) is None


def test_one_pattern_is_not_left_to_fastapi() -> None:
    (route,) = fast_routes(LIMITS, OneModel())
    sent = {b"content-type": b"application/x-npy"}
    answer = route.handle(FastRequest(sent, b"radius_px=5", npy(PATTERN), {}))
    assert inspect.iscoroutine(answer)
    answer.close()
