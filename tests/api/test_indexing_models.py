"""Learned parts of the solver in the service: versions, aliases, hot swap, and answers without them.

The solver is a fake that asks the probability; the probability is real, of a few numbers, in a store of its own; the
workers are real processes.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.api.indexing_schema import BatchAnswer, FilesAnswer, SolveAnswer
from app.model_registry.store import ModelStore
from app.settings import Settings
from tests.api.indexing_client import serving
from tests.api.test_problems import assert_problem
from tests.indexing_fakes import SLOW_SEED
from tests.indexing_learned import NUMBER, probability_of_each, publish_probability
from tests.indexing_patterns import lab6_list

SOLVE, BATCH, FILE, FILES = "/indexing/solve", "/indexing/solve/batch", "/indexing/solve/file", "/indexing/solve/files"
NAME = "indexing-probability"
SHARES = {1: 0.5, 2: 0.9}
"""Version -> the probability that it gives to none beside one cell."""
EACH = {version: round(probability_of_each(share), 6) for version, share in SHARES.items()}
D = [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]


@dataclass(frozen=True)
class Served:
    """A service over a store with two versions of the probability, of which `stable` names the first."""

    client: TestClient
    store: ModelStore

    def promote(self, version: int) -> None:
        """Move the alias, and wait until the service has seen it."""
        self.store.promote(NAME, version)
        waited_for(self._stable, [version])

    def _stable(self) -> list[int]:
        versions = self.client.get(f"/models/{NAME}").json()["versions"]
        return [one["version"] for one in versions if "stable" in one["aliases"] and one["state"] == "ready"]


def two_versions(folder: Path) -> ModelStore:
    store = ModelStore(folder)
    publish_probability(store, SHARES[1])
    publish_probability(store, SHARES[2], promote=False)
    return store


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("service")
    store = two_versions(folder / "store")
    publish_probability(store, 0.5, name="mine")
    publish_probability(store, 0.5, name="decay", family="polarization/test")
    with serving(folder, store=store) as client:
        yield Served(client, store)


@pytest.fixture
def served(service: Served) -> Served:
    service.promote(1)
    return service


@pytest.fixture
def client(served: Served) -> TestClient:
    return served.client


def used(version: int, alias: str | None = "stable") -> list[dict[str, Any]]:
    return [{"name": NAME, "version": version, "alias": alias}]


def answered(client: TestClient, **asked: Any) -> dict[str, Any]:
    response = client.post(SOLVE, json={"d_ang": D, **asked})
    assert response.status_code == 200, response.text
    SolveAnswer.model_validate_json(response.content)
    return response.json()


def waited_for(look: Callable[[], Any], wanted: Any) -> None:
    """Look until the answer is the wanted one."""
    deadline = time.monotonic() + 60
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def ended(client: TestClient, accepted: Response) -> dict[str, Any]:
    assert accepted.status_code == 202, accepted.text
    address = accepted.headers["location"]
    waited_for(lambda: client.get(address).json()["state"] in ("queued", "running"), False)
    return client.get(address).json()["result"]


# --- what takes part --------------------------------------------------------------------------------------------------


def test_every_cell_has_its_probability_and_the_answer_its_models(client: TestClient) -> None:
    found = answered(client)
    assert found["models"] == used(1)
    assert [one["probability"] for one in found["solutions"]] == [EACH[1]] * 2
    assert found["confidence"] == EACH[1]
    assert found["probability"] == pytest.approx(2 * EACH[1], abs=1e-5)
    assert found["warnings"] == ["the solver's own warning"]


def test_without_learned_parts_there_is_no_probability(client: TestClient) -> None:
    found = answered(client, learned=False)
    assert found["models"] == []
    assert found["probability"] is None
    assert [one["probability"] for one in found["solutions"]] == [None, None]


def test_a_version_can_be_pinned(client: TestClient) -> None:
    assert answered(client, models=[f"{NAME}:2"])["models"] == used(2, None)
    assert answered(client, models=[f"{NAME}:latest"])["models"][0]["alias"] == "latest"
    assert answered(client, models=[NAME])["models"] == used(1)


def test_the_settings_may_leave_them_out(tmp_path: Path, served: Served) -> None:
    with serving(tmp_path, Settings(indexing_learned=False), workers=1, store=served.store) as client:
        assert answered(client)["models"] == []
        assert answered(client, learned=True)["models"] == used(1)
        assert answered(client, models=[NAME])["models"] == used(1)


def test_a_store_without_learned_parts_is_no_trouble(tmp_path: Path) -> None:
    with serving(tmp_path, workers=1, store=ModelStore(tmp_path / "empty")) as client:
        found = answered(client)
    assert (found["models"], found["warnings"]) == ([], ["the solver's own warning"])


# --- hot swap ---------------------------------------------------------------------------------------------------------


def test_the_next_job_takes_what_was_promoted_and_earlier_ones_keep_theirs(served: Served) -> None:
    client = served.client
    slow = {"d_ang": D, "seed": SLOW_SEED, "max_seconds": 1.0}
    # Of these some run on both workers and the rest wait.
    before = [client.post(SOLVE, json=slow, headers={"Prefer": "respond-async"}) for _ in range(4)]
    served.promote(2)
    found = answered(client)
    assert found["models"] == used(2)
    assert found["solutions"][0]["probability"] == EACH[2]
    assert [ended(client, one)["models"] for one in before] == [used(1)] * 4


def test_all_workers_take_what_was_promoted(served: Served) -> None:
    client = served.client
    assert answered(client)["models"] == used(1)
    served.promote(2)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: answered(client, seed=SLOW_SEED, max_seconds=0.2), range(4)))
    assert [one["models"] for one in found] == [used(2)] * 4
    assert {one["solutions"][0]["probability"] for one in found} == {EACH[2]}


LINES = {"files": ("lines.txt", lab6_list())}


@pytest.mark.parametrize(
    ("path", "asked", "query"),
    [
        (SOLVE, {"json": {"d_ang": D}}, ""),
        (BATCH, {"json": {"patterns": [{"d_ang": D}]}}, ""),
        (FILES, {"files": LINES}, "?wavelength_ang=1.5406"),
    ],
)
def test_a_repeated_key_is_the_same_job_although_the_alias_has_moved(
    served: Served, path: str, asked: dict[str, Any], query: str
) -> None:
    client, key = served.client, {"Idempotency-Key": f"the same {path}"}
    first = client.post(path + query, **asked, headers=key)
    assert used(1)[0]["name"] in first.text
    served.promote(2)
    again = client.post(path + query, **asked, headers=key)
    assert (again.status_code, again.content) == (200, first.content)
    other = client.post(path + (f"{query}&learned=false" if query else ""), headers=key, **_without_models(asked))
    assert_problem(other, "idempotency-conflict")


def _without_models(asked: dict[str, Any]) -> dict[str, Any]:
    return {"json": {**asked["json"], "learned": False}} if "json" in asked else asked


# --- what cannot take part --------------------------------------------------------------------------------------------


def test_a_version_that_the_workers_cannot_read_is_told(served: Served) -> None:
    version = publish_probability(served.store, 0.5, promote=False)
    served.promote(version)
    shutil.rmtree(served.store.root / NAME / str(version))  # the service has loaded it, the workers only would now
    found = answered(served.client)
    assert found["models"] == []
    assert found["solutions"][0]["bravais"] == "cP"
    assert found["solutions"][0]["probability"] is None
    (warning,) = found["warnings"][1:]
    assert f"{NAME} version {version} did not take part" in warning
    assert str(served.store.root) not in json.dumps(found)


def test_an_unloaded_model_is_told_and_missed_by_nobody(tmp_path: Path) -> None:
    store = two_versions(tmp_path / "store")
    with serving(tmp_path, workers=1, store=store) as client:
        assert answered(client)["models"] == used(1)
        store.unload(NAME)
        # The service and its worker see it each in their own time.
        waited_for(lambda: client.post(SOLVE, json={"d_ang": D, "models": [NAME]}).status_code, 503)
        waited_for(lambda: answered(client)["models"], [])
        (warning,) = [one for one in answered(client)["warnings"] if NAME in one]
        assert "unloaded" in warning
        assert_problem(client.post(SOLVE, json={"d_ang": D, "models": [NAME]}), "model-unavailable")


def test_a_model_that_fails_in_the_middle_costs_no_answer(served: Served) -> None:
    served.promote(publish_probability(served.store, 0.5, estimator=NUMBER, promote=False))
    found = answered(served.client)
    assert found["models"] == []
    assert found["solutions"][0]["bravais"] == "cP"
    assert "failed on these lines" in found["warnings"][-1]


@pytest.mark.parametrize("asked", ["indexing-nothing", f"{NAME}:99", f"{NAME}:night"])
def test_a_model_that_does_not_exist_is_not_found(client: TestClient, asked: str) -> None:
    problem = assert_problem(client.post(SOLVE, json={"d_ang": D, "models": [asked]}), "not-found")
    assert problem.keys() & {"available", "versions"}


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"models": [f"{NAME} 1"]}, ["models", 0]),
        ({"models": []}, ["models"]),
        ({"models": "none"}, ["models"]),
        ({"models": [NAME, f"{NAME}:1"]}, ["models", 1]),
        ({"models": ["decay"]}, ["models", 0]),
        ({"models": [NAME, "mine"]}, ["models"]),
        ({"models": [NAME], "learned": False}, []),
        ({"learned": "no"}, ["learned"]),
    ],
)
def test_a_choice_that_makes_no_sense_is_told_by_its_field(
    client: TestClient, asked: dict[str, Any], place: list[Any]
) -> None:
    for path, body in ((SOLVE, {"d_ang": D}), (BATCH, {"patterns": [{"d_ang": D}]})):
        problem = assert_problem(client.post(path, json={**body, **asked}), "invalid-input")
        assert problem["errors"][0]["loc"] == ["body", *place]  # type: ignore[index]


# --- many, files, and other forms -------------------------------------------------------------------------------------


def test_every_pattern_of_a_batch_has_the_models(client: TestClient) -> None:
    asked = {"patterns": [{"d_ang": D}, {"d_ang": D[:2]}, {"d_ang": D}]}
    for more, models in (({}, used(1)), ({"models": [f"{NAME}:2"]}, used(2, None)), ({"learned": False}, [])):
        response = client.post(BATCH, json={**asked, **more})
        BatchAnswer.model_validate_json(response.content)
        results = [entry["result"] for entry in response.json()["answers"]]
        assert results[1] is None
        assert [results[0]["models"], results[2]["models"]] == [models] * 2


@pytest.mark.parametrize(
    ("query", "models"),
    [("", used(1)), (f"&models={NAME}:1", used(1, None)), ("&learned=false", [])],
)
def test_files_have_the_models(client: TestClient, query: str, models: list[Any]) -> None:
    content = {"file": ("lines.txt", lab6_list())}
    one = client.post(f"{FILE}?wavelength_ang=1.5406{query}", files=content)
    assert one.status_code == 200, one.text
    assert one.json()["models"] == models
    many = client.post(f"{FILES}?wavelength_ang=1.5406{query}", files={"files": ("lines.txt", lab6_list())})
    FilesAnswer.model_validate_json(many.content)
    assert [entry["result"]["models"] for entry in many.json()["answers"]] == [models]


def test_a_wrong_choice_for_a_file_is_told_in_the_query(client: TestClient) -> None:
    url = f"{FILE}?wavelength_ang=1.5406&models={NAME},{NAME}"
    problem = assert_problem(client.post(url, files={"file": ("lines.txt", lab6_list())}), "invalid-input")
    assert problem["errors"][0]["loc"] == ["query", "models", 1]  # type: ignore[index]


def test_the_other_forms_tell_the_probability(client: TestClient) -> None:
    asked = {"d_ang": D, "wavelength_ang": 1.54}
    table = client.post(f"{SOLVE}?format=csv", json=asked).text
    (first, _) = csv.DictReader(io.StringIO(table))
    assert float(first["probability"]) == pytest.approx(probability_of_each(0.5), abs=1e-5)
    block = gemmi.cif.read_string(client.post(f"{SOLVE}?format=cif", json=asked).text)[0]
    details = block.find_value("_cell_special_details")
    assert "probability that it is the lattice 0.333" in details
    assert f"{NAME} version 1" in details
    assert "probability 33%" in client.post(f"{SOLVE}?format=svg", json=asked).text


# --- as any model of the store ----------------------------------------------------------------------------------------


def test_they_answer_for_themselves_by_the_open_inference_protocol(client: TestClient) -> None:
    told = client.get(f"/v2/models/{NAME}").json()
    assert [one["name"] for one in told["outputs"]] == ["even"]
    columns = told["inputs"][0]["shape"][1]
    row = {"name": "features", "shape": [1, columns], "datatype": "FP64", "data": [0.0] * columns}
    answer = client.post(f"/v2/models/{NAME}/infer", json={"inputs": [row]})
    assert answer.json()["outputs"][0]["data"] == [0.5, 0.5]
