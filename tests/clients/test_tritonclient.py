"""Triton's client works with this server as it is: health, metadata, repository, and inference in either form."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import np_to_triton_dtype

from app.model_registry.loading import LoadedModel
from tests.clients.conftest import ADMIN_KEY, MODEL

ADMIN = {"Authorization": f"Apikey {ADMIN_KEY}"}
DATATYPES = {"float32": "FP32", "float64": "FP64"}
Arrays = dict[str, np.ndarray]


@pytest.fixture
def client(server: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server) as opened:
        yield opened


def inputs_for(model: LoadedModel, rows: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.random([rows, *(n or 1 for n in spec.shape[1:])]).astype(spec.dtype)
        for spec in model.tensors.inputs
    }


def tensors(arrays: Arrays, *, binary: bool) -> list[triton.InferInput]:
    made = [
        triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)) for name, array in arrays.items()
    ]
    for tensor, array in zip(made, arrays.values(), strict=True):
        tensor.set_data_from_numpy(array, binary_data=binary)
    return made


def outputs_for(model: LoadedModel, *, binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(spec.name, binary_data=binary) for spec in model.tensors.outputs]


def assert_same(answer: triton.InferResult, expected: Arrays) -> None:
    for name, values in expected.items():
        found = answer.as_numpy(name)
        assert found.dtype == values.dtype
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


def test_health_and_metadata_of_the_server(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    told = client.get_server_metadata()
    assert told["name"] == "beamline-model-server"
    assert {"binary_tensor_data", "model_repository"} <= set(told["extensions"])


def test_every_model_describes_its_tensors(
    client: triton.InferenceServerClient, models: dict[str, LoadedModel]
) -> None:
    for name, model in models.items():
        assert client.is_model_ready(name)
        told = client.get_model_metadata(name)
        for side in ("inputs", "outputs"):
            assert [{key: tensor[key] for key in ("name", "datatype", "shape")} for tensor in told[side]] == [
                {"name": s.name, "datatype": DATATYPES[s.dtype], "shape": [-1, *s.shape[1:]]}
                for s in getattr(model.tensors, side)
            ]
        config = client.get_model_config(name)
        types = [f"TYPE_{DATATYPES[spec.dtype]}" for spec in model.tensors.inputs]
        assert [tensor["data_type"] for tensor in config["input"]] == types
        assert config["max_batch_size"] > 1


def test_versions_and_aliases(client: triton.InferenceServerClient) -> None:
    assert client.get_model_metadata(MODEL)["versions"] == ["1", "2"]
    assert [client.is_model_ready(MODEL, ref) for ref in ("1", "2", "stable", "latest", "3", "newest")] == (
        [True] * 4 + [False] * 2
    )
    x = tensors({"features": np.zeros((1, 10), np.float32)}, binary=True)
    answered = [client.infer(MODEL, x, model_version=ref).get_response() for ref in ("", "1", "latest")]
    assert [answer["model_version"] for answer in answered] == ["1", "1", "2"]


@pytest.mark.parametrize("rows", [1, 3, 300])
@pytest.mark.parametrize("binary", [True, False])
def test_every_model_answers_as_it_does_by_itself(
    binary: bool, rows: int, client: triton.InferenceServerClient, models: dict[str, LoadedModel]
) -> None:
    for name, model in models.items():
        if name == "aggregates-count" and rows > 3 and not binary:
            continue  # two and a half million numbers as text would only test the client
        arrays = inputs_for(model, rows)
        for outputs in (outputs_for(model, binary=binary), None):
            answer = client.infer(name, tensors(arrays, binary=binary), outputs=outputs, request_id="a-1")
            assert_same(answer, model.tensors.run(arrays))
            assert answer.get_response()["id"] == "a-1"


def test_an_output_is_chosen(client: triton.InferenceServerClient, models: dict[str, LoadedModel]) -> None:
    x = tensors(inputs_for(models[MODEL], 1), binary=True)
    with pytest.raises(triton.InferenceServerException, match="there is no such output; there are heads"):
        client.infer(MODEL, x, outputs=[triton.InferRequestedOutput("tails")])
    answer = client.infer(MODEL, x, outputs=[triton.InferRequestedOutput("heads", binary_data=False)])
    assert len(answer.get_output("heads")["data"]) == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.int64, np.uint32])
def test_numbers_of_another_type_are_taken(
    dtype: Any, client: triton.InferenceServerClient, model: LoadedModel
) -> None:
    array = np.arange(20).reshape(2, 10).astype(dtype)
    tensor = triton.InferInput("features", [2, 10], np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    assert_same(client.infer(MODEL, [tensor]), model.run({"features": array.astype(np.float32)}))


@pytest.mark.parametrize(
    ("name", "shape", "datatype", "said"),
    [
        ("features", (2, 9), "FP32", r"input 'features': the shape is \[2, 9\], expected \[-1, 10\]"),
        ("features", (10,), "FP32", r"the shape is \[10\], expected \[-1, 10\]"),
        ("feature", (1, 10), "FP32", r"no input 'feature'; the model takes features FP32 \[-1, 10\]"),
        ("features", (1, 10), "BOOL", "the datatype is BOOL, expected FP32"),
    ],
)
def test_errors_reach_the_user_in_words(
    name: str, shape: tuple[int, ...], datatype: str, said: str, client: triton.InferenceServerClient
) -> None:
    tensor = triton.InferInput(name, list(shape), datatype)
    tensor.set_data_from_numpy(np.zeros(shape, bool if datatype == "BOOL" else np.float32))
    with pytest.raises(triton.InferenceServerException, match=said) as refused:
        client.infer(MODEL, [tensor])
    assert refused.value.status() == "422"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_a_number_that_is_not_finite_is_placed(bad: float, client: triton.InferenceServerClient) -> None:
    array = np.zeros((2, 10))
    array[1, 7] = bad
    tensor = triton.InferInput("features", [2, 10], "FP64")
    tensor.set_data_from_numpy(array)
    with pytest.raises(triton.InferenceServerException, match=r"the number at \[1, 7\] is (nan|inf) as FP32"):
        client.infer(MODEL, [tensor])


def test_what_is_not_there_is_told_in_words(client: triton.InferenceServerClient) -> None:
    assert not client.is_model_ready("other")
    for call in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        with pytest.raises(triton.InferenceServerException, match="There is no model of that name"):
            call("other")
    with pytest.raises(triton.InferenceServerException, match="/docs lists the endpoints"):
        client.get_log_settings()


def test_statistics_count_rows_and_refusals(
    client: triton.InferenceServerClient, models: dict[str, LoadedModel]
) -> None:
    before = client.get_inference_statistics("polarization-amorphous")["model_stats"][0]
    client.infer("polarization-amorphous", tensors({"features": np.zeros((5, 10), np.float32)}, binary=True))
    with pytest.raises(triton.InferenceServerException):
        client.infer("polarization-amorphous", tensors({"features": np.zeros((5, 9), np.float32)}, binary=True))
    (after,) = client.get_inference_statistics("polarization-amorphous", "1")["model_stats"]
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 1
    assert after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 1
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["last_inference"] > 1_600_000_000_000
    assert len(client.get_inference_statistics()["model_stats"]) == len(models) + 1  # of one, two versions


def test_the_index_lists_every_version(client: triton.InferenceServerClient, models: dict[str, LoadedModel]) -> None:
    index = client.get_model_repository_index()
    assert [(entry["name"], entry["version"]) for entry in index] == sorted(
        [*((name, str(model.version)) for name, model in models.items()), (MODEL, "2")]
    )
    assert {(entry["state"], entry["reason"]) for entry in index} == {("READY", "")}


def test_a_model_is_unloaded_and_loaded(client: triton.InferenceServerClient) -> None:
    for change in (client.unload_model, client.load_model):
        for headers in (None, {"Authorization": "Apikey wrong"}):
            with pytest.raises(triton.InferenceServerException) as refused:
                change(MODEL, headers=headers)
            assert refused.value.status() == "401"
    client.unload_model(MODEL, headers=ADMIN)
    try:
        states = {e["name"]: (e["state"], e["reason"]) for e in client.get_model_repository_index()}
        assert states[MODEL] == ("UNAVAILABLE", "unloaded")
        assert not client.is_model_ready(MODEL)
        assert not client.is_model_ready(MODEL, "2")
        assert client.is_server_ready()
        with pytest.raises(triton.InferenceServerException, match="unloaded") as refused:
            client.infer(MODEL, tensors({"features": np.zeros((1, 10), np.float32)}, binary=True))
        assert refused.value.status() == "503"
    finally:
        client.load_model(MODEL, headers=ADMIN)
    assert client.is_model_ready(MODEL)
    client.infer(MODEL, tensors({"features": np.zeros((1, 10), np.float32)}, binary=True))
    with pytest.raises(triton.InferenceServerException, match="publish a version"):
        client.load_model(MODEL, headers=ADMIN, config="{}")
    with pytest.raises(triton.InferenceServerException, match="no model"):
        client.load_model("other", headers=ADMIN)


def test_concurrent_requests_of_all_kinds_are_not_mixed_up(server: str, models: dict[str, LoadedModel]) -> None:
    def ask(seed: int) -> None:
        name = sorted(models)[seed % len(models)]
        arrays = inputs_for(models[name], rows=(1, 2, 7, 40)[seed // 4 % 4], seed=seed)
        with triton.InferenceServerClient(server) as client:
            answer = client.infer(name, tensors(arrays, binary=seed % 3 > 0), request_id=str(seed))
        assert answer.get_response()["id"] == str(seed)
        assert_same(answer, models[name].tensors.run(arrays))

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(ask, seed) for seed in range(64)]:
            done.result()


def test_the_asynchronous_client(server: str, models: dict[str, LoadedModel]) -> None:
    async def ask(client: Any, name: str, seed: int) -> None:
        arrays = inputs_for(models[name], rows=2, seed=seed)
        answer = await client.infer(name, tensors(arrays, binary=seed % 2 == 0), request_id=str(seed))
        assert answer.get_response()["id"] == str(seed)
        assert_same(answer, models[name].tensors.run(arrays))

    async def session() -> None:
        async with triton_aio.InferenceServerClient(server) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata(MODEL))["name"] == MODEL
            assert len(await client.get_model_repository_index()) == len(models) + 1
            async with anyio.create_task_group() as group:
                for seed, name in enumerate(sorted(models) * 4):
                    group.start_soon(ask, client, name, seed)

    anyio.run(session)
