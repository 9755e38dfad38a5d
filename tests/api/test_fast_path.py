"""What is answered in front of FastAPI, what is passed on, and that nobody can tell the difference."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from app.api.access_table import EVERYBODY, rows
from app.api.fast_path import FastPath, FastRequest, FastRoute
from app.api.polarization_schema import PredictRequest
from app.api.schema import JsonBody
from app.errors import InvalidInput
from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeRegistry

LIMIT = 1024


def _said(request: FastRequest) -> Response:
    names = ",".join(f"{name}={value}" for name, value in request.names.items())
    return Response(b"fast|" + request.body + b"|" + request.query + b"|" + names.encode())


async def _later(request: FastRequest) -> Response | None:
    await anyio.lowlevel.checkpoint()
    return None if request.body == b"not me" else _said(request)


def _refuse(_request: FastRequest) -> Response:
    raise InvalidInput("found a, expected b", details={"available": ["b"]})


def _crash(_request: FastRequest) -> Response:
    raise RuntimeError("/secret/path")


def _invalid(request: FastRequest) -> Response:
    JsonBody(PredictRequest, examples={}).parse(request.body)
    return Response(b"")


HANDLERS: dict[str, Callable[[FastRequest], Response | Awaitable[Response | None] | None]] = {
    "/plain": _said,
    "/later": _later,
    "/never": lambda _request: None,
    "/refuse": _refuse,
    "/crash": _crash,
    "/invalid": _invalid,
    "/models/{name}/infer": _said,
    "/models/{name}/versions/{version}/infer": _said,
}
METHODS = ["GET", "POST", "PUT"]


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Behind the fast routes stand the same paths in FastAPI, which say that they are not fast, or fail alike."""
    app = create_app(Settings(max_body_bytes=LIMIT), registry=FakeRegistry())
    app.state.fast_routes = [FastRoute(path, handle, LIMIT) for path, handle in HANDLERS.items()]
    app.state.access_table |= rows(EVERYBODY, [f"{method} {path}" for method in METHODS for path in HANDLERS])
    for path in HANDLERS:
        app.add_api_route(path, _slow(path), methods=METHODS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def _slow(path: str) -> Callable[[Request], Awaitable[Response]]:
    async def slow(request: Request) -> Response:
        body = await request.body()
        if path in ("/refuse", "/crash", "/invalid"):
            HANDLERS[path](FastRequest({}, b"", body, {}))
        return Response(b"slow|" + body)

    return slow


def _slowly(client: TestClient, path: str, body: bytes) -> bytes:
    """The answer of FastAPI: a body in chunks has no declared length."""
    return client.post(path, content=iter([body]), headers={"X-Request-ID": "same"}).content


def test_a_post_is_answered_in_front_with_its_body_and_query(client: TestClient) -> None:
    answer = client.post("/plain?a=1&b=%20", content=b"body")
    assert answer.content == b"fast|body|a=1&b=%20|"
    assert len(answer.headers["x-request-id"]) == 32


def test_a_handler_may_be_a_coroutine(client: TestClient) -> None:
    assert client.post("/later", content=b"body").content == b"fast|body||"


def test_names_come_from_the_path_as_fastapi_gives_them(client: TestClient) -> None:
    assert client.post("/models/a%20b/infer", content=b"").content == b"fast|||name=a b"
    assert client.post("/models/m/versions/2/infer", content=b"").content == b"fast|||name=m,version=2"


@pytest.mark.parametrize("path", ["/models//infer", "/models/a/b", "/models/a%2Fb/infer", "/plain/", "//plain"])
def test_another_path_is_not_found(client: TestClient, path: str) -> None:
    answer = client.post(path, content=b"", follow_redirects=False)
    assert not answer.content.startswith(b"fast")


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_methods_go_to_fastapi(client: TestClient, method: str) -> None:
    assert client.request(method, "/plain", content=b"x").content == b"slow|x"


@pytest.mark.parametrize("path", ["/never", "/later"])
def test_a_handler_may_leave_the_request_to_fastapi_with_its_body(client: TestClient, path: str) -> None:
    assert client.post(path, content=b"not me").content == b"slow|not me"


def test_a_body_in_chunks_goes_to_fastapi(client: TestClient) -> None:
    assert client.post("/plain", content=iter([b"a", b"b"])).content == b"slow|ab"


def test_repeated_headers_go_to_fastapi_which_knows_which_counts(client: TestClient) -> None:
    headers = [("Accept", "text/csv"), ("Accept", "application/json")]
    assert client.post("/plain", content=b"x", headers=headers).content == b"slow|x"


@pytest.mark.parametrize("content", [b"x" * (LIMIT + 1), None])
def test_a_body_over_the_limit_is_refused(client: TestClient, content: bytes | None) -> None:
    answer = client.post("/plain", content=content or iter([b"x"] * (LIMIT + 1)))
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")


def test_a_body_at_the_limit_is_read(client: TestClient) -> None:
    assert client.post("/plain", content=b"x" * LIMIT).content == b"fast|" + b"x" * LIMIT + b"||"


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"experiments": []}', b'{"experiments": [{"material": 1}]}', b'"\\ud800"']
)
@pytest.mark.parametrize("path", ["/refuse", "/crash", "/invalid"])
def test_failures_are_the_same_problems(client: TestClient, path: str, body: bytes) -> None:
    fast = client.post(path, content=body, headers={"X-Request-ID": "same"})
    assert fast.headers["content-type"] == "application/problem+json"
    assert fast.content == _slowly(client, path, body)


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    assert client.post("/plain", content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 415


def test_the_route_labels_log_and_metrics(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", form="json")
    client.post("/models/a/infer", content=b"x", headers={"X-Request-ID": "abc"})
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "abc" in line]
    assert (line["route"], line["status"], line["request_id"]) == ("/models/{name}/infer", 200, "abc")
    label = 'method="POST",route="/models/{name}/infer",status="200"'
    assert f"beamline_http_requests_total{{{label}}} 1.0" in client.get("/metrics").text


def test_under_a_root_path(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    behind = TestClient(app, root_path="/beamline")
    assert behind.post("/beamline/plain", content=b"x").content == b"fast|x||"


async def _called(messages: list[Message], path: str = "/plain") -> list[Message]:
    """What the fast path sends where the server gives these messages."""
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def rest(*_: object) -> None:
        raise AssertionError

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"content-length", b"4")],
    }
    await FastPath([FastRoute(path, _said, LIMIT)], rest)(scope, receive, send)
    return sent


def test_a_body_may_come_in_several_messages() -> None:
    parts: list[Message] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"cd", "more_body": False},
    ]
    start, body = anyio.run(_called, parts)
    assert (start["status"], body["body"]) == (200, b"fast|abcd||")


@pytest.mark.parametrize("before", [[], [{"type": "http.request", "body": b"ab", "more_body": True}]])
def test_a_client_that_leaves_is_not_answered(before: list[Message]) -> None:
    assert anyio.run(_called, [*before, {"type": "http.disconnect"}]) == []
