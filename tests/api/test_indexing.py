"""What `/indexing/solve` and its batch answer, with a solver that answers at once in real worker processes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import gemmi
import pytest
from fastapi.testclient import TestClient

from app.api.indexing_schema import EXAMPLES, SolveAnswer, SolveProgress
from tests.api.indexing_client import serving
from tests.api.test_problems import assert_problem
from tests.indexing_fakes import BROKEN_SEED, REFUSED_SEED, SLOW_SEED

URL = "/indexing/solve"
D = [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("jobs")) as client:
        yield client


def body(**changes: Any) -> dict[str, Any]:
    """Eight lines of a cube; `changes` replace fields, None removes them."""
    asked = {"d_ang": D, **changes}
    return {key: value for key, value in asked.items() if value is not None}


def answered(client: TestClient, asked: dict[str, Any]) -> dict[str, Any]:
    response = client.post(URL, json=asked)
    assert response.status_code == 200, response.text
    SolveAnswer.model_validate_json(response.content)
    return response.json()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_work_and_fit_the_documented_answer(client: TestClient, name: str) -> None:
    found = answered(client, EXAMPLES[name]["value"])
    assert found["name"] == EXAMPLES[name]["value"]["name"]


def test_the_names_that_clients_rely_on(client: TestClient) -> None:
    best = answered(client, body(max_seconds=2))["solutions"][0]
    names = {"a_ang", "b_ang", "c_ang", "alpha_deg", "beta_deg", "gamma_deg"}
    assert set(best["cell"]) == set(best["niggli"]) == names
    assert best["cell"]["a_ang"] == pytest.approx(4.157)
    assert best["bravais"] == "cP"
    assert best["lines"][1]["hkl"] == [1, 1, 0]


@pytest.mark.parametrize(
    "positions",
    [
        {"q_inv_ang": [1 / d for d in D]},
        {"q_2pi_inv_ang": [6.283185307179586 / d for d in D]},
        {"q2_inv_ang2": [d**-2 for d in D]},
        {"d_ang": D[::-1]},
    ],
)
def test_every_kind_of_position_has_the_same_answer(client: TestClient, positions: dict[str, Any]) -> None:
    one, other = answered(client, body()), answered(client, positions)
    assert one["solutions"] == other["solutions"]


@pytest.mark.parametrize(
    "radiation",
    [{"wavelength_ang": 1.540593}, {"xray_energy_kev": 8.047829}, {"neutron_energy_mev": 81.8042 / 1.540593**2}],
)
def test_an_energy_is_a_wavelength(client: TestClient, radiation: dict[str, Any]) -> None:
    asked = {key: value for key, value in EXAMPLES["2theta"]["value"].items() if key != "wavelength_ang"}
    found = answered(client, {**asked, **radiation})
    assert found["wavelength_ang"] == pytest.approx(1.540593, abs=2e-6)
    assert found["solutions"][0]["f20"] is not None


def test_options_reach_the_solver(client: TestClient) -> None:
    found = answered(client, body(seed=5, lattices=["tP", "cP"], max_solutions=1, max_peaks=6))
    assert found["seed"] == 5
    assert len(found["solutions"]) == 1
    assert len(found["solutions"][0]["lines"]) == 6
    assert found["searches"][0]["lattice"] == "cP"


def test_duplicates_are_merged_with_a_warning(client: TestClient) -> None:
    found = answered(client, body(d_ang=[*D, D[0]]))
    assert len(found["solutions"][0]["lines"]) == len(D)
    assert found["warnings"][0].startswith("lines given more than once were merged")


# --- wrong questions --------------------------------------------------------------------------------------------------

TWO_THETA = EXAMPLES["2theta"]["value"]["two_theta_deg"]
WRONG: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "five lines": (body(d_ang=D[:5]), ["d_ang"], "at least 6"),
    "no lines": (body(d_ang=None), [], "exactly one of"),
    "two kinds": (body(q_inv_ang=D), [], "found d_ang and q_inv_ang"),
    "six lines of which two are one": (body(d_ang=[*D[:5], D[0]]), ["d_ang"], "5 without duplicates"),
    "a negative line": (body(d_ang=[*D, -1.0]), ["d_ang", 8], "greater than 0"),
    "zero": (body(d_ang=[0.0, *D]), ["d_ang", 0], "greater than 0"),
    "a text": (body(d_ang=[*D, "2.1"]), ["d_ang", 8], "number"),
    "a boolean": (body(d_ang=[*D, True]), ["d_ang", 8], "number"),
    "2theta of 180": (body(d_ang=None, two_theta_deg=[*TWO_THETA, 180.0]), ["two_theta_deg", 20], "less than 180"),
    "2theta without wavelength": (body(d_ang=None, two_theta_deg=TWO_THETA), ["wavelength_ang"], "give wavelength"),
    "a wavelength too long": (body(wavelength_ang=3.0), ["wavelength_ang"], "expected at most 2.7720"),
    "wavelength and energy": (body(wavelength_ang=1.0, xray_energy_kev=8.0), [], "give one of wavelength_ang"),
    "sigmas of another kind": (body(sigma_two_theta_deg=0.01), [], "with d_ang give sigma_d_ang"),
    "too few sigmas": (body(sigma_d_ang=[0.001] * 7), ["sigma_d_ang"], "7 values for 8 lines"),
    "a sigma of zero": (body(sigma_d_ang=0), ["sigma_d_ang", 0], "greater than 0"),
    "one sigma of zero": (body(sigma_d_ang=[0.1] * 7 + [0.0]), ["sigma_d_ang", 7], "greater than 0"),
    "a sigma in words": (body(sigma_d_ang="small"), ["sigma_d_ang"], "valid array"),
    "too many intensities": (body(intensity=[1.0] * 9), ["intensity"], "9 values for 8 lines"),
    "a negative intensity": (body(intensity=[1.0] * 7 + [-1.0]), ["intensity", 7], "greater than or equal to 0"),
    "d in nm": (body(d_ang=[d / 10 for d in D]), ["d_ang"], "multiply them by 10"),
    "d in pm": (body(d_ang=[d * 100 for d in D]), ["d_ang"], "max_length_ang"),
    "a wavelength in nm": (
        body(d_ang=None, two_theta_deg=TWO_THETA, wavelength_ang=0.1540593),
        ["wavelength_ang"],
        "is the wavelength in nm?",
    ),
    "a zero shift without wavelength": (body(zero_shift_deg=0.1), ["zero_shift_deg"], "needs the wavelength"),
    "no lattice": (body(lattices=[]), ["lattices"], "at least 1"),
    "an unknown lattice": (body(lattices=["cP", "cQ"]), ["lattices", 1], "'cF'"),
    "bounds exchanged": (body(min_length_ang=20.0, max_length_ang=10.0), ["max_length_ang"], "more than"),
    "no time": (body(max_seconds=0), ["max_seconds"], "greater than or equal to 0.05"),
    "more time than allowed": (body(max_seconds=61), ["max_seconds"], "at most 60"),
    "an unknown device": (body(device="tpu"), ["device"], "'gpu'"),
    "a negative count": (body(max_impurities=-1), ["max_impurities"], "greater than or equal to 0"),
    "a misspelt option": (body(max_second=1), ["max_second"], "not permitted"),
    "a misspelt unit": ({"d_nm": D}, ["d_nm"], "not permitted"),
    "a name with control characters": (body(name="a\n"), ["name"], "pattern"),
    "too many lines": (body(d_ang=[1.6 + i / 1000 for i in range(1001)]), ["d_ang"], "at most 1000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_question_is_told_by_its_field(client: TestClient, name: str) -> None:
    asked, field, hint = WRONG[name]
    problem = assert_problem(client.post(URL, json=asked), "invalid-input")
    errors: list[dict[str, Any]] = problem["errors"]  # type: ignore[assignment]
    assert ["body", *field] in [error["loc"] for error in errors]
    assert hint in str(problem["detail"]) + str(errors)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
def test_no_number_is_no_position(client: TestClient, value: str) -> None:
    text = json.dumps(body()).replace("2.939", value)
    response = client.post(URL, content=text, headers={"Content-Type": "application/json"})
    problem = assert_problem(response, "invalid-input")
    assert problem["errors"][0]["loc"] == ["body", "d_ang", 1]  # type: ignore[index]


def test_what_the_solver_refuses_is_told(client: TestClient) -> None:
    problem = assert_problem(client.post(URL, json=body(seed=REFUSED_SEED)), "invalid-input")
    assert problem["detail"] == "the lines were refused: give others"


def test_a_failing_solver_is_an_error_of_the_service(client: TestClient) -> None:
    assert_problem(client.post(URL, json=body(seed=BROKEN_SEED)), "internal-error")


@pytest.mark.parametrize("accept", ["text/html", "application/pdf"])
def test_other_representations_are_a_problem(client: TestClient, accept: str) -> None:
    problem = assert_problem(client.post(URL, json=body(), headers={"Accept": accept}), "not-acceptable")
    assert "chemical/x-cif" in problem["available"]  # type: ignore[operator]


# --- patience ---------------------------------------------------------------------------------------------------------


def ended(client: TestClient, location: str) -> dict[str, Any]:
    """Look at a job until it has ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job = client.get(location).json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.02)
    raise TimeoutError(location)


