"""Inference by the open protocol over small models: what is answered and refused, in front of FastAPI or not."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.open_inference import HEADER_LENGTH
from app.api.v2_schema import InferenceOut
from app.main import create_app
from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import TensorSpec
from app.model_registry.tensors import Tensors, timed
from app.settings import Settings
from tests.open_inference_models import (
    INFER,
    KEY,
    MAX_ROWS,
    ROWS,
    client_of,
    in_binary,
    in_json,
    outputs,
    published,
    tensor,
)
from tests.polarization_models import MemoryRegistry, anchored_model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(published(tmp_path_factory.mktemp("v2") / "model_store")) as opened:
        yield opened


def test_plain_arrays_answer_by_their_roles(client: TestClient) -> None:
    told = client.get("/v2/models/line").json()
    assert told["platform"] == "plain"
    assert told["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 2]}]
    assert told["outputs"] == [
        {"name": "line", "datatype": "FP64", "shape": [-1]},
        {"name": "side", "datatype": "FP64", "shape": [-1, 2], "parameters": {"classes": ["left", "right"]}},
    ]
    found = outputs(client.post(INFER, json=in_json(ROWS)))
    assert found["line"] == [4.0, 3.0]
    assert found["side"][:2] == [0.5, 0.5]


def test_an_answer_says_who_gave_it_and_to_which_question(client: TestClient) -> None:
    answer = client.post("/v2/models/line/versions/latest/infer", json=in_json(ROWS, id="a-7")).json()
    InferenceOut.model_validate(answer)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("line", "3", "a-7")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({}, {"line": None, "side": None}),
        ({"outputs": [{"name": "side"}]}, {"side": None}),
        (
            {"outputs": [{"name": "side", "parameters": {"binary_data": True}}, {"name": "line"}]},
            {"side": 32, "line": None},
        ),
        ({"parameters": {"binary_data_output": True}}, {"line": 16, "side": 32}),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "line"}, {"name": "side", "parameters": {"binary_data": False}}],
            },
            {"line": 16, "side": None},
        ),
    ],
)
def test_outputs_come_as_they_are_asked_for(
    ask: dict[str, Any], said: dict[str, int | None], client: TestClient
) -> None:
    body, headers = in_binary(np.array(ROWS), **ask)
    answer = client.post(INFER, content=body, headers=headers)
    length = int(answer.headers.get(HEADER_LENGTH, len(answer.content)))
    told = json.loads(answer.content[:length])["outputs"]
    assert {o["name"]: o.get("parameters", {}).get("binary_data_size") for o in told} == said
    assert len(answer.content) - length == sum(size or 0 for size in said.values())
    if said.get("line"):
        assert struct.unpack("<2d", answer.content[length : length + 16]) == (4.0, 3.0)


BODIES = {
    "good": in_json(ROWS),
    "many rows": in_json(np.ones((MAX_ROWS, 2))),
    "too many rows": in_json(np.ones((MAX_ROWS + 1, 2))),
    "chosen": in_json(ROWS, outputs=[{"name": "line"}], id="x"),
    "no such output": in_json(ROWS, outputs=[{"name": "lines"}]),
    "no such input": {"inputs": [tensor(ROWS, name="x\x00y" * 40, data=[0.0] * 4)]},
    "two inputs": {"inputs": [in_json(ROWS)["inputs"][0]] * 2},
    "one more input": {"inputs": [*in_json(ROWS)["inputs"], tensor(ROWS, name="other", data=[0.0] * 4)]},
    "no input": {"inputs": []},
    "wrong shape": in_json([[0.0]]),
    "no batch": in_json([0.0, 1.0]),
    "too little data": {"inputs": [{**tensor(ROWS), "data": [1.0]}]},
    "words": {"inputs": [{**tensor(ROWS), "data": ["a", "b", "c", "d"]}]},
    "strings": {"inputs": [{**tensor(ROWS, datatype="BYTES"), "data": ["a", "b", "c", "d"]}]},
    "truth": {"inputs": [{**tensor(ROWS, datatype="BOOL"), "data": [True, False, True, False]}]},
    "too large for half": {"inputs": [{**tensor(ROWS, datatype="FP16"), "data": [1e6, 0.0, 0.0, 0.0]}]},
    "a sequence": in_json(ROWS, parameters={"sequence_id": 3}),
    "scheduling": in_json(ROWS, parameters={"priority": 1, "timeout": 5}),
    "unknown member": in_json(ROWS, input=1),
}
BYTES = {name: json.dumps(body).encode() for name, body in BODIES.items()} | {
    "empty": b"",
    "cut off": json.dumps(BODIES["good"]).encode()[:-1],
    "not a number": b'{"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [NaN, 1]}]}',
    "bad UTF-8": b'{"id": "\xff", "inputs": []}',
}
REFUSED = set(BYTES) - {"good", "many rows", "chosen", "scheduling"}


@pytest.mark.parametrize("path", [INFER, "/v2/models/line/versions/2/infer", "/v2/models/none/infer"])
@pytest.mark.parametrize("name", BYTES)
def test_fastapi_gives_the_very_same_answers(name: str, path: str, client: TestClient) -> None:
    fast = client.post(path, content=BYTES[name], headers={"X-Request-ID": "same"})
    slow = client.post(path, content=iter([BYTES[name]]), headers={"X-Request-ID": "same"})  # of unknown length
    assert (fast.status_code, fast.content, fast.headers) == (slow.status_code, slow.content, slow.headers)


@pytest.mark.parametrize("name", BYTES)
def test_what_is_wrong_is_said_in_both_forms(name: str, client: TestClient) -> None:
    answer = client.post(INFER, content=BYTES[name])
    assert (answer.status_code != 200) == (name in REFUSED), answer.text
    if name in REFUSED:
        assert answer.status_code in (400, 413, 415, 422)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["error"] == answer.json()["detail"]
        assert len(answer.content) < 3000


@pytest.mark.parametrize(
    ("name", "where", "said"),
    [
        ("wrong shape", ["body", "inputs", 0, "shape"], "input 'features': the shape is [1, 1], expected [-1, 2]"),
        ("truth", ["body", "inputs", 0, "datatype"], "input 'features': the datatype is BOOL, expected FP64"),
        ("too large for half", ["body", "inputs", 0, "data"], "the number at [0, 0] is inf as FP64"),
        ("too many rows", ["body", "inputs", 0, "shape"], f"{MAX_ROWS + 1} rows were found, at most {MAX_ROWS}"),
        ("one more input", ["body", "inputs", 1, "name"], "the model takes features FP64 [-1, 2]"),
        ("no such output", ["body", "outputs", 0, "name"], "there are line, side"),
    ],
)
def test_the_place_of_what_is_wrong_is_told(name: str, where: list[str | int], said: str, client: TestClient) -> None:
    answer = client.post(INFER, content=BYTES[name]).json()
    assert said in answer["detail"]
    assert answer["errors"][0]["loc"] == where


def test_a_missing_feature_is_taken_where_the_model_takes_it(client: TestClient) -> None:
    rows = np.array([[np.nan], [-1.0], [1.0]])
    body, headers = in_binary(rows)
    assert outputs(client.post("/v2/models/stump/infer", content=body, headers=headers))["value"] == [20.0, 10.0, 20.0]
    body, headers = in_binary(np.array([[np.inf]]))
    refused = client.post("/v2/models/stump/infer", content=body, headers=headers)
    assert "or nan where a feature is missing" in refused.json()["error"]
    body, headers = in_binary(np.array([[np.nan, 0.0]]))
    assert client.post(INFER, content=body, headers=headers).status_code == 422


def test_a_version_that_needs_its_domain_says_so(client: TestClient) -> None:
    told = client.get("/v2/models/card").json()
    assert (told["platform"], told["inputs"], told["outputs"]) == ("none", [], [])
    answer = client.post("/v2/models/card/infer", json=in_json(ROWS))
    assert answer.status_code == 422
    assert "no tensors of its own" in answer.json()["error"]


def test_a_version_is_loaded_when_it_is_asked_for(client: TestClient) -> None:
    entries = client.post("/v2/repository/index").json()
    stored = {"name": "line", "version": "2", "state": "READY", "reason": "loaded when asked for"}
    assert stored in entries
    assert outputs(client.post("/v2/models/line/versions/2/infer", json=in_json(ROWS)))["line"] == [4.0, 3.0]
    assert client.get("/v2/models/line/versions/2/ready").json() == {"name": "line", "version": "2", "ready": True}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/..%2fline/infer",
        "/v2/models/%2e%2e/infer",
        "/v2/models/line%00/infer",
        "/v2/models/line%0a/infer",
        f"/v2/models/{'a' * 6_000}/infer",
        "/v2/models/line/versions/-1/infer",
        "/v2/models/line/versions/%D9%A1/infer",
        "/v2/models/line/versions/1%00/infer",
        f"/v2/models/line/versions/{'9' * 6_000}/infer",
        "/v2/models/line/versions//infer",
        "/v2/repository/models/..%2fline/load",
    ],
)
def test_what_is_no_name_is_a_problem(path: str, client: TestClient) -> None:
    answer = client.post(path, json=in_json(ROWS), headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"]
    assert len(answer.content) < 2000


# --- a model that misbehaves ------------------------------------------------------------------------------------------


class Made(MemoryRegistry):
    """One model that answers what it is told to."""

    def __init__(self, run: Any, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> None:
        manifest = anchored_model().manifest.model_copy(update={"name": "made"})
        given = tuple(TensorSpec(name=name, shape=(None, 1)) for name in outputs)
        tensors = timed(Tensors(tuple(inputs), given, run, "litert"))
        super().__init__(LoadedModel(manifest, run, {}, (), tensors))

    def in_memory(self, name: str, ref: str) -> LoadedModel:
        return self.resolve(name, ref)


def served(run: Any, *inputs: TensorSpec, outputs: Sequence[str] = ("y",)) -> TestClient:
    registry: Any = Made(run, inputs or [TensorSpec(name="features", shape=(None, 1))], outputs)
    return TestClient(create_app(Settings(), registry=registry), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n: {"y": np.full((n, 1), np.nan, np.float32)}, "The number at [0, 0] of the output 'y' is nan."),
        (
            lambda n: {"y": np.append(np.zeros(n - 1), np.inf)[:, None]},
            "The number at [199, 0] of the output 'y' is inf.",
        ),
        (lambda n: {"y": np.zeros((n, 1, 1), np.float32)}, "expected [128, 1]"),
        (lambda n: {"y": np.zeros((n + 1, 1), np.float32)}, "expected [128, 1]"),
        (lambda _: {}, "no output 'y'"),
    ],
)
def test_an_answer_that_is_none_is_the_models_failure(answer: Any, said: str) -> None:
    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = answer(len(inputs["features"]))
        if "inf" in said and len(inputs["features"]) == 128:  # the first block is sound
            return {"y": np.zeros((128, 1), np.float32)}
        return {name: np.asarray(array, np.float32) for name, array in found.items()}

    with served(run) as client:
        refused = client.post("/v2/models/made/infer", json=in_json(np.zeros((200, 1))))
    assert (refused.status_code, refused.json()["type"]) == (500, "/problems/model-output-invalid")
    assert said in refused.json()["error"]


def test_whole_numbers_are_taken_as_far_as_they_fit() -> None:
    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs["n"].dtype == np.int32
        return {"y": inputs["n"].astype(np.float32)}

    with served(run, TensorSpec(name="n", shape=(None, 1), dtype="int32")) as client:

        def ask(values: list[float], datatype: str) -> httpx.Response:
            body = {"inputs": [tensor(np.array(values)[:, None], "n", datatype, data=values)]}
            return client.post("/v2/models/made/infer", json=body)

        for datatype in ("INT8", "UINT16", "INT32", "UINT64", "INT64"):
            assert outputs(ask([0, 7], datatype)) == {"y": [0.0, 7.0]}
        refused = ask([0, 2**31], "INT64").json()["error"]
        assert refused == "input 'n': 2147483648 was found; an INT32 is from -2147483648 to 2147483647"
        assert "the datatype is FP32, expected INT32" in ask([0.0], "FP32").json()["error"]


def test_inputs_of_different_length_are_refused() -> None:
    specs = [TensorSpec(name="a", shape=(None,)), TensorSpec(name="b", shape=(None,))]
    with served(lambda inputs: {"y": inputs["a"][:, None] + inputs["b"][:, None]}, *specs) as client:
        both = [tensor([1.0, 2.0], "b", data=[1.0, 2.0]), tensor([1.0], "a", data=[1.0])]
        answer = client.post("/v2/models/made/infer", json={"inputs": both}).json()
        assert answer["error"] == "input 'b': 2 rows were found where 'a' has 1"
        assert answer["errors"][0]["loc"] == ["body", "inputs", 0, "shape"]
        both[1] = tensor([3.0, 4.0], "a", data=[3.0, 4.0])
        assert outputs(client.post("/v2/models/made/infer", json={"inputs": both})) == {"y": [4.0, 6.0]}
        assert "'a' is missing" in client.post("/v2/models/made/infer", json={"inputs": both[:1]}).json()["error"]


@pytest.mark.parametrize("rows", [1, 200])
def test_outputs_are_found_by_name_and_sent_in_the_declared_order(rows: int) -> None:
    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = inputs["features"]
        return {"log_variance": -x, "other": x, "mean": 2 * x}

    with served(run, outputs=("mean", "log_variance")) as client:
        answer = client.post("/v2/models/made/infer", json=in_json(np.ones((rows, 1))))
    assert list(outputs(answer).items()) == [("mean", [2.0] * rows), ("log_variance", [-1.0] * rows)]


def test_large_batches_answer_as_their_rows_do() -> None:
    with served(lambda inputs: {"y": 2 * inputs["features"]}) as client:
        rows = np.arange(1000.0)[:, None]
        body, headers = in_binary(rows, outputs=[{"name": "y"}])
        answer = client.post("/v2/models/made/infer", content=body, headers=headers)
        assert outputs(answer)["y"] == (2 * rows[:, 0]).tolist()


# --- the whole --------------------------------------------------------------------------------------------------------


def test_only_the_protocols_errors_have_its_member(client: TestClient) -> None:
    assert "error" in client.get("/v2/logging").json()
    assert "error" in client.post("/v2").json()
    assert "error" in client.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"}).json()
    assert "error" in client.post(INFER, content=b"x" * 100_001).json()
    assert "error" not in client.get("/models/none").json()


def test_every_route_is_documented(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    ours = {path: operations for path, operations in paths.items() if path.startswith("/v2")}
    assert len(ours) == 17
    for operations in ours.values():
        for operation in operations.values():
            assert operation["tags"] == ["open inference"]
    example = ours["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert example["json"]["value"]["inputs"][0]["name"] == "features"


def test_under_a_root_path(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    behind = TestClient(app, root_path="/beamline")
    assert behind.get("/beamline/v2/models/none").json()["error"] == "There is no model of that name."
