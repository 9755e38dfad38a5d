"""What `/polarization/predict` answers, with models made by hand."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.polarization_schema import EXAMPLES, FileAnswer, PredictAnswer
from app.main import create_app
from app.settings import Settings
from tests.api.test_problems import assert_problem
from tests.polarization_models import all_models

URL = "/polarization/predict"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(max_experiments=20, max_times=500), registry=all_models())) as client:
        yield client


def body(**changes: Any) -> dict[str, Any]:
    """One experiment in seconds; `changes` replace fields of the experiment, None removes them."""
    experiment: dict[str, Any] = {
        "material": "crystalline",
        "polarizer": {"cell_id": "ge18004", "pressure_bar": 2.3, "lab_polarization": 0.78, "lab_time_s": -1800.0},
        "initial": {"polarization": 0.848, "sigma": 0.0021},
        "final": {"time_s": 86400.0, "polarization": 0.792, "sigma": 0.0024},
        "predict_at": {"times_s": [0.0, 43200.0, 86400.0]},
        **changes,
    }
    return {"experiments": [{key: value for key, value in experiment.items() if value is not None}]}


def dated(zone: str = "") -> dict[str, Any]:
    experiment = copy.deepcopy(EXAMPLES["one decay"]["value"]["experiments"][0])
    for part, name in (("polarizer", "lab_time"), ("initial", "time"), ("final", "time")):
        experiment[part][name] += zone
    return {"experiments": [experiment]}


def answered(client: TestClient, asked: dict[str, Any]) -> dict[str, Any]:
    response = client.post(URL, json=asked)
    assert response.status_code == 200, response.text
    PredictAnswer.model_validate_json(response.content)
    return response.json()["experiments"][0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_work_and_fit_the_documented_answer(client: TestClient, name: str) -> None:
    found = answered(client, EXAMPLES[name]["value"])
    assert found["warnings"] == [] or name == "no final calibration yet"


def test_the_curve_meets_the_calibrations(client: TestClient) -> None:
    found = answered(client, body())
    assert [found["polarization"][i] for i in (0, -1)] == pytest.approx([0.848, 0.792])
    assert [found["polarization_sigma"][i] for i in (0, -1)] == pytest.approx([0.0021, 0.0024])
    assert found["models"] == [{"name": "polarization-crystalline", "version": 1, "alias": "stable"}]
    assert found["time"] is None
    p = found["polarization"][1]
    assert found["flipping_ratio"][1] == pytest.approx((1 + p) / (1 - p))


def test_a_grid_counts_from_the_calibrations(client: TestClient) -> None:
    found = answered(client, body(predict_at={"start_s": -600.0, "stop_s": 1200.0, "step_s": 43500.0}))
    assert found["time_s"] == [-600.0, 42900.0, 86400.0]
    assert [warning["code"] for warning in found["warnings"]] == ["before-initial"]
    whole = answered(client, body(predict_at={"step_s": 43200.0}))
    assert whole["time_s"] == [0.0, 43200.0, 86400.0]
    assert len(answered(client, body(predict_at=None))["time_s"]) == 101


def test_calibrations_at_one_time_are_one_point(client: TestClient) -> None:
    found = answered(client, body(final={"time_s": 0.0, "polarization": 0.84, "sigma": 0.002}, predict_at=None))
    assert found["time_s"] == [0.0]
    assert [warning["code"] for warning in found["warnings"]] == ["anchors-coincide"]


def test_date_times_and_seconds_say_the_same(client: TestClient) -> None:
    in_dates = answered(client, dated())
    experiment = dated()["experiments"][0]
    in_seconds = body(
        polarizer={**body()["experiments"][0]["polarizer"], "lab_time_s": -33 * 60.0},
        initial={k: v for k, v in experiment["initial"].items() if k != "time"},
        predict_at=experiment["predict_at"],
        threshold_polarization=0.7,
    )
    found = answered(client, in_seconds)
    assert found["polarization"] == in_dates["polarization"]
    assert in_dates["time"][0] == "2025-06-06T15:48:00"
    assert in_dates["anchors"][1]["time"] == "2025-06-07T15:48:00"
    crossing = in_dates["threshold"]
    seconds = (datetime.fromisoformat(crossing["time"]) - datetime.fromisoformat(in_dates["time"][0])).total_seconds()
    assert seconds == pytest.approx(crossing["time_s"], abs=1)
    assert crossing["earliest"] < crossing["time"] < crossing["latest"]


def test_a_zone_is_answered_in_utc(client: TestClient) -> None:
    found = answered(client, dated("+02:00"))
    assert found["time"][0] == found["anchors"][0]["time"] == "2025-06-06T13:48:00Z"
    assert found["threshold"]["time"].endswith("Z")
    assert found["polarization"] == answered(client, dated())["polarization"]


def test_flipping_ratios_are_polarizations(client: TestClient) -> None:
    ratio, sigma = (1 + 0.848) / (1 - 0.848), 2 * 0.0021 / (1 - 0.848) ** 2
    found = answered(client, body(initial={"flipping_ratio": ratio, "flipping_ratio_sigma": sigma}))
    assert found["anchors"][0]["polarization"] == pytest.approx(0.848)
    assert found["anchors"][0]["sigma"] == pytest.approx(0.0021)
    assert found["polarization"] == pytest.approx(answered(client, body())["polarization"])


def test_many_experiments_of_both_materials_keep_their_order(client: TestClient) -> None:
    amorphous = EXAMPLES["amorphous, flipping ratios"]["value"]["experiments"][0]
    experiments = [body()["experiments"][0], amorphous, body(threshold_polarization=0.5)["experiments"][0], amorphous]
    response = client.post(URL, json={"experiments": experiments})
    together = response.json()["experiments"]
    assert [one["material"] for one in together] == ["crystalline", "amorphous"] * 2
    for one, experiment in zip(together, experiments, strict=True):
        alone = answered(client, {"experiments": [experiment]})
        assert one["polarization"] == pytest.approx(alone["polarization"], abs=1e-12)
        assert one["models"] == alone["models"]


def test_an_ensemble_names_its_members(client: TestClient) -> None:
    names = ["d3-crystalline-a", "d3-crystalline-b"]
    ensemble = answered(client, {**body(), "model": "ensemble"})
    assert [model["name"] for model in ensemble["models"]] == names
    assert ensemble["polarization"] == answered(client, {**body(), "model": names})["polarization"]
    assert ensemble["polarization"][0] == pytest.approx(0.848)


def test_a_number_names_a_version(client: TestClient) -> None:
    assert answered(client, {**body(), "version": "1"})["models"][0]["alias"] is None
    assert_problem(client.post(URL, json={**body(), "version": "9"}), "not-found")


# --- representations --------------------------------------------------------------------------------------------------


def test_csv_has_the_columns_of_d3(client: TestClient) -> None:
    response = client.post(URL, json=dated(), headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["vary"] == "Accept"
    header, first, *_ = response.text.splitlines()
    assert header == "GridTime,Time,PredictedPolarizationD3,ErrPredictedPolarizationD3"
    assert first == "0.0,2025-06-06T15:48:00,0.848,0.0021"
    seconds = client.post(URL, json=body(), headers={"Accept": "text/csv"}).text.splitlines()[2].split(",")
    assert seconds[0] == seconds[1] == "43200.0"


def test_csv_of_several_experiments_names_them(client: TestClient) -> None:
    named = body(name='a, "b"')["experiments"][0]
    response = client.post(URL, json={"experiments": [named, body()["experiments"][0]]}, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["Experiment"] for row in rows] == ['a, "b"'] * 3 + ["2"] * 3


@pytest.mark.parametrize(
    ("accept", "begin"),
    [("image/png", b"\x89PNG"), ("image/svg+xml", b"<?xml"), ("text/html;q=0.9, image/*", b"\x89PNG")],
)
def test_a_picture_is_drawn(client: TestClient, accept: str, begin: bytes) -> None:
    response = client.post(URL, json=dated(), headers={"Accept": accept})
    assert response.status_code == 200
    assert response.content.startswith(begin)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8"),
        ("application/*, text/csv;q=0.9", "application/json"),
        ("*/*;q=0.1, application/json;q=0", "text/csv; charset=utf-8"),
        ("text/csv;q=x, */*", "application/json"),
    ],
)
def test_the_most_wanted_representation_is_sent(client: TestClient, accept: str, media_type: str) -> None:
    assert client.post(URL, json=body(), headers={"Accept": accept}).headers["content-type"] == media_type


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "nonsense"])
def test_other_representations_are_a_problem(client: TestClient, accept: str) -> None:
    problem = assert_problem(client.post(URL, json=body(), headers={"Accept": accept}), "not-acceptable")
    assert "text/csv" in problem["available"]  # type: ignore[operator]


# --- wrong questions --------------------------------------------------------------------------------------------------

CALIBRATION = {"time_s": 10.0, "polarization": 0.8, "sigma": 0.01}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt field": (body(finall=CALIBRATION), "finall"),
    "a boolean": (body(initial={"polarization": True, "sigma": 0.01}), "initial.polarization"),
    "sigma of zero": (body(initial={"polarization": 0.8, "sigma": 0.0}), "initial.sigma"),
    "a polarization above one": (body(initial={"polarization": 1.01, "sigma": 0.1}), "initial.polarization"),
    "no sigma": (body(initial={"polarization": 0.8}), "flipping_ratio_sigma"),
    "polarization and ratio": (
        body(initial={"polarization": 0.8, "sigma": 0.01, "flipping_ratio": 9.0, "flipping_ratio_sigma": 0.1}),
        "either",
    ),
    "final before initial": (body(final={**CALIBRATION, "time_s": -1.0}), "exchange"),
    "final without time": (body(final={"polarization": 0.8, "sigma": 0.01}), "exactly one of time and time_s"),
    "initial not at zero": (body(initial=CALIBRATION), "is at 0 itself"),
    "amorphous without analyser": (body(material="amorphous"), "give `analyser`"),
    "crystalline with analyser": (body(analyser={"cell_id": "a", "pressure_bar": 1.0}), "leave `analyser` out"),
    "two ways of asking": (body(predict_at={"times_s": [0.0], "step_s": 5.0}), "exactly one of"),
    "start without step": (body(predict_at={"times_s": [0.0], "start_s": 5.0}), "give step_s"),
    "an empty grid": (body(predict_at={"start_s": 90_000.0, "stop_s": 0.0, "step_s": 5.0}), "exchange start"),
    "a grid without its end": (body(final=None, predict_at={"step_s": 600.0}), "counts from the final"),
    "nowhere to predict": (body(final=None, predict_at=None), "say where to predict"),
    "dates on a clock without date": (body(final={**CALIBRATION, "time": "2025-06-06T15:00:00"}), "exactly one"),
    "a date beside seconds": (
        body(predict_at={"times": ["2025-06-06T15:00:00"]}),
        "initial.time",
    ),
    "a cell id with a path": (
        body(polarizer={"cell_id": "../x", "pressure_bar": 2.0, "lab_polarization": 0.7, "lab_time_s": 0.0}),
        "cell_id",
    ),
    "zones mixed": (
        {"experiments": [*dated()["experiments"], *dated("Z")["experiments"]]},
        "some date-times have a time zone",
    ),
    "a year out of reach": (
        body(predict_at={"times": ["0001-01-01T00:00:00"]}),
        "between 1950 and 2200",
    ),
    "no experiment": ({"experiments": []}, "experiments"),
    "threshold of one": (body(threshold_polarization=1.0), "threshold_polarization"),
    "a network without final": ({**body(final=None), "model": "d3-crystalline-a"}, "needs an initial and a later"),
    "a model of the other material": ({**body(), "model": "polarization-amorphous"}, "is for amorphous set-ups"),
    "a model twice": ({**body(), "model": ["d3-crystalline-a"] * 2}, "given twice"),
    "a number for several": ({**body(), "model": "ensemble", "version": "3"}, "alias"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_question_is_told_what_to_mend(client: TestClient, name: str) -> None:
    asked, hint = WRONG[name]
    problem = assert_problem(client.post(URL, json=asked), "invalid-input")
    assert hint in str(problem["detail"]) + str(problem.get("errors"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"0.8"', "null"])
def test_no_number_is_no_polarization(client: TestClient, value: str) -> None:
    text = json.dumps(body()).replace("0.848", value)
    response = client.post(URL, content=text, headers={"Content-Type": "application/json"})
    assert_problem(response, "invalid-input")


def test_the_experiment_is_named_by_its_index(client: TestClient) -> None:
    good = body()["experiments"][0]
    early = body(final={**CALIBRATION, "time_s": -1.0})["experiments"][0]
    amorphous = EXAMPLES["amorphous, flipping ratios"]["value"]["experiments"][0]
    for asked in (
        {"experiments": [good, good, early]},
        {"experiments": [good, amorphous, {**good, "initial": {"polarization": 2.0, "sigma": 1.0}}]},
        {"experiments": [good, good, amorphous], "model": "polarization-crystalline"},
    ):
        problem = assert_problem(client.post(URL, json=asked), "invalid-input")
        (error,) = problem["errors"]  # type: ignore[misc]
        assert error["loc"][:3] == ["body", "experiments", 2]


def test_limits_are_kept(client: TestClient) -> None:
    for asked in (
        {"experiments": body()["experiments"] * 21},
        body(predict_at={"step_s": 1e-3}),
        body(predict_at={"times_s": [0.0] * 501}),
        {"experiments": body(predict_at={"times_s": [0.0] * 300})["experiments"] * 2},
    ):
        assert_problem(client.post(URL, json=asked), "too-large")


def test_models_that_are_not_there(client: TestClient) -> None:
    assert_problem(client.post(URL, json={**body(), "model": "no-such"}), "not-found")
    assert_problem(client.post(URL, json={**body(), "model": "../x"}), "invalid-input")
    assert_problem(client.post(URL, json={**body(), "model": "ensemble", "version": "latest"}), "not-found")


def test_every_field_is_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("ExperimentIn", "PolarizerIn", "PredictAtIn", "LaterIn", "ExperimentOut", "ThresholdOut"):
        for field, schema in schemas[name]["properties"].items():
            told = "description" in schema or "$ref" in schema or "const" in schema or "enum" in schema
            told = told or any("$ref" in option for option in schema.get("anyOf", [])) or "items" in schema
            assert told, f"{name}.{field}"


def test_the_published_models_answer() -> None:
    """End to end: the models that are shipped, as the service loads them."""
    store = REPOSITORY / "model_store"
    if not (store / "polarization-crystalline").is_dir():
        pytest.skip("no published model in model_store/")
    with TestClient(create_app(Settings(model_store=store))) as client:
        for example in EXAMPLES.values():
            found = answered(client, example["value"])
            assert found["models"][0]["alias"] == "stable"
            assert all(0 < p < 1 for p in found["polarization"])
        found = answered(client, body())
        assert [found["polarization"][i] for i in (0, -1)] == pytest.approx([0.848, 0.792])
        assert 60 < found["t1_h"] < 250


def test_the_answer_for_files_is_documented(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    for path in (URL, URL + "/file"):
        responses = openapi["paths"][path]["post"]["responses"]
        own = {"200", "400", "404", "406", "413", "415", "422", "500", "503"}
        assert set(responses) == own | {"401", "403", "429"}  # and those of the gate
        assert set(responses["200"]["content"]) == {"application/json", "text/csv", "image/png", "image/svg+xml"}
    assert FileAnswer.__name__ in openapi["components"]["schemas"]
