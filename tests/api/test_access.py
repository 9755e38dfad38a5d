"""Who may call what: no key, other keys, keys that end."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.access import Scope
from app.api.keys import read_keys, revoke_key
from app.logs import configure_logs
from tests.api.access_client import LATER, LINES, access_of, application, key, look, protected
from tests.api.test_problems import assert_problem

SOLVE = "/indexing/solve"
PREDICT = "/waveform"
ADMIN = "/v2/repository/models/decay/unload"
ANY = "/models"
OPEN = ("/docs", "/redoc", "/openapi.json", "/health/live", "/health/ready", "/v2/health/live", "/metrics",
        "/problems/forbidden", "/static/swagger-ui/swagger-ui.css")  # fmt: skip
SECRET = "0123456789abcdef-ß"
JSON = {"Content-Type": "application/json"}


def statuses(client: TestClient, headers: dict[str, str] | None = None) -> list[int]:
    """Of a route that any key opens, of a prediction, of a search, and of what writes."""
    sent = headers or {}
    return [
        client.get(ANY, headers=sent).status_code,
        client.post(PREDICT, content=b"{", headers=sent | JSON).status_code,
        client.post(SOLVE, json=LINES, headers=sent | LATER).status_code,
        client.post(ADMIN, headers=sent).status_code,
    ]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service with one key, for predictions."""
    key(tmp_path, "anybody", Scope.PREDICT)
    with protected(tmp_path) as opened:
        yield opened


def test_each_scope_opens_its_routes_and_no_others(client: TestClient, tmp_path: Path) -> None:
    predict, solve = key(tmp_path, "a", Scope.PREDICT), key(tmp_path, "b", Scope.SOLVE)
    both, admin = key(tmp_path, "c", Scope.PREDICT, Scope.SOLVE), key(tmp_path, "d", Scope.ADMIN)
    look(client)
    # 400: the prediction's body is no JSON.
    assert statuses(client, predict) == [200, 400, 403, 403]
    assert statuses(client, solve) == [200, 403, 202, 403]
    assert statuses(client, both) == [200, 400, 202, 403]
    assert statuses(client, admin)[:3] == [200, 400, 202]
    assert client.post(ADMIN, headers=admin).status_code not in (401, 403)
    assert statuses(client) == [401] * 4


def test_pages_and_probes_are_open_also_with_a_wrong_key(client: TestClient) -> None:
    for path in OPEN:
        assert client.get(path).status_code == 200
        assert client.get(path, headers={"Authorization": "Apikey wrong"}).status_code == 200


