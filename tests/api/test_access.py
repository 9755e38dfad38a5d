"""Who may change what the service serves."""

from __future__ import annotations

import logging

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from app.api.access import ACCESS_KINDS, Access, Scope, requires
from app.api.problems import documented, install
from app.errors import Forbidden, Unauthenticated

KEY = "0123456789abcdef-ß"


def client_for(access: Access) -> TestClient:
    app = FastAPI()
    app.state.access = access
    install(app)

    @app.post("/change", dependencies=[Depends(requires(Scope.ADMIN))], responses=documented(*ACCESS_KINDS))
    async def change() -> str:
        return "changed"

    return TestClient(app)


@pytest.mark.parametrize("scheme", ["Apikey", "apikey", "Bearer", "BEARER"])
def test_the_key_opens_the_route_under_either_scheme(scheme: str) -> None:
    answer = client_for(Access(KEY)).post("/change", headers=[(b"authorization", f"{scheme} {KEY}".encode())])
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"Apikey",
        b"Apikey ",
        b"Apikey x",
        b"Bearer \xff\xfe",
        KEY.encode(),
        f"Basic {KEY}".encode(),
        f"Apikey {KEY}x".encode(),
        f"Apikey {KEY[:-1]}".encode(),
    ],
)
def test_anything_else_is_asked_for_a_key(given: bytes | None) -> None:
    headers = [] if given is None else [(b"authorization", given)]
    answer = client_for(Access(KEY)).post("/change", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Apikey ")
    assert answer.json()["type"] == "/problems/unauthenticated"
    assert KEY not in answer.text


def test_without_a_key_in_the_settings_nobody_may_and_is_told_how_to_change_that() -> None:
    answer = client_for(Access()).post("/change", headers={"Authorization": "Apikey anything"})
    assert answer.status_code == 403
    assert "BEAMLINE_ADMIN_KEY" in answer.json()["detail"]


def test_the_key_is_in_no_log_and_in_no_text_of_the_object(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(KEY)
    with caplog.at_level(logging.DEBUG):
        access.check(f"Bearer {KEY}".encode().decode("latin-1"), Scope.ADMIN)
        with pytest.raises(Unauthenticated):
            access.check(None, Scope.ADMIN)
        with pytest.raises(Forbidden):
            Access().check(f"Bearer {KEY}", Scope.ADMIN)
    assert KEY not in caplog.text + repr(vars(access))


def test_swagger_ui_offers_both_schemes() -> None:
    openapi = client_for(Access(KEY)).get("/openapi.json").json()
    assert set(openapi["components"]["securitySchemes"]) == {"Apikey", "Bearer"}
    assert openapi["paths"]["/change"]["post"]["security"] == [{"Apikey": []}, {"Bearer": []}]