def running(client: TestClient, location: str) -> dict[str, Any]:
    """Look at a job until it tells its progress."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job = client.get(location).json()
        if job["progress"] is not None:
            assert job["state"] == "running"
            return job
        time.sleep(0.02)
    raise TimeoutError(location)


def test_an_impatient_caller_gets_a_job(client: TestClient) -> None:
    asked = body(seed=SLOW_SEED, max_seconds=0.5)
    response = client.post(URL, json=asked, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    assert response.headers["location"].startswith("/jobs/")
    job = ended(client, response.headers["location"])
    found = answered(client, asked)
    assert {**job["result"], "seconds": 0} == {**found, "seconds": 0}


def test_a_search_beyond_the_patience_tells_its_progress_and_can_be_cancelled(client: TestClient) -> None:
    response = client.post(URL, json=body(seed=SLOW_SEED, max_seconds=30), headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    location = response.headers["location"]
    progress = SolveProgress.model_validate(running(client, location)["progress"])
    assert progress.best is not None
    assert progress.lattices_done == ["cF"]
    started = time.monotonic()
    client.delete(location)
    assert ended(client, location)["state"] == "cancelled"
    assert time.monotonic() - started < 5


def test_the_deadline_answers_in_the_request(client: TestClient) -> None:
    assert answered(client, body(seed=SLOW_SEED, max_seconds=0.2))["stopped"] == "deadline"


def test_hanging_up_cancels_the_search(client: TestClient) -> None:
    """Straight into the application, whose client hangs up as soon as the body is read."""
    asked = json.dumps(body(seed=SLOW_SEED, max_seconds=30)).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": URL,
        "raw_path": URL.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(asked)).encode())],
        "server": ("testserver", 80),
        "client": ("testclient", 50000),
    }

    async def call() -> tuple[float, dict[str, int]]:
        messages = iter([{"type": "http.request", "body": asked, "more_body": False}])

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:
                await asyncio.sleep(0.3)
                return {"type": "http.disconnect"}
            return message

        async def send(_message: Any) -> None: ...

        started = time.monotonic()
        await client.app(scope, receive, send)
        return time.monotonic() - started, await client.app.state.jobs.count()  # type: ignore[attr-defined]

    seconds, count = asyncio.run(call())
    assert seconds < 10
    assert count.get("running", 0) == 0
    assert count["cancelled"] >= 1


# --- documentation ----------------------------------------------------------------------------------------------------


def test_every_field_is_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SolveRequest", "BatchRequest", "SolveAnswer", "SolutionOut", "LineOut", "CellOut", "PeaksAnswer"):
        for field, schema in schemas[name]["properties"].items():
            told = "description" in schema or "$ref" in schema
            assert told, f"{name}.{field}"


def test_the_answers_are_documented(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    responses = paths[URL]["post"]["responses"]
    assert {"200", "202", "400", "406", "413", "415", "422", "429", "500", "503"} <= set(responses)
    media = {"application/json", "text/csv", "chemical/x-cif", "image/png", "image/svg+xml"}
    assert set(responses["200"]["content"]) == media
    assert set(paths[URL + "/file"]["post"]["responses"]["200"]["content"]) == media


# --- representations --------------------------------------------------------------------------------------------------


def test_csv_has_a_row_for_each_cell_or_line(client: TestClient) -> None:
    response = client.post(URL, json=body(wavelength_ang=1.54), headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["vary"] == "Accept"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["bravais"] for row in rows] == ["cP", "aP"]
    assert float(rows[0]["a_ang"]) == pytest.approx(4.157)
    lines = client.post(URL + "?format=csv&rows=lines", json=body(wavelength_ang=1.54)).text
    assert len(list(csv.DictReader(io.StringIO(lines)))) == 2 * len(D)


def test_cif_has_a_block_for_each_cell(client: TestClient) -> None:
    response = client.post(URL, json=body(name="a cube"), headers={"Accept": "chemical/x-cif"})
    assert response.headers["content-type"].startswith("chemical/x-cif")
    document = gemmi.cif.read_string(response.text)
    assert len(document) == 2
    assert gemmi.cif.as_number(document[0].find_value("_cell_length_a")) == pytest.approx(4.157)


@pytest.mark.parametrize(("accept", "begin"), [("image/png", b"\x89PNG"), ("image/svg+xml", b"<?xml")])
@pytest.mark.parametrize("wavelength", [1.54, None])
def test_a_picture_is_drawn(client: TestClient, accept: str, begin: bytes, wavelength: float | None) -> None:
    response = client.post(URL, json=body(wavelength_ang=wavelength), headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == accept
    assert response.content.startswith(begin)
