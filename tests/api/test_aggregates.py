"""What `/aggregates` answers for patterns in every form, with a model that is a formula."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.aggregates.models import HEADS, NETWORK_FAMILY, Rules, aggregate_model, rules_to_json
from app.aggregates.setting import COUNTS
from app.api import aggregates
from app.api.aggregates_schema import EXAMPLES, AggregatesAnswer
from app.main import create_app
from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import ModelDraft, TensorSpec, manifest_from_draft
from app.settings import Settings
from tests.aggregates.fake_model import FormulaModel, OneModel
from tests.aggregates.image_files import cxi, hdf5_of, npy, npz, png, tiff
from tests.api.test_problems import assert_problem
from tests.polarization_models import MemoryRegistry

URL = "/aggregates"
FILE = "/aggregates/file"
RNG = np.random.default_rng(11)
STACK = RNG.poisson(5.0, (3, 64, 64)).astype(np.uint16)
ONE = STACK[0]
DECLARED = {"radius_px": 5.0, "beam_stop_px": 3.0, "centre_px": [32.0, 31.5]}
QUERY = {"radius_px": 5.0, "beam_stop_px": 3.0, "centre_px": "32,31.5"}
BAD = np.zeros((64, 64), np.uint8)
BAD[30:34, 30:34] = 1


@pytest.fixture(scope="module")
def formula() -> FormulaModel:
    return FormulaModel()


@pytest.fixture(scope="module")
def client(formula: FormulaModel) -> Iterator[TestClient]:
    settings = Settings(max_images=5, max_upload_bytes=2_000_000)
    with pytest.MonkeyPatch.context() as patch, TestClient(create_app(settings, registry=OneModel(formula))) as client:
        patch.setattr(aggregates, "aggregate_model", lambda loaded: loaded)
        yield client


@pytest.fixture
def model(formula: FormulaModel) -> FormulaModel:
    """The model without memory of earlier tests."""
    formula.settings.clear()
    return formula


def answered(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    AggregatesAnswer.model_validate_json(response.content)
    return response.json()


def as_json(client: TestClient, patterns: Any = None, **changes: Any) -> Any:
    content = {"patterns": ONE.tolist() if patterns is None else patterns} | DECLARED | changes
    return client.post(URL, json={key: value for key, value in content.items() if value is not None})


def raw(client: TestClient, content: bytes, media_type: str, url: str = URL, **changes: Any) -> Any:
    query = {key: value for key, value in (QUERY | changes).items() if value is not None}
    return client.post(url, content=content, params=query, headers={"Content-Type": media_type})


def upload(client: TestClient, content: bytes, mask: bytes | None = None, **changes: Any) -> Any:
    files = {"file": ("pattern.dat", content)} | ({} if mask is None else {"mask": ("mask.dat", mask)})
    query = {key: value for key, value in (QUERY | changes).items() if value is not None}
    return client.post(FILE, files=files, params=query)


def patterns_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return answer["patterns"]


def _base64(values: np.ndarray, described: bool) -> dict[str, Any]:
    if not described:
        return {"data_base64": base64.b64encode(npy(values)).decode()}
    return {
        "data_base64": base64.b64encode(values.tobytes()).decode(),
        "dtype": values.dtype.name,
        "shape": list(values.shape),
    }


# --- forms ------------------------------------------------------------------------------------------------------------


def test_the_same_pattern_gives_the_same_answer_in_every_form(client: TestClient) -> None:
    expected = patterns_of(answered(as_json(client)))
    forms = {
        "base64": as_json(client, _base64(ONE, True)),
        "base64 of an .npy": as_json(client, _base64(ONE, False)),
        "stack of one": as_json(client, STACK[:1].tolist()),
        "npy": raw(client, npy(ONE), "application/x-npy"),
        "npy, float": raw(client, npy(ONE.astype(np.float32)), "application/x-npy"),
        "npz": raw(client, npz(data=ONE), "application/octet-stream"),
        "TIFF": raw(client, tiff(ONE), "image/tiff"),
        "PNG": raw(client, png(ONE), "image/png"),
        "CXI": raw(client, cxi(ONE), "application/x-hdf5"),
        "form, npy": upload(client, npy(ONE)),
        "form, TIFF": upload(client, tiff(ONE)),
        "file as the body": raw(client, png(ONE), "application/octet-stream", FILE),
    }
    for name, response in forms.items():
        assert patterns_of(answered(response)) == expected, name


def test_open_inference(client: TestClient) -> None:
    expected = patterns_of(answered(as_json(client, STACK.tolist())))
    tensor = {"name": "patterns", "shape": list(STACK.shape), "datatype": "UINT16"}
    centre = {"name": "centre_px", "shape": [2], "datatype": "FP64", "data": DECLARED["centre_px"]}
    parameters = {"radius_px": 5.0, "beam_stop_px": 3.0}
    plain = {"inputs": [{**tensor, "data": STACK.ravel().tolist()}, centre], "parameters": parameters}
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": STACK.nbytes}}, centre],
            "parameters": parameters,
        }
    ).encode()
    binary = client.post(
        URL,
        content=head + STACK.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    for response in (client.post(URL, json=plain), binary):
        assert response.status_code == 200, response.text
        outputs = {output["name"]: output for output in response.json()["outputs"]}
        assert outputs["count"]["data"] == [one["count"] for one in expected]
        assert np.reshape(outputs["probability"]["data"], (3, 5)).tolist() == [one["probability"] for one in expected]


def test_a_batch_is_its_members(client: TestClient) -> None:
    together = patterns_of(answered(as_json(client, STACK.tolist(), centre_px=None)))
    assert [one["index"] for one in together] == [0, 1, 2]
    for number, one in enumerate(together):
        (alone,) = patterns_of(answered(as_json(client, STACK[number].tolist(), centre_px=None)))
        assert alone["count"] == one["count"]
        assert alone["probability"] == pytest.approx(one["probability"])
        assert alone["centre_px"] == pytest.approx(one["centre_px"])


def test_a_part_of_a_file(client: TestClient) -> None:
    whole = patterns_of(answered(upload(client, tiff(STACK))))
    assert patterns_of(answered(upload(client, tiff(STACK), first=1, count=1))) == whole[1:2]


def test_a_dataset_of_a_file(client: TestClient) -> None:
    content = hdf5_of({"/run/frames": STACK, "/run/dark": STACK * 0 + 7})
    problem = assert_problem(upload(client, content), "invalid-input")
    assert "'/run/dark', '/run/frames'" in str(problem["detail"])
    assert problem["errors"][0]["loc"] == ["body", "file"]
    found = answered(upload(client, content, dataset="/run/frames"))
    assert found["source"] == "HDF5 dataset /run/frames"
    assert patterns_of(found) == patterns_of(answered(upload(client, npy(STACK))))


@pytest.mark.parametrize("marks", ["bad", "good"])
def test_masks_in_every_form(client: TestClient, marks: str) -> None:
    mask = BAD if marks == "bad" else 1 - BAD
    expected = patterns_of(answered(as_json(client, mask=mask.tolist(), mask_marks=marks)))
    assert expected[0]["measured"] == pytest.approx(1 - 16 / 4096)
    forms = {
        "base64": as_json(client, mask=_base64(mask.astype(bool), True), mask_marks=marks),
        "form": upload(client, npy(ONE), npy(mask), mask_marks=marks),
        "form, PNG": upload(client, npy(ONE), png(mask), mask_marks=marks),
        "npz": upload(client, npz(data=ONE, mask=mask), mask_marks=marks),
        "HDF5": upload(client, hdf5_of({"/a": ONE, "/m": mask}), dataset="/a", mask_dataset="m", mask_marks=marks),
    }
    for name, response in forms.items():
        assert patterns_of(answered(response)) == expected, name


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer(client: TestClient) -> None:
    found = answered(as_json(client))
    (one,) = patterns_of(found)
    assert sum(one["probability"]) == pytest.approx(1.0)
    assert one["count"] == one["most_probable"] == 1 + int(np.argmax(one["probability"]))
    assert not one["abstained"]
    assert one["photons"] == ONE.sum()
    assert one["centre_px"] == [32.0, 31.5]
    assert found["model"] == {"name": "aggregates-count", "version": 3, "alias": "stable"}
    assert found["setting"]["radius_px"] == 5.0


def test_nothing_is_said_of_what_the_model_does_not_know(client: TestClient) -> None:
    bright = STACK.astype(float)
    bright[1] *= 100
    bright[2] = 0
    first, second, third = patterns_of(answered(as_json(client, bright.tolist())))
    assert first["count"] is not None
    assert (second["count"], second["abstained"], second["reasons"]) == (None, True, ["too bright by far"])
    assert third["count"] is None
    assert "0 photons" in third["reasons"][0]
    assert sum(second["probability"]) == pytest.approx(1.0)


def test_the_geometry_is_the_radius(client: TestClient, model: FormulaModel) -> None:
    geometry = {
        "particle_radius_nm": 35.0,
        "photon_energy_ev": 1200.0,
        "detector_distance_mm": 650.0,
        "pixel_um": 750.0,
        "particle": "sphere",
    }
    answered(as_json(client, radius_px=None, **geometry))
    answered(raw(client, npy(ONE), "application/x-npy", radius_px=None, **geometry))
    wavelength_nm = 1239.841984 / 1200.0
    expected = 128 * 35.0 * 0.75 / (wavelength_nm * 650.0)
    assert [setting.radius_px for setting in model.settings] == pytest.approx([expected] * 2)
    assert model.settings[0].particle == "sphere"


def test_a_large_detector_is_binned(client: TestClient, model: FormulaModel) -> None:
    large = np.kron(ONE, np.ones((4, 4), np.uint16))
    found = answered(upload(client, npy(large), radius_px=1.25, beam_stop_px=12, centre_px="129.5,129.5"))
    assert found["setting"]["binning"] == 4
    assert patterns_of(found)[0]["photons"] == large.sum()
    assert patterns_of(found)[0]["beam_stop_px"] == 12.0
    assert model.settings[0].beam_stop_px == 3.0


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_answered(client: TestClient, example: str) -> None:
    answered(client.post(URL, json=EXAMPLES[example]["value"]))


def test_a_table(client: TestClient) -> None:
    response = client.post(URL, json={"patterns": STACK.tolist()} | DECLARED, headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    expected = patterns_of(answered(as_json(client, STACK.tolist())))
    assert [int(row["count"]) for row in rows] == [one["count"] for one in expected]
    assert [float(row["p3"]) for row in rows] == pytest.approx([one["probability"][2] for one in expected], rel=1e-3)


@pytest.mark.parametrize(("form", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_pictures(client: TestClient, form: str, begin: bytes) -> None:
    response = upload(client, npy(STACK), format=form)
    assert response.status_code == 200, response.text
    assert response.content.startswith(begin)


# --- problems ---------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str, list[Any], str]] = {
    "no patterns": ({"patterns": None}, "invalid-input", ["body", "patterns"], "patterns is missing"),
    "unknown field": ({"radius": 5.0}, "invalid-input", ["body", "radius"], "Extra inputs"),
    "no radius": ({"radius_px": None}, "invalid-input", ["body", "radius_px"], "give radius_px, or"),
    "radius below 0": ({"radius_px": -1.0}, "invalid-input", ["body", "radius_px"], "greater than 0"),
    "a text": ({"patterns": [["a"] * 64] * 64}, "invalid-input", ["body", "patterns", 0, 0], "is a text"),
    "ragged": ({"patterns": [[1.0] * 64] * 63 + [[1.0]]}, "invalid-input", ["body", "patterns", 63], "1 values"),
    "one axis": ({"patterns": [1.0] * 64}, "invalid-input", ["body", "patterns"], "1 axes"),
    "too many": ({"patterns": np.ones((6, 8, 8)).tolist()}, "too-large", ["body", "patterns"], "at most 5"),
    "centre": ({"centre_px": [64.0, 1.0]}, "invalid-input", ["body", "centre_px"], "outside"),
    "mask": ({"mask": [[0.0] * 64] * 63}, "invalid-input", ["body", "mask"], "mask has the shape"),
    "all masked": ({"mask": [[1.0] * 64] * 64}, "invalid-input", ["body", "mask"], "mask_marks"),
    "no such model": ({"model": "nothing"}, "not-found", [], "no model"),
    "another job": ({"model": "another-job"}, "invalid-input", [], "another family"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(client: TestClient, name: str) -> None:
    changes, kind, where, words = WRONG[name]
    content = {"patterns": ONE.tolist()} | DECLARED | changes
    problem = assert_problem(client.post(URL, json={k: v for k, v in content.items() if v is not None}), kind)
    assert words in str(problem["detail"])
    if where:
        assert problem["errors"][0]["loc"] == where


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_numbers_that_are_none(client: TestClient, number: str) -> None:
    text = json.dumps({"patterns": ONE.tolist()} | DECLARED).replace("[[", f"[[{number},", 1)
    assert_problem(client.post(URL, content=text), "invalid-input")


def test_what_is_wrong_with_a_file_is_told(client: TestClient) -> None:
    assert_problem(upload(client, b"no image"), "unsupported-format")
    assert_problem(upload(client, npy(STACK)[:-5]), "invalid-input")
    assert_problem(upload(client, npy(np.ones((6, 8, 8)))), "too-large")
    problem = assert_problem(upload(client, npy(ONE), b"GIF89a"), "unsupported-format")
    assert problem["errors"][0]["loc"] == ["body", "mask"]
    problem = assert_problem(upload(client, npy(ONE), centre_px="99,1"), "invalid-input")
    assert problem["errors"][0]["loc"] == ["query", "centre_px"]
    assert_problem(upload(client, npy(ONE), centre_px="a,b"), "invalid-input")
    assert_problem(upload(client, npy(ONE), nothing=1), "invalid-input")
    assert_problem(client.post(FILE, files={"file": (None, "text")}, params=QUERY), "invalid-input")
    assert_problem(client.post(FILE, files={"files": b"x"}, params=QUERY), "invalid-input")
    assert_problem(client.post(FILE, json={}), "unsupported-format")
    assert_problem(raw(client, b"", "application/x-npy"), "invalid-input")
    assert_problem(raw(client, npy(ONE), "text/plain"), "unsupported-format")
    assert_problem(raw(client, npy(ONE) + bytes(2_000_000), "application/x-npy"), "too-large")


def test_options_in_the_query_beside_json_are_not_passed_over(client: TestClient) -> None:
    content = {"patterns": ONE.tolist()} | DECLARED
    problem = assert_problem(client.post(URL, json=content, params={"radius_px": 4}), "invalid-input")
    assert problem["errors"][0]["loc"] == ["query", "radius_px"]
    assert client.post(URL, json=content, params={"format": "csv"}).status_code == 200


def test_a_model_of_the_store_is_asked_as_its_family_says(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = np.zeros(HEADS, np.float32)
    heads[2] = heads[len(COUNTS)] = 9.0  # three particles, and the pattern fits
    rules = Rules(1.0, 0.5, 0.5, 0.5, (4.0, 6.0), (0.0, 0.3))
    draft = ModelDraft(
        name="aggregates-count",
        family=NETWORK_FAMILY,
        description="a constant",
        inputs=(TensorSpec(name="maps", shape=(None, 63, 32, 4)),),
        outputs=(TensorSpec(name="heads", shape=(None, HEADS)),),
        parameters=rules_to_json(rules),  # type: ignore[arg-type]
    )
    manifest = manifest_from_draft(draft, version=2, created=datetime(2030, 1, 1, tzinfo=UTC), files={})
    loaded = LoadedModel(manifest, lambda inputs: {"heads": np.tile(heads, (len(inputs["maps"]), 1))}, {})
    with TestClient(create_app(Settings(), registry=MemoryRegistry(loaded))) as client:
        monkeypatch.setattr(aggregates, "aggregate_model", aggregate_model)
        found = answered(as_json(client))
        assert patterns_of(found)[0]["count"] == 3
        assert found["model"]["version"] == 2
        assert patterns_of(found)[0]["seen_radius_px"] == pytest.approx(5.0)
        refused = patterns_of(answered(as_json(client, radius_px=8.0)))[0]
        assert refused["count"] is None
        assert "4 to 6 px" in refused["reasons"][0]


def test_a_model_that_says_nonsense(client: TestClient, model: FormulaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = model.classify

    def nonsense(*arguments: Any) -> Any:
        found = sound(*arguments)
        found.probability[0, 0] = np.nan
        return found

    monkeypatch.setattr(model, "classify", nonsense)
    assert_problem(as_json(client), "model-output-invalid")


def test_the_endpoints_are_documented(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    bodies = paths[URL]["post"]["requestBody"]["content"]
    assert {"application/json", "application/x-npy", "image/tiff", "image/png", "application/x-hdf5"} <= set(bodies)
    form = paths[FILE]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"file", "mask"}
    assert {"200", "406", "413", "415", "422"} <= set(paths[URL]["post"]["responses"])
