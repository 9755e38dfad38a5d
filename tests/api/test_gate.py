"""No route is open by oversight."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Match, Mount, Route
from starlette.websockets import WebSocketDisconnect

from app.api.access import Scope
from app.api.access_table import EVERYBODY, PREDICT, TABLE, rows
from app.api.gate import Places
from app.main import create_app
from app.settings import Settings
from tests.api.access_client import application, key, protected
from tests.api.live import live
from tests.api.test_problems import assert_problem
from tests.fakes import FakeRegistry

APP = create_app(Settings(), registry=FakeRegistry())
PLACES = Places(APP.routes, TABLE)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("keys")
    key(folder, "anybody", Scope.PREDICT)
    with protected(folder) as opened:
        yield opened


def declared(app: FastAPI) -> set[tuple[str, str]]:
    """Methods and paths of every route, also of what is mounted."""
    contexts = list(iter_route_contexts(app.routes))
    return {(method, str(found.path)) for found in contexts for method in found.methods or {"*"}}


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert Places(APP.routes, TABLE).without_row() == []
    assert set(TABLE) == declared(APP) - {("HEAD", "/openapi.json")}


def test_what_is_open_to_everybody() -> None:
    """Written out, so that nobody opens a route in passing."""
    assert {f"{method} {path}" for (method, path), need in TABLE.items() if need == EVERYBODY} == {
        "GET /",
        "GET /docs",
        "GET /redoc",
        "GET /openapi.json",
        "GET /problems/{kind}",
        "GET /static/console/service.json",
        "* /static/console",
        "* /static",
        "GET /health/live",
        "GET /health/ready",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /metrics",
    }


def test_the_fast_path_answers_only_routes_of_the_table() -> None:
    assert {("POST", route.path) for route in APP.state.fast_routes} <= set(rows(PREDICT, _places(PREDICT)))


def _places(need: frozenset[Scope]) -> list[str]:
    return [f"{method} {path}" for (method, path), needed in TABLE.items() if needed == need]


@pytest.mark.parametrize(("method", "path"), sorted(place for place, need in TABLE.items() if need != EVERYBODY))
def test_without_a_key_no_route_is_reached(client: TestClient, method: str, path: str) -> None:
    filled = path.replace("{name}", "decay").replace("{version}", "1").replace("{job_id}", "a")
    answer = client.request(method, filled, content=b"{" if method == "POST" else None)
    assert answer.status_code in (401, 403)


def test_a_route_without_a_row_is_refused_also_with_a_key(tmp_path: Path) -> None:
    operator = key(tmp_path, "operator", Scope.ADMIN)
    app = application(tmp_path)

    @app.get("/forgotten")
    async def forgotten() -> str:
        return "reached"

    app.mount("/mounted", PlainTextResponse("reached"))
    app.state.fast_routes = []
    with TestClient(app) as client:
        for path in ("/forgotten", "/mounted/a"):
            for sent in ({}, operator):
                answer = client.get(path, headers=sent)
                assert_problem(answer, "forbidden")
                assert "reached" not in answer.text
        app.get("/late")(forgotten)
        assert client.get("/late", headers=operator).status_code == 404


def test_a_websocket_is_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/models"):
        pass


JSON = {"Content-Type": "application/json"}
PATHS = ("/waveform/", "/waveform//", "/Waveform", "/waveform;a=1", "/./waveform", "/static/../waveform",
         "/%77aveform/", "/waveform%2f", "/waveform%00", "/waveform%0a", "/models/a%2f..%2fb")  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "post", "BREW"])
def test_no_spelling_of_a_path_gets_past_the_gate(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, content=b"{", follow_redirects=False)
    assert answer.status_code in (307, 401, 403, 404, 405)


def test_what_leads_nowhere_is_told_as_ever(client: TestClient) -> None:
    assert_problem(client.get("/nowhere"), "not-found")
    answer = client.delete("/waveform")
    assert_problem(answer, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    for path, target in (("/models/?a=1", "/models?a=1"), ("/jobs/x/events/", "/jobs/x/events")):
        moved = client.get(path, follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (307, target)


SEGMENTS = st.lists(
    st.sampled_from(
        ["models", "stats", "versions", "v2", "jobs", "events", "static", "waveform", "file", "", "a", "\n"]
    ),
    max_size=6,
)


@settings(deadline=None)
@given(SEGMENTS, st.sampled_from(["GET", "POST", "DELETE"]), st.booleans())
def test_the_gate_finds_the_routes_that_the_router_finds(segments: list[str], method: str, ends: bool) -> None:
    path = "/" + "/".join(segments) + ("\n" if ends else "")
    scope = {"type": "http", "path": path, "method": method, "headers": [], "root_path": ""}
    found = None
    for context in iter_route_contexts(APP.routes):
        if context._effective_route.matches(scope)[0] == Match.FULL:
            found = context.path
            break
    place = PLACES.find(method, path)
    assert (place.path if place.answer is None else None) == found


def test_a_plain_route_behind_a_template_is_found_as_the_router_does() -> None:
    async def endpoint(_request: object) -> PlainTextResponse:
        return PlainTextResponse("")

    routes = [Route("/a/{name}", endpoint), Route("/a/b", endpoint), Mount("/m", Starlette())]
    places = Places(routes, rows(EVERYBODY, ["GET /a/{name}", "* /m"]) | rows(PREDICT, ["GET /a/b"]))
    assert places.find("GET", "/a/b").path == "/a/{name}"
    assert places.find("POST", "/m/x").answer is None


def test_a_refused_body_is_not_read(tmp_path: Path) -> None:
    """Over a socket: the connection holds, and what comes next is answered."""
    sent = key(tmp_path, "anybody", Scope.PREDICT)
    with live(application(tmp_path)) as service:
        for headers, status in (({}, 401), (sent, 400), ({}, 401)):
            answer = service.client.post("/waveform", content=b"{" * 300_000, headers=headers | JSON)
            assert answer.status_code == status
