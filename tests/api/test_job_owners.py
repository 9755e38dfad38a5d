"""A job is its owner's: for others it is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.access import Scope
from app.api.jobs import JobList
from app.jobs.engine import EngineOptions
from app.jobs.service import Jobs
from tests.api.access_client import LATER, LINES, key, look, protected
from tests.api.indexing_client import KINDS
from tests.api.test_problems import assert_problem

SOLVE = "/indexing/solve"
Headers = dict[str, str]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service whose jobs wait for ever, three for each key."""
    with protected(tmp_path) as opened:
        yield opened


@pytest.fixture
def ada(client: TestClient, tmp_path: Path) -> Headers:
    return _key(client, tmp_path, "ada", Scope.SOLVE)


@pytest.fixture
def bob(client: TestClient, tmp_path: Path) -> Headers:
    return _key(client, tmp_path, "bob", Scope.SOLVE)


@pytest.fixture
def operator(client: TestClient, tmp_path: Path) -> Headers:
    return _key(client, tmp_path, "operator", Scope.ADMIN)


def _key(client: TestClient, folder: Path, name: str, *scopes: Scope) -> Headers:
    made = key(folder, name, *scopes)
    look(client)
    return made


def submitted(client: TestClient, owner: Headers, **further: Any) -> str:
    """The address of a new job."""
    answer = client.post(SOLVE, json=LINES | further, headers=owner | LATER)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def test_others_do_not_find_it(client: TestClient, ada: Headers, bob: Headers, operator: Headers) -> None:
    address = submitted(client, ada)
    absent = client.get("/jobs/0123456789abcdef0123456789abcdef", headers=bob).json()
    for ask in (client.get, client.delete):
        answer = ask(address, headers=bob)
        assert_problem(answer, "not-found")
        assert answer.json()["detail"] == absent["detail"]
    assert_problem(client.get(f"{address}/events", headers=bob), "not-found")
    assert client.get(address, headers=ada).json() | {"state": "queued", "owner": "key:ada"} == (
        client.get(address, headers=operator).json()
    )
    assert client.delete(address, headers=operator).json()["state"] == "cancelled"
    assert "event: cancelled" in client.get(f"{address}/events", headers=ada).text


def test_its_owner_cancels_it(client: TestClient, ada: Headers) -> None:
    assert client.delete(submitted(client, ada), headers=ada).json()["state"] == "cancelled"


def test_keys_of_one_name_are_one_owner(client: TestClient, ada: Headers, tmp_path: Path) -> None:
    """So a key is exchanged for a new one without losing what runs."""
    address = submitted(client, ada)
    assert client.get(address, headers=_key(client, tmp_path, "ada", Scope.SOLVE)).status_code == 200


def test_each_sees_its_own_in_the_list(client: TestClient, ada: Headers, bob: Headers, operator: Headers) -> None:
    addresses = {submitted(client, ada), submitted(client, bob)}

    def listed(headers: Headers) -> set[str]:
        answer = client.get("/jobs", headers=headers)
        JobList.model_validate_json(answer.content)
        return {f"/jobs/{job['id']}" for job in answer.json()["jobs"]}

    assert listed(ada) | listed(bob) == addresses == listed(operator)
    assert len(listed(ada)) == len(listed(bob)) == 1


def test_a_key_for_predictions_sees_no_job(client: TestClient, ada: Headers, tmp_path: Path) -> None:
    address = submitted(client, ada)
    predict = _key(client, tmp_path, "eve", Scope.PREDICT)
    for path in ("/jobs", address, f"{address}/events"):
        assert_problem(client.get(path, headers=predict), "forbidden")


def test_idempotency_keys_are_each_callers_own(client: TestClient, ada: Headers, bob: Headers) -> None:
    same = LATER | {"Idempotency-Key": "scan 1"}
    other = LINES | {"seed": 3}
    first = client.post(SOLVE, json=LINES, headers=ada | same).json()["id"]
    assert client.post(SOLVE, json=LINES, headers=ada | same).json()["id"] == first
    # Not even that somebody else has used it is told.
    assert client.post(SOLVE, json=other, headers=bob | same).json()["id"] != first
    assert_problem(client.post(SOLVE, json=other, headers=ada | same), "idempotency-conflict")


def test_no_more_jobs_of_a_key_than_the_setting_says(client: TestClient, ada: Headers, bob: Headers) -> None:
    addresses = [submitted(client, ada, seed=number) for number in range(3)]
    refused = client.post(SOLVE, json=LINES, headers=ada | LATER)
    assert_problem(refused, "too-many-requests")
    assert refused.headers["retry-after"]
    assert "3" in refused.json()["detail"]
    submitted(client, bob)
    client.delete(addresses[0], headers=ada)
    submitted(client, ada)


def test_a_batch_is_one_job(client: TestClient, ada: Headers) -> None:
    batch = {"patterns": [LINES] * 20}
    for _ in range(3):
        assert client.post(f"{SOLVE}/batch", json=batch, headers=ada | LATER).status_code == 202
    assert_problem(client.post(f"{SOLVE}/batch", json=batch, headers=ada | LATER), "too-many-requests")


def test_what_was_submitted_without_a_key_is_anybodys_who_knows_its_id(tmp_path: Path) -> None:
    """As before there were keys: what runs when the first one is made can still be fetched."""
    with protected(tmp_path) as client:
        address = submitted(client, {})
        assert client.get(address).json()["owner"] is None
        submitted(client, {}), submitted(client, {}), submitted(client, {})  # the limit is that of keys
        ada = _key(client, tmp_path, "ada", Scope.SOLVE)
        assert client.get(address).status_code == 401
        assert client.get(address, headers=ada).status_code == 200
        assert client.get("/jobs", headers=ada).json()["jobs"] == []


def test_gone_is_told_to_the_owner_alone(database_url: str) -> None:
    from app.errors import Gone, NotFound
    from app.jobs.records import Records

    records = Records(database_url)
    job_id = records.add("indexing.solve", b"{}", priority=0, max_queued=10, principal="key:ada")
    records.cancel(job_id)
    records.sweep(-1.0)
    for reader in ("key:ada", None):
        with pytest.raises(Gone):
            records.get(job_id, reader)
    for reader in ("key:bob", ""):
        with pytest.raises(NotFound):
            records.get(job_id, reader)
    records.close()


def test_the_limit_holds_for_callers_at_the_same_time(database_url: str) -> None:
    """On PostgreSQL as many more may pass as are added in the very same moment."""
    from app.errors import Busy
    from app.jobs.records import Records

    records = Records(database_url)

    def add(_number: int) -> bool:
        try:
            records.add("k", b"{}", priority=0, max_queued=100, principal="key:ada", max_of_owner=5)
        except Busy:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        added = sum(threads.map(add, range(30)))
    assert added == 5 if database_url.startswith("sqlite") else 5 <= added <= 8
    records.close()


def test_jobs_of_one_owner_in_the_service_of_another(tmp_path: Path) -> None:
    """The owner stands in the database, not in the process."""
    url = f"sqlite:///{tmp_path}/jobs.sqlite3"

    async def through_two() -> tuple[str, list[str]]:
        first, second = (Jobs(url, KINDS, EngineOptions(workers=0)) for _ in range(2))
        for one in (first, second):
            one.start()
        try:
            job_id = await first.submit("indexing.solve", b"{}", owner="key:ada")
            record = await second.get(job_id, "key:ada")
            return record.principal, [found.id == job_id for found in await second.list(owner="key:ada")]  # type: ignore[misc]
        finally:
            first.stop()
            second.stop()

    assert asyncio.run(through_two()) == ("key:ada", [True])
