"""`Idempotency-Key`: the same request sent twice is one job, on every endpoint that submits jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.settings import Settings
from tests.api.indexing_client import application, serving
from tests.api.live import live
from tests.api.test_problems import assert_problem
from tests.indexing_fakes import SLOW_SEED
from tests.indexing_patterns import WAVELENGTH_ANG, lab6_list

SOLVE = "/indexing/solve"
WAVE = f"wavelength_ang={WAVELENGTH_ANG}"
D = [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "solve": (SOLVE, {"json": {"d_ang": D}}),
    "batch": (f"{SOLVE}/batch", {"json": {"patterns": [{"d_ang": D}] * 2}}),
    "file": (f"{SOLVE}/file?{WAVE}", {"files": {"file": ("a.txt", lab6_list())}}),
    "files": (f"{SOLVE}/files?{WAVE}", {"files": [("files", ("a.txt", lab6_list())), ("files", ("b.txt", b"1 2"))]}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "solve": (SOLVE, {"json": {"d_ang": [*D, 1.3]}}),
    "batch": (f"{SOLVE}/batch", {"json": {"patterns": [{"d_ang": D}] * 3}}),
    "file": (f"{SOLVE}/file?{WAVE}&seed=7", {"files": {"file": ("a.txt", lab6_list())}}),
    "files": (f"{SOLVE}/files?{WAVE}", {"files": [("files", ("a.txt", lab6_list()))]}),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(max_solve_seconds=60, max_patterns=5, admin_key=SecretStr("the-key-of-the-operator"))
    with serving(tmp_path_factory.mktemp("jobs"), settings) as client:
        yield client


def send(client: Any, request: tuple[str, dict[str, Any]], key: str, prefer: str = "") -> Any:
    url, content = request
    return client.post(url, **content, headers={"Idempotency-Key": key} | ({"Prefer": prefer} if prefer else {}))


def ids(client: TestClient) -> set[str]:
    listed = client.get("/jobs?limit=1000", headers={"Authorization": "Apikey the-key-of-the-operator"}).json()["jobs"]
    return {job["id"] for job in listed}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_sent_twice_is_one_job(client: TestClient, name: str) -> None:
    before = ids(client)
    first = send(client, REQUESTS[name], f"twice {name}", "respond-async")
    assert first.status_code in (200, 202)
    answers = [send(client, REQUESTS[name], f"twice {name}") for _ in range(2)]
    (job_id,) = ids(client) - before
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json() == client.get(f"/jobs/{job_id}").json()["result"]
    if first.status_code == 202:
        assert first.headers["location"] == f"/jobs/{job_id}"


@pytest.mark.parametrize("name", REQUESTS)
def test_a_key_with_another_request_is_refused(client: TestClient, name: str) -> None:
    assert send(client, REQUESTS[name], f"other {name}").status_code == 200
    assert_problem(send(client, OTHERS[name], f"other {name}"), "idempotency-conflict")
    assert send(client, REQUESTS[name], f"other {name}").status_code == 200


@pytest.mark.parametrize("key", ["", "a" * 201, "tab\there", "\x7f", "é"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_key_is_short_and_printable(client: TestClient, name: str, key: str) -> None:
    url, content = REQUESTS[name]
    response = client.post(url, **content, headers={"Idempotency-Key": key.encode("latin-1")})  # type: ignore[arg-type]
    problem = assert_problem(response, "invalid-input")
    assert problem["errors"][0]["loc"] == ["header", "idempotency-key"]  # type: ignore[index]
    assert send(client, REQUESTS[name], "b" * 200).status_code in (200, 422)


def test_who_hangs_up_finds_the_answer_with_the_same_key(tmp_path: Path) -> None:
    slow = (SOLVE, {"json": {"d_ang": D, "seed": SLOW_SEED, "max_seconds": 1.0}})
    with live(application(tmp_path, workers=1)) as service:
        with httpx2.Client(base_url=service.client.base_url, timeout=0.3) as hasty, pytest.raises(httpx2.ReadTimeout):
            send(hasty, slow, "hasty")
        found = send(service.client, slow, "hasty").json()
    assert found["stopped"] == "deadline"


def test_the_key_is_documented_wherever_jobs_are_submitted(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    submitting = {path for path, item in paths.items() if "202" in item.get("post", {}).get("responses", {})}
    assert submitting == {url.partition("?")[0] for url, _ in REQUESTS.values()}
    for path in submitting:
        operation = paths[path]["post"]
        assert "idempotency-key" in {parameter["name"] for parameter in operation["parameters"]}
        examples = operation["responses"]["422"]["content"]["application/problem+json"]["examples"]
        assert "idempotency-conflict" in examples
