"""Who may ask, by which name, from which page; and how much waits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.types import Message

from app.api.guards import MAX_TARGET_BYTES, EdgeLimits, Guards
from app.errors import Busy
from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeModel, FakeRegistry

DESK = "https://desk.facility.org"


@contextmanager
def service(server: str = "127.0.0.1", **settings: str) -> Iterator[TestClient]:
    """A service whose connections come in on an address."""
    app = create_app(Settings.model_validate(settings), registry=FakeRegistry([FakeModel("decay", "1")]))
    with TestClient(app, base_url=f"http://{server if ':' not in server else f'[{server}]'}:8000") as client:
        yield client


def refused(client: TestClient, host: str) -> bool:
    response = client.get("/health/live", headers={"Host": host})
    assert response.status_code in (200, 421)
    return response.status_code == 421


# --- names ------------------------------------------------------------------------------------------------------------


SAFE_HOSTS = ("localhost", "LOCALHOST:8000", "localhost.", "a.localhost:1", "127.0.0.1:8000", "10.1.2.3", "[::1]:8000")
FOREIGN_HOSTS = (
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "a" * 5000,
    "",
    "[",
    "é",
    "0x7f.1",
)


def test_local_names_and_numbers_are_always_served() -> None:
    for settings in ({}, {"allowed_hosts": "models.facility.org"}):
        with service(**settings) as client:
            assert not [host for host in SAFE_HOSTS if refused(client, host)]


def test_no_other_name_can_be_pointed_to_this_machine() -> None:
    """A page of `evil.example`, whose name leads to 127.0.0.1 since a moment, is of the service's own origin."""
    for server in ("127.0.0.1", "::1"):
        with service(server) as client:
            for host in FOREIGN_HOSTS:
                assert client.get("/health/live", headers=[(b"Host", host.encode())]).status_code == 421


def test_beyond_this_machine_any_name_is_served_unless_some_are_listed() -> None:
    with service("10.1.2.3") as client:
        assert not refused(client, "models.facility.org")
    with service("10.1.2.3", allowed_hosts="models.facility.org,*.lab.org") as client:
        for host in ("models.facility.org", "Models.Facility.ORG:443", "a.lab.org", "a.b.lab.org"):
            assert not refused(client, host)
        for host in ("evil.example", "facility.org", "xmodels.facility.org", "lab.org", "evillab.org"):
            assert refused(client, host)
    with service(allowed_hosts="*") as client:
        assert not refused(client, "evil.example")


def test_the_refusal_says_how_to_mend_it() -> None:
    with service() as client:
        body = client.get("/", headers={"Host": "models.facility.org"}).json()
    assert "BEAMLINE_ALLOWED_HOSTS" in body["detail"]


# --- pages of other servers -------------------------------------------------------------------------------------------


def posted(client: TestClient, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/polarization/predict", content=b"{}", headers=named).status_code


def test_what_is_no_browser_is_not_asked_where_it_comes_from() -> None:
    with service() as client:
        assert posted(client) == 422


def test_a_page_of_another_server_cannot_send_anything() -> None:
    with service() as client:
        own = "http://127.0.0.1:8000"
        for headers in ({"origin": own}, {"sec_fetch_site": "same-origin", "origin": own}, {"sec_fetch_site": "none"}):
            assert posted(client, **headers) == 422
        foreign = [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9000"}]
        foreign += [{"sec_fetch_site": site, "origin": own} for site in ("cross-site", "same-site")]
        for headers in foreign:
            assert posted(client, **headers) == 403
        assert client.get("/health/live", headers={"Origin": "https://evil.example"}).status_code == 200


def test_a_page_that_is_named_may_send() -> None:
    with service(cors_origins=f"{DESK},http://localhost:3000") as client:
        for origin in (DESK, "http://localhost:3000"):
            assert posted(client, origin=origin, sec_fetch_site="cross-site") == 422
        assert posted(client, origin="http://desk.facility.org", sec_fetch_site="cross-site") == 403


def preflight(client: TestClient, origin: str) -> tuple[int, dict[str, str]]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key,prefer"
    response = client.options("/indexing/solve", headers=asked)
    return response.status_code, dict(response.headers)


def test_by_default_no_answer_is_shown_to_other_pages() -> None:
    with service() as client:
        assert preflight(client, DESK)[0] == 405
        response = client.get("/health/live", headers={"Origin": DESK})
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_answers_are_shown_to_the_pages_that_are_named() -> None:
    with service(cors_origins=DESK) as client:
        status, headers = preflight(client, DESK)
        assert (status, headers["access-control-allow-origin"]) == (200, DESK)
        assert "Authorization" in headers["access-control-allow-headers"]
        for address in ("/health/live", "/nothing"):  # a problem too
            headers = client.get(address, headers={"Origin": DESK}).headers
            assert headers["access-control-allow-origin"] == DESK
            assert "origin" in headers["vary"].lower()
            assert "access-control-allow-credentials" not in headers
        status, headers = preflight(client, "https://evil.example")
        assert status == 400
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "origins", ["*", "https://*", "https://a.org/", "a.org", "https://a.org https://b.org", "null"]
)
def test_only_exact_origins_can_be_named(origins: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"cors_origins": origins})


