"""S2 waveforms over HTTP: every form of the numbers gives one answer; what is wrong is told with its place."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.open_inference import DATATYPES
from app.main import create_app
from app.settings import Settings
from app.waveform.features import SAMPLES
from tests.polarization_models import MemoryRegistry
from tests.waveform_fakes import DRIFT_US, light, recorded, width_model

STORE = Path(__file__).resolve().parents[2] / "model_store"
NPY = {"Content-Type": "application/x-npy"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    registry = MemoryRegistry(
        width_model(), width_model("waveform-other", version=3), width_model("d3", "polarization/x")
    )
    with TestClient(create_app(Settings(max_waveforms=200), registry=registry)) as client:
        yield client


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def tensors(array: np.ndarray, **more: Any) -> tuple[bytes, dict[str, str]]:
    datatype = next(name for name, dtype in DATATYPES.items() if dtype == array.dtype)
    tensor = {"name": "waveforms", "shape": array.shape, "datatype": datatype}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": array.nbytes}}], **more}).encode()
    return head + array.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def rows(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return response.json()["waveforms"]


def problem(response: Any, status: int = 422) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


def place(response: Any) -> list[Any]:
    return problem(response)["errors"][0]["loc"]


def codes(row: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in row["warnings"]]


WAVEFORMS = np.round(np.concatenate([recorded(d, seed=int(d)) for d in (0.0, 2.0, 5.0)])).astype("<f4")


# --- forms ------------------------------------------------------------------------------------------------------------


def test_all_forms_give_the_same_answer(client: TestClient) -> None:
    body, headers = tensors(WAVEFORMS)
    raw = {"data_base64": base64.b64encode(WAVEFORMS.tobytes()).decode(), "dtype": "float32", "shape": [3, SAMPLES]}
    file = {"data_base64": base64.b64encode(npy(WAVEFORMS)).decode()}
    answers = [
        rows(client.post("/waveform", json={"waveforms": WAVEFORMS.tolist()})),
        rows(client.post("/waveform", json={"waveforms": raw})),
        rows(client.post("/waveform", json={"waveforms": file})),
        rows(client.post("/waveform", content=npy(WAVEFORMS), headers=NPY)),
        rows(client.post("/waveform", content=npy(WAVEFORMS.astype(">i2")), headers=NPY)),
        rows(client.post("/waveform", content=npy(np.asfortranarray(WAVEFORMS)), headers=NPY)),
        rows(client.post("/waveform/file", files={"file": ("a.npy", npy(WAVEFORMS))})),
    ]
    assert [row["number_of_s2"] for row in answers[0]] == [1, 2, 2]
    assert all(answer == answers[0] for answer in answers)
    outputs = {o["name"]: o for o in client.post("/waveform", content=body, headers=headers).json()["outputs"]}
    assert outputs["p_two"]["data"] == pytest.approx([row["p_two"] for row in answers[0]], rel=1e-6)
    assert outputs["d_us"]["data"] == pytest.approx([row["separation_us"] for row in answers[0]], rel=1e-6)
    assert outputs["sigma_us"]["data"] == pytest.approx([row["sigma_us"] for row in answers[0]], rel=1e-6)


def test_one_waveform_may_be_a_plain_list(client: TestClient) -> None:
    one = rows(client.post("/waveform", json={"waveforms": WAVEFORMS[1].tolist()}))
    assert one == rows(client.post("/waveform", json={"waveforms": WAVEFORMS[1:2].tolist()}))


def test_the_options_are_the_same_in_every_form(client: TestClient) -> None:
    options = {
        "drift_time_us": DRIFT_US,
        "prior_two": 0.1,
        "detector": "xenon1t",
        "pulses": True,
        "polarity": "positive",
    }
    inverted = 500.0 - WAVEFORMS
    options["polarity"] = "negative"
    in_json = client.post("/waveform", json={"waveforms": inverted.tolist(), **options}).json()
    in_query = client.post("/waveform", params=options, content=npy(inverted), headers=NPY).json()
    of_file = client.post("/waveform/file", params=options, files={"file": ("a.npy", npy(inverted))}).json()
    assert in_json == in_query == of_file
    assert in_json["detector"]["drift_velocity_mm_per_us"] == 1.44
    body, headers = tensors(inverted, parameters=options)
    outputs = client.post("/waveform", content=body, headers=headers).json()["outputs"]
    assert outputs[0]["data"] == pytest.approx([row["p_two"] for row in in_json["waveforms"]], rel=1e-6)


def test_the_plain_json_of_open_inference_is_answered_in_its_form(client: TestClient) -> None:
    flat = WAVEFORMS.ravel().tolist()
    tensor = {"name": "waveforms", "shape": [3, SAMPLES], "datatype": "FP32", "data": flat}
    drift = {"name": "drift_time_us", "shape": [3], "datatype": "FP64", "data": [DRIFT_US, 100.0, 900.0]}
    asked = {"id": "42", "inputs": [tensor, drift], "outputs": [{"name": "d_us"}, {"name": "number_of_s2"}]}
    found = client.post("/waveform", json=asked).json()
    assert (found["model_name"], found["model_version"], found["id"]) == ("waveform-s2", "1", "42")
    assert [output["name"] for output in found["outputs"]] == ["d_us", "number_of_s2"]
    expected = client.post(
        "/waveform", json={"waveforms": WAVEFORMS.tolist(), "drift_time_us": [DRIFT_US, 100.0, 900.0]}
    )
    assert found["outputs"][0]["data"] == pytest.approx([r["separation_us"] for r in rows(expected)], rel=1e-6)


def test_binary_outputs_are_sent_where_they_are_asked_for(client: TestClient) -> None:
    body, headers = tensors(WAVEFORMS, outputs=[{"name": "p_two"}], parameters={"binary_data_output": True})
    response = client.post("/waveform", content=body, headers=headers)
    size = int(response.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(response.content[:size])["outputs"]
    found = np.frombuffer(response.content[size:], "<f4")
    assert (output["datatype"], output["parameters"]["binary_data_size"]) == ("FP32", found.nbytes)
    expected = [row["p_two"] for row in rows(client.post("/waveform", content=npy(WAVEFORMS), headers=NPY))]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_depth_is_time_by_drift_velocity(client: TestClient) -> None:
    body = {"waveforms": WAVEFORMS.tolist(), "detector": {"name": "reference", "drift_velocity_mm_per_us": 2.0}}
    for row in rows(client.post("/waveform", json=body)):
        for name in ("separation", "sigma", "low68", "high68", "low95", "high95"):
            assert row[f"{name}_mm"] == pytest.approx(2.0 * row[f"{name}_us"])


def test_pulses_are_told_where_they_are_asked_for(client: TestClient) -> None:
    one, _, two = rows(client.post("/waveform", json={"waveforms": WAVEFORMS.tolist(), "pulses": True}))
    assert [len(one["pulses"]), len(two["pulses"])] == [1, 2]
    early, late = two["pulses"]
    assert late["time_us"] - early["time_us"] == pytest.approx(two["separation_us"])
    assert early["share"] + late["share"] == pytest.approx(1.0)
    assert early["area"] + late["area"] == pytest.approx(600.0, rel=0.02)


def test_an_empty_waveform_is_an_answer_and_spoils_no_other(client: TestClient) -> None:
    waveforms = WAVEFORMS.copy()
    waveforms[1] = 3.0
    first, empty, last = rows(client.post("/waveform", json={"waveforms": waveforms.tolist(), "pulses": True}))
    assert (empty["number_of_s2"], empty["p_two"], empty["separation_us"], empty["pulses"]) == (0, None, None, [])
    assert (codes(first), codes(empty), codes(last)) == ([], ["empty"], [])


def test_a_thousand_waveforms_are_one_call() -> None:
    registry = MemoryRegistry(width_model())
    with TestClient(create_app(Settings(), registry=registry)) as client:
        many = np.tile(WAVEFORMS.astype("u2"), (334, 1))[:1000]
        found = rows(client.post("/waveform", content=npy(many), headers=NPY))
    assert len(found) == 1000
    assert found[:3] * 333 + found[:1] == found


def test_csv_has_a_row_for_each_waveform(client: TestClient) -> None:
    waveforms = np.concatenate([WAVEFORMS, np.zeros((1, SAMPLES), "f4")])
    response = client.post("/waveform?format=csv&pulses=true", content=npy(waveforms), headers=NPY)
    assert response.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(response.text)))
    expected = rows(client.post("/waveform", content=npy(waveforms), headers=NPY))
    assert [row["number_of_s2"] for row in table] == ["1", "2", "2", "0"]
    assert [float(row["separation_us"]) for row in table[:3]] == [row["separation_us"] for row in expected[:3]]
    assert (table[3]["p_two"], table[3]["warnings"], table[0]["time2_us"]) == ("", "empty", "")


@pytest.mark.parametrize(("accept", "magic"), [("image/png", b"\x89PNG"), ("image/svg+xml", b"<?xml")])
def test_a_picture_is_drawn(client: TestClient, accept: str, magic: bytes) -> None:
    response = client.post("/waveform", json={"waveforms": WAVEFORMS.tolist(), "show": [2]}, headers={"Accept": accept})
    assert response.headers["content-type"].startswith(accept)
    assert response.content.startswith(magic)
    if accept.endswith("xml"):
        assert "waveform 2 · 2 S2s" in response.text


def test_some_waveforms_are_drawn_as_small_multiples(client: TestClient) -> None:
    response = client.post("/waveform?format=svg&show=2,0", content=npy(WAVEFORMS), headers=NPY)
    assert response.status_code == 200, response.text
    assert "waveform 2 ·" in response.text
    assert "waveform 0 ·" in response.text
    assert "waveform 1 ·" not in response.text


def test_the_model_that_was_named_answers(client: TestClient) -> None:
    found = client.post("/waveform?model=waveform-other&version=3", content=npy(WAVEFORMS), headers=NPY).json()
    assert found["model"] == {"name": "waveform-other", "version": 3, "alias": None}


@pytest.mark.parametrize("published", [False, True])
def test_gain_baseline_polarity_and_order_change_nothing(published: bool) -> None:
    if published and not (STORE / "waveform-s2").is_dir():
        pytest.skip("the store has no waveform-s2 yet")
    registry = None if published else MemoryRegistry(width_model())
    waveforms = np.concatenate([recorded(d, n=2, seed=int(d)) for d in (0.0, 1.0, 4.0)])
    changes = (lambda x: 1e-3 * x, lambda x: x + 8000.0, lambda x: 300.0 - 7.0 * x, lambda x: x[::-1])
    with TestClient(create_app(Settings(model_store=STORE), registry=registry)) as client:
        plain, *changed = (
            rows(client.post("/waveform", content=npy(change(waveforms)), headers=NPY))
            for change in (lambda x: x, *changes)
        )
    for found in (*changed[:-1], changed[-1][::-1]):
        for name in ("p_two", "separation_us", "sigma_us", "low68_us", "high95_us"):
            np.testing.assert_allclose([r[name] for r in found], [r[name] for r in plain], rtol=1e-3, atol=1e-3)


# --- length -----------------------------------------------------------------------------------------------------------


def test_another_length_is_refused_or_resampled_as_asked(client: TestClient) -> None:
    coarse = light(5.0, samples=2000, period_ns=25.0)
    refused = client.post("/waveform", json={"waveforms": coarse.tolist()})
    assert "resample" in problem(refused)["detail"]
    body = {"waveforms": coarse.tolist(), "length": "resample", "sample_period_ns": 25.0}
    (row,) = rows(client.post("/waveform", json=body))
    assert codes(row) == ["resampled"]
    assert row["separation_us"] == pytest.approx(5.0, abs=0.2)


# --- errors -----------------------------------------------------------------------------------------------------------

X = [0.0] * SAMPLES


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["body", "waveforms"]),
        ({"waveforms": None}, ["body", "waveforms"]),
        ({"waveforms": []}, ["body", "waveforms"]),
        ({"waveforms": "x"}, ["body", "waveforms"]),
        ({"waveforms": [X, X[1:]]}, ["body", "waveforms", 1]),
        ({"waveforms": [X, [*X[1:], True]]}, ["body", "waveforms", 1, SAMPLES - 1]),
        ({"waveforms": [X, [*X[1:], None]]}, ["body", "waveforms", 1, SAMPLES - 1]),
        ({"waveforms": [[X]]}, ["body", "waveforms"]),
        ({"waveforms": X, "wavelength": 1}, ["body", "wavelength"]),
        ({"waveforms": X, "prior_two": 1}, ["body", "prior_two"]),
        ({"waveforms": X, "prior_two": True}, ["body", "prior_two"]),
        ({"waveforms": X, "pulses": 1}, ["body", "pulses"]),
        ({"waveforms": X, "length": "cut"}, ["body", "length"]),
        ({"waveforms": X, "sample_period_ns": 0}, ["body", "sample_period_ns"]),
        ({"waveforms": X, "drift_time_us": 0}, ["body", "drift_time_us", "all"]),
        ({"waveforms": X, "drift_time_us": [5, 6]}, ["body", "drift_time_us"]),
        ({"waveforms": X, "drift_time_us": ["5"]}, ["body", "drift_time_us", "each", 0]),
        ({"waveforms": X, "detector": "none"}, ["body", "detector"]),
        ({"waveforms": X, "detector": {"gas_gap": 1}}, ["body", "detector", "settings", "gas_gap"]),
        ({"waveforms": X, "detector": {"drift_min_us": 9e4}}, ["body", "detector"]),
        ({"waveforms": X, "show": [0] * 13}, ["body", "show"]),
        ({"waveforms": X, "model": "../x"}, ["body", "model"]),
        ({"waveforms": X, "version": "a b"}, ["body", "version"]),
        ({"inputs": [], "waveforms": X}, ["body", "inputs"]),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}, ["body", "inputs"]),
        (
            {
                "inputs": [{"name": "waveforms", "shape": [SAMPLES], "datatype": "FP32", "data": X}],
                "parameters": {"a": 1},
            },
            ["body", "parameters", "a"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(client: TestClient, body: dict[str, Any], where: list[Any]) -> None:
    assert place(client.post("/waveform", json=body)) == where


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(client: TestClient, bad: float) -> None:
    waveforms = WAVEFORMS.copy()
    waveforms[1, 17] = bad
    response = client.post("/waveform", content=npy(waveforms), headers=NPY)
    assert place(response) == ["body", 1, 17]
    assert "waveform 1, sample 17" in response.json()["detail"]
    in_json = client.post(
        "/waveform", content=json.dumps({"waveforms": waveforms.tolist()}), headers={"Content-Type": "application/json"}
    )
    assert place(in_json) == ["body", "waveforms", 1, 17]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", NPY, 422),
        (b"x", NPY, 415),
        (npy(WAVEFORMS)[:-1], NPY, 422),
        (npy(np.zeros((3, 3, SAMPLES), "u1")), NPY, 422),
        (npy(np.array(["x"])), NPY, 415),
        (npy(np.zeros((201, SAMPLES), "u1")), NPY, 413),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b"[]", {"Content-Type": "application/json"}, 422),
        (b"a,b", {"Content-Type": "text/csv"}, 415),
        (b"", {}, 415),
    ],
)
def test_a_body_that_is_none_is_a_problem(
    client: TestClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    problem(client.post("/waveform", content=content, headers=headers), status)


def test_a_body_beyond_the_limit_is_not_read() -> None:
    settings = Settings(max_upload_bytes=10_000)
    with TestClient(create_app(settings, registry=MemoryRegistry(width_model()))) as client:
        problem(client.post("/waveform", content=npy(WAVEFORMS), headers=NPY), 413)


def test_options_in_the_query_beside_json_are_refused(client: TestClient) -> None:
    assert place(client.post("/waveform?pulses=true", json={"waveforms": X})) == ["query", "pulses"]
    assert client.post("/waveform?format=csv", json={"waveforms": X}).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [("model=none", 404), ("version=9", 404), ("model=d3", 422), ("show=3&format=png", 422), ("format=pdf", 422)],
)
def test_what_is_not_there_is_told(client: TestClient, query: str, status: int) -> None:
    problem(client.post(f"/waveform?{query}", content=npy(WAVEFORMS), headers=NPY), status)


def test_a_form_that_nobody_draws_is_not_acceptable(client: TestClient) -> None:
    problem(client.post("/waveform", json={"waveforms": X}, headers={"Accept": "text/html"}), 406)


# --- files ------------------------------------------------------------------------------------------------------------


def npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def hdf5(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"entry/{name}", data=array)
    return content.getvalue()


D = np.array([0.0, 2.0, 5.0])


@pytest.mark.parametrize("write", [npz, hdf5])
def test_the_waveforms_of_a_file_are_found_beside_their_separations(client: TestClient, write: Any) -> None:
    found = client.post("/waveform/file", files={"file": ("set", write(x=WAVEFORMS, d=D))})
    assert rows(found) == rows(client.post("/waveform", content=npy(WAVEFORMS), headers=NPY))


@pytest.mark.parametrize(("write", "name"), [(npz, "y"), (hdf5, "entry/y"), (hdf5, "/entry/y")])
def test_one_of_several_arrays_is_named(client: TestClient, write: Any, name: str) -> None:
    content = write(x=WAVEFORMS, y=WAVEFORMS[:1])
    assert "dataset" in problem(client.post("/waveform/file", content=content))["detail"]
    assert len(rows(client.post("/waveform/file", params={"dataset": name}, content=content))) == 1
    problem(client.post("/waveform/file?dataset=none", content=content))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"text", 415),
        (npy(np.array(1.0)), 422),
        (npz(x=WAVEFORMS)[:200], 422),
        (hdf5(x=WAVEFORMS)[:300], 422),
        (hdf5(x=np.array([b"text"])), 422),
        (npz(x=np.zeros((300, SAMPLES))), 413),
        (hdf5(x=np.zeros((300, SAMPLES))), 413),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(client: TestClient, content: bytes, status: int) -> None:
    problem(client.post("/waveform/file", content=content), status)


def test_an_hdf5_file_that_points_elsewhere_is_refused(client: TestClient, tmp_path: Any) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(SAMPLES))
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        file.create_dataset("x", (1, SAMPLES), "u1", external=[(str(tmp_path / "secret.raw"), 0, SAMPLES)])
    assert "another file" in problem(client.post("/waveform/file", content=content.getvalue()))["detail"]


def test_a_form_holds_one_file(client: TestClient) -> None:
    problem(client.post("/waveform/file", files={"upload": ("a.npy", npy(WAVEFORMS))}))
    problem(client.post("/waveform/file", json={"waveforms": X}), 415)


def test_every_example_of_the_docs_is_answered(client: TestClient) -> None:
    content = client.get("/openapi.json").json()["paths"]["/waveform"]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        (row,) = rows(client.post("/waveform", json=example["value"]))
        assert row["number_of_s2"] == 2
        assert row["separation_us"] == pytest.approx(3.0, abs=0.3)