def test_the_answers_say_how_to_go_on(client: TestClient) -> None:
    asked = client.get(ANY)
    assert_problem(asked, "unauthenticated")
    assert asked.headers["www-authenticate"].startswith("Apikey ")
    forbidden = client.post(ADMIN)
    assert_problem(forbidden, "forbidden")
    assert "python -m app keys create" in forbidden.json()["detail"]
    assert "BEAMLINE_ADMIN_KEY" in forbidden.json()["detail"]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service of one user."""
    with protected(tmp_path_factory.mktemp("single"), single_user_key=SECRET) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["Apikey", "apikey", "Bearer", "BEARER"])
def test_a_key_opens_under_either_scheme(single: TestClient, scheme: str) -> None:
    sent = [(b"authorization", f"{scheme} {SECRET}".encode())]
    assert single.get(ANY, headers=sent).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"Apikey",
        b"Apikey ",
        b"Apikey x",
        b"Bearer \xff\xfe",
        SECRET.encode(),
        f"Basic {SECRET}".encode(),
        f"Apikey {SECRET}x".encode(),
        f"Apikey {SECRET[:-1]}".encode(),
        f"Apikey Apikey {SECRET}".encode(),
        f"Apikey,Bearer {SECRET}".encode(),
        b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.",
        b"Apikey " + b"a" * 20_000,
    ],
)
def test_anything_else_is_asked_for_a_key(single: TestClient, given: bytes) -> None:
    for method, path in (("GET", ANY), ("POST", PREDICT), ("POST", SOLVE), ("POST", ADMIN)):
        answer = single.request(method, path, headers=[(b"authorization", given)])
        assert_problem(answer, "unauthenticated")
        assert SECRET not in answer.text


def test_of_two_keys_none_counts(single: TestClient) -> None:
    sent = [(b"authorization", f"Apikey {SECRET}".encode()), (b"authorization", b"Apikey wrong")]
    assert single.get(ANY, headers=sent).status_code == 401
    assert single.get(ANY, headers=sent[::-1]).status_code == 401


def test_no_log_and_no_text_of_the_object_holds_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), protected(tmp_path, single_user_key=SECRET, admin_key=SECRET[::-1]) as client:
        sent = {"Authorization": f"Bearer {SECRET}".encode()}
        assert client.get(ANY, headers=sent).status_code == 200  # type: ignore[arg-type]
        assert client.get(ANY, headers={"Authorization": f"Apikey {SECRET[:-1]}"}).status_code == 401
        assert SECRET[:-1] not in caplog.text + repr(vars(access_of(client)))


def test_the_log_names_the_caller(client: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = key(tmp_path, "d3-control", Scope.PREDICT)
    look(client)
    configure_logs(level="info", form="json")
    client.get(ANY, headers=sent)
    client.post(SOLVE, json=LINES, headers=sent)
    client.get(ANY)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    lines = [(one["status"], one.get("caller")) for one in told if one["event"] == "request"]
    assert lines == [(200, "key:d3-control"), (403, "key:d3-control"), (401, None)]


def test_a_key_may_end_by_itself(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    sent = key(tmp_path, "visitor", Scope.PREDICT, expires=now + timedelta(hours=1))
    look(client)
    assert client.get(ANY, headers=sent).status_code == 200
    monkeypatch.setattr("app.api.access.time.time", lambda: (now + timedelta(hours=2)).timestamp())
    answer = client.get(ANY, headers=sent)
    assert_problem(answer, "unauthenticated")
    assert "expired" in answer.json()["detail"]


def test_a_revoked_key_ends_while_the_service_runs(client: TestClient, tmp_path: Path) -> None:
    sent = key(tmp_path, "leaver", Scope.PREDICT)
    look(client)
    assert client.get(ANY, headers=sent).status_code == 200
    revoke_key(tmp_path / "keys.json", read_keys(tmp_path / "keys.json")[-1].id)
    look(client)
    answer = client.get(ANY, headers=sent)
    assert_problem(answer, "unauthenticated")
    assert "revoked" in answer.json()["detail"]


# --- without a key ----------------------------------------------------------------------------------------------------


def test_without_any_key_this_machine_may_predict_and_solve(tmp_path: Path) -> None:
    with protected(tmp_path) as client:
        assert statuses(client) == [200, 400, 202, 403]
        # Whatever a proxy asked of the caller, or a script sends everywhere.
        for sent in ("Basic dTpw", "Apikey of-another-service", "Bearer"):
            assert statuses(client, {"Authorization": sent}) == [200, 400, 202, 403]


def test_the_first_key_closes_the_service_and_revoking_it_does_not_open_it_again(tmp_path: Path) -> None:
    with protected(tmp_path) as client:
        key(tmp_path, "first", Scope.PREDICT)
        look(client)
        assert statuses(client) == [401, 401, 403, 403]  # no key here is for searches
        revoke_key(tmp_path / "keys.json", read_keys(tmp_path / "keys.json")[0].id)
        look(client)
        assert statuses(client)[0] != 200
    with protected(tmp_path) as client:
        assert statuses(client)[0] != 200


def test_the_operators_key_alone_closes_nothing(tmp_path: Path) -> None:
    with protected(tmp_path, admin_key=SECRET) as client:
        assert statuses(client) == [200, 400, 202, 401]
        admin = {"Authorization": f"Apikey {SECRET}".encode()}
        assert client.post(ADMIN, headers=admin).status_code not in (401, 403)  # type: ignore[arg-type]
        assert statuses(client, {"Authorization": "Apikey wrong"}) == [401] * 4


def test_beyond_this_machine_nobody_gets_in_without_a_key(tmp_path: Path) -> None:
    with protected(tmp_path, host="192.168.1.5") as client:
        assert statuses(client) == [403] * 4
    with protected(tmp_path, host="192.168.1.5", allow_anonymous=True) as client:
        assert statuses(client) == [200, 400, 202, 403]


def test_whoever_starts_the_application_an_address_beyond_this_machine_is_closed(tmp_path: Path) -> None:
    """Another server than `serve` does not tell where it listens; each request does."""
    for settings, expected in (({}, 403), ({"allow_anonymous": True}, 200), ({"single_user_key": SECRET}, 401)):
        app = application(tmp_path, **settings)
        for address, status in (("192.168.1.5", expected), ("[2001:db8::1]", expected)):
            assert TestClient(app, base_url=f"http://{address}").get(ANY).status_code == status
        here = 401 if expected == 401 else 200
        for address in ("127.0.0.1", "[::1]"):
            assert TestClient(app, base_url=f"http://{address}").get(ANY).status_code == here


def test_anonymous_callers_may_be_let_in_beside_keys(client: TestClient, tmp_path: Path) -> None:
    admin = key(tmp_path, "operator", Scope.ADMIN)
    with protected(tmp_path, allow_anonymous=True) as opened:
        assert statuses(opened) == [200, 400, 202, 401]
        assert statuses(opened, {"Authorization": "Apikey wrong"}) == [401] * 4
        assert opened.get("/jobs", headers=admin).status_code == 200


# --- the documentation ------------------------------------------------------------------------------------------------


def test_the_documentation_says_what_each_route_needs(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    schemes = openapi["components"]["securitySchemes"]
    assert schemes["Bearer"] == schemes["Bearer"] | {"type": "http", "scheme": "bearer"}
    assert schemes["Apikey"] == schemes["Apikey"] | {"type": "apiKey", "in": "header", "name": "Authorization"}
    assert "security" not in openapi["paths"]["/health/live"]["get"]
    for path, method in (("/waveform", "post"), ("/jobs/{job_id}", "delete"), ("/models", "get")):
        operation = openapi["paths"][path][method]
        assert operation["security"] == [{"Apikey": []}, {"Bearer": []}]
        assert {"401", "403", "429"} <= operation["responses"].keys()
    described = openapi["paths"]["/v2/repository/models/{name}/load"]["post"]["description"]
    assert "`admin`" in described


def test_where_no_key_is_needed_the_documentation_says_so(tmp_path: Path) -> None:
    with protected(tmp_path) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert {} in paths["/waveform"]["post"]["security"]
        assert {} not in paths["/v2/repository/models/{name}/load"]["post"]["security"]
        key(tmp_path, "first", Scope.PREDICT)
        look(client)
        assert {} not in client.get("/openapi.json").json()["paths"]["/waveform"]["post"]["security"]