@pytest.mark.parametrize("hosts", ["a b", "https://a.org", "a.*", "*a.org", "a,,b", "a/"])
def test_only_names_can_be_allowed(hosts: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"allowed_hosts": hosts})


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_long_address_is_refused() -> None:
    with service() as client:
        for address in ("/" + "a" * MAX_TARGET_BYTES, "/health/live?" + "a" * MAX_TARGET_BYTES):
            response = client.get(address)
            assert (response.status_code, response.json()["type"]) == (414, "/problems/target-too-long")


def test_large_bodies_share_a_budget() -> None:
    """One that does not fit beside the others is to come again; when they have gone there is room."""
    guards = Guards(EdgeLimits(held_bytes=1_000_000))

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(600_000), "more_body": True}

    async def asked() -> None:
        first, second = (guards.held({b"content-length": b"600000"}, receive) for _ in range(2))
        assert first is not None
        assert second is not None
        await first.receive()
        with pytest.raises(Busy):
            await second.receive()
        second.release()
        with pytest.raises(Busy):
            await first.receive()
        first.release()
        assert guards.held_bytes == 0

    anyio.run(asked)


def test_over_the_budget_the_answer_is_to_come_again() -> None:
    body = b'{"experiments": []}' + b" " * 150_000
    addresses = {"/polarization/predict": "json", "/waveform": "json", "/v2/models/decay/infer": "json"}
    with service(max_held_bytes="100000") as client:
        for address, kind in (addresses | {"/indexing/peaks": "octet-stream"}).items():
            for content in (iter([body[:75_000], body[75_000:]]), body):
                response = client.post(address, content=content, headers={"Content-Type": f"application/{kind}"})
                assert (response.status_code, response.json()["type"]) == (429, "/problems/too-many-requests"), address
                assert response.headers["retry-after"] == "2"
        assert client.post("/polarization/predict", content=body[:1000]).status_code == 422


# --- headers of every answer ------------------------------------------------------------------------------------------

OF_ALL = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


ADDRESSES = (
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/health/live"),
    ("GET", "/nothing"),
    ("GET", "/static/swagger-ui/swagger-ui.css"),
    ("POST", "/polarization/predict"),
    ("POST", "/v2/models/decay/infer"),
    ("PUT", "/indexing/solve"),
    ("GET", "/" + "a" * 9000),
)


def test_every_answer_says_what_a_browser_must_not_do_with_it() -> None:
    with service() as client:
        answers = {address: client.request(method, address).headers for method, address in ADDRESSES}
    for address, headers in answers.items():
        assert OF_ALL.items() <= headers.items()
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        for name in (*OF_ALL, "content-security-policy", "cache-control"):
            assert len(headers.get_list(name)) == 1
        assert headers["cache-control"] == ("no-cache" if address.startswith("/static") else "no-store")
        assert "strict-transport-security" not in headers  # whoever ends TLS knows whether there is any
