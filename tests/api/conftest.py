"""An application with one endpoint for each way to fail, and a client for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from pydantic import Field
from starlette.responses import Response

from app import errors
from app.api.access_table import EVERYBODY, rows
from app.api.problems import BODY, documented
from app.api.schema import Input, JsonBody, Output, json_answer
from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeModel, FakeRegistry

BODY_LIMIT = 200_000


class Point(Input):
    time_s: Annotated[float, Field(ge=0)]
    name: str = "a"


class Points(Input):
    points: list[Point]


class Answer(Output):
    value: float


POINTS = JsonBody(Points, examples={"one": {"summary": "One point", "value": {"points": [{"time_s": 1.5}]}}})


ENDPOINTS = ("POST /echo", "POST /framework", "POST /upload", "GET /raise/{kind}", "GET /crash", "GET /not-a-number")


def _add_endpoints(app: FastAPI) -> None:
    app.state.access_table |= rows(EVERYBODY, ENDPOINTS)

    @app.post("/echo", openapi_extra=POINTS.openapi, response_model=Points, responses=documented(*BODY, "not-found"))
    async def echo(points: Annotated[Points, Depends(POINTS)]) -> Response:
        return json_answer(points)

    @app.post("/framework")
    async def framework(points: Points) -> Points:
        return points

    @app.post("/upload", max_body_size=2 * BODY_LIMIT)
    async def upload(points: Annotated[Points, Depends(POINTS)]) -> Response:
        return json_answer(points)

    @app.get("/raise/{kind}")
    async def raise_error(kind: str) -> None:
        error = next(error for error in errors.AppError.__subclasses__() if error.kind == kind)
        raise error("found a, expected b", details={"available": ["b"], "status": 200})

    @app.get("/crash")
    async def crash() -> None:
        secret = "/secret/path"
        raise RuntimeError(f"cannot open {secret}")

    @app.get("/not-a-number")
    async def not_a_number() -> Answer:
        return Answer(value=float("nan"))


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry([FakeModel("decay", "1", aliases=()), FakeModel("decay", "2")])


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=BODY_LIMIT)


@pytest.fixture
def client(settings: Settings, registry: FakeRegistry) -> Iterator[TestClient]:
    app = create_app(settings, registry=registry)
    _add_endpoints(app)
    with TestClient(app) as client:
        yield client
