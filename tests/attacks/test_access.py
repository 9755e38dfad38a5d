"""Callers without a key, with an old one, with one that is cut, mixed up or in the wrong place, or with another's."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.access import Scope
from app.api.keys import create_key, revoke_key
from tests.attacks.operations import Operation, operations
from tests.attacks.raw import asked
from tests.faults.service import AT_ONCE, ENDLESS, Service, until

OPEN = ("/health/", "/v2/health/", "/metrics", "/static/console/service.json")
SHORT_S = 2.0


@dataclass(frozen=True)
class Guarded:
    """A service with keys.

    Attributes:
        folder: all that it writes.
        secrets: by the name of the key.
    """

    service: Service
    folder: Path
    secrets: dict[str, str]

    def ask(self, method: str, path: str, authorization: str | None, **more: Any) -> httpx.Response:
        headers = {} if authorization is None else {"Authorization": authorization}
        return self.service.http.request(method, path, headers=headers | more.pop("headers", {}), **more)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, soon = folder / "keys.json", datetime.now(UTC) + timedelta(seconds=SHORT_S)
    both = (Scope.PREDICT, Scope.SOLVE)
    secrets = {
        "alice": create_key(keys, "alice", both)[0],
        "bob": create_key(keys, "bob", both)[0],
        "watcher": create_key(keys, "watcher", (Scope.PREDICT,))[0],
        "operator": create_key(keys, "operator", (Scope.ADMIN,))[0],
        "expired": create_key(keys, "expired", (Scope.ADMIN,), expires=soon)[0],
        "revoked": create_key(keys, "revoked", (Scope.ADMIN,))[0],
    }
    revoke_key(keys, secrets["revoked"][:8])
    time.sleep(SHORT_S + 0.1)
    service = Service(folder, f"sqlite:///{folder}/jobs.sqlite3", keys_file=str(keys), job_workers="1").start()
    yield Guarded(service, folder, secrets)
    service.stop()
    service.http.close()


@pytest.fixture(scope="module")
def closed(guarded: Guarded) -> list[Operation]:
    """Every operation that is not open to everybody."""
    found = operations(guarded.service.http.get("/openapi.json").json())
    return [operation for operation in found if not operation.template.startswith(OPEN)]


def credentials(guarded: Guarded) -> dict[str, str | None]:
    key = guarded.secrets["operator"]
    basic = base64.b64encode(f"operator:{key}".encode()).decode()
    return {
        "none": None,
        "empty": "",
        "a scheme alone": "Apikey",
        "an unknown key": "Apikey " + "0" * 64,
        "a key that has expired": f"Apikey {guarded.secrets['expired']}",
        "a key that was revoked": f"Bearer {guarded.secrets['revoked']}",
        "the first half": f"Apikey {key[: len(key) // 2]}",
        "one letter off": f"Apikey {key[:-1]}{'0' if key[-1] != '0' else '1'}",
        "one letter more": f"Apikey {key}0",
        "twice": f"Apikey {key}, Apikey {key}",
        "both schemes": f"Apikey Bearer {key}",
        "without a scheme": key,
        "basic": f"Basic {basic}",
        "the first eight characters": f"Apikey {key[:8]}",
        "a token that signs itself": "Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0.",
        "60 kB": "Apikey " + "a" * 30_000,
        "SQL": "Apikey ' OR 1=1 --",
        "NULs": "Apikey %00",
    }


def test_nothing_else_than_a_key_opens_anything(guarded: Guarded, closed: list[Operation]) -> None:
    assert len(closed) >= 25
    for name, authorization in credentials(guarded).items():
        for operation in closed:
            answer = guarded.ask(operation.method, operation.path, authorization, content=b"{}")
            assert answer.status_code == 401, (name, operation.template, answer.status_code, answer.text[:200])
            assert answer.headers["www-authenticate"]
            assert guarded.secrets["operator"][:12] not in answer.text


def test_a_key_elsewhere_than_in_its_header_opens_nothing(guarded: Guarded) -> None:
    key = guarded.secrets["operator"]
    for query in (f"api_key={key}", f"key={key}", f"access_token={key}", f"Authorization=Apikey%20{key}"):
        assert guarded.ask("GET", f"/models?{query}", None).status_code == 401
    for name in ("X-API-Key", "Cookie", "Proxy-Authorization", "X-Forwarded-Authorization", "X-Original-Authorization"):
        value = f"tiled_api_key={key}" if name == "Cookie" else f"Apikey {key}"
        assert guarded.ask("GET", "/models", None, headers={name: value}).status_code == 401


def test_of_two_headers_none_counts(guarded: Guarded) -> None:
    lines = [f"Authorization: Apikey {guarded.secrets[name]}" for name in ("watcher", "operator")]
    for order in (lines, lines[::-1]):
        message = "\r\n".join(
            ["POST /v2/repository/models/waveform-s2/unload HTTP/1.1", "Host: localhost", *order, "", ""]
        )
        assert asked(guarded.service, [message.encode()]).status == 401


@pytest.mark.parametrize("name", ["alice", "watcher"])
def test_who_may_predict_may_change_nothing(guarded: Guarded, name: str) -> None:
    key = f"Apikey {guarded.secrets[name]}"
    for change in ("load", "unload"):
        assert guarded.ask("POST", f"/v2/repository/models/waveform-s2/{change}", key).status_code == 403
    assert guarded.ask("GET", "/models", key).status_code == 200


def test_somebody_elses_job_is_not_there(guarded: Guarded) -> None:
    """Neither read, nor followed, nor cancelled, nor listed; it goes on."""
    alice, bob = (f"Bearer {guarded.secrets[name]}" for name in ("alice", "bob"))
    answer = guarded.ask("POST", "/indexing/solve", alice, json=ENDLESS, headers=AT_ONCE | {"Idempotency-Key": "a"})
    address = answer.headers["Location"]
    until(lambda: guarded.ask("GET", address, alice).json()["state"] == "running", "the job is not begun")
    nowhere = json.loads(guarded.ask("GET", "/jobs/" + "0" * 32, bob).content)
    for method, path in (("GET", address), ("GET", f"{address}/events"), ("DELETE", address)):
        refused = guarded.ask(method, path, bob)
        assert refused.status_code == 404, (method, path)
        assert refused.json()["detail"] == nowhere["detail"], "that it exists is not told"
    assert address.rpartition("/")[2] not in guarded.ask("GET", "/jobs", bob).text
    again = guarded.ask("POST", "/indexing/solve", bob, json=ENDLESS, headers=AT_ONCE | {"Idempotency-Key": "a"})
    assert again.headers["Location"] != address, "his key is not hers"
    assert guarded.ask("GET", address, alice).json()["state"] == "running"
    for path, key in ((address, alice), (again.headers["Location"], bob)):
        assert guarded.ask("DELETE", path, key).status_code in (200, 202)


def test_no_secret_is_in_the_log_or_on_the_disk(guarded: Guarded) -> None:
    log = guarded.service.log()
    kept = b"".join(path.read_bytes() for path in guarded.folder.iterdir() if path.is_file())
    for secret in guarded.secrets.values():
        assert secret not in log
        assert secret.encode() not in kept
