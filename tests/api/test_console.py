"""The console's page: what it may load, how large it is, and that its options are those of the service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.console import FOLDER, NOT_OPTIONS, TASKS
from tests.api.test_docs import Page

LARGEST_BYTES = 100_000
"""Everything that the browser gets for the first page, as it is sent."""


def loaded(client: TestClient) -> dict[str, bytes]:
    """The page, and everything that it loads, by address; what scripts import is followed."""
    found = {"": client.get("/").content}
    wanted = [name for name in Page(found[""].decode()).resources if name.startswith("static/")]
    while wanted:
        address = wanted.pop()
        if address not in found:
            response = client.get("/" + address)
            assert response.status_code == 200, address
            found[address] = response.content
            imported = re.findall(r'^(?:import|export) .*from "\./([\w.-]+)";$', response.text, re.MULTILINE)
            wanted += [f"static/console/{name}" for name in imported if address.endswith(".js")]
    return found


def test_the_page_loads_only_what_the_service_has_and_by_relative_addresses(client: TestClient) -> None:
    page = Page(client.get("/").text)
    assert page.inline_scripts == 0
    assert all("//" not in address and not address.startswith("/") for address in page.resources)
    assets = {Path(address).name for address in loaded(client) if address}
    assert assets == {path.name for path in FOLDER.iterdir() if path.suffix in (".js", ".css", ".svg")}


def test_nothing_in_the_assets_leads_elsewhere(client: TestClient) -> None:
    for address, content in loaded(client).items():
        away = set(re.findall(rb"""["'(](https?:)?//[^"')]*""", content)) - {b""}
        assert not away or address.endswith("icon.svg"), address


def test_the_policy_allows_no_inline_code_no_inline_style_and_no_markup_in_texts(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert set(directives["img-src"].split()) == {"'self'", "blob:"}
    assert directives["require-trusted-types-for"] == "'script'"
    assert directives["trusted-types"] == directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    page = client.get("/").text
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)


def test_everything_together_is_small(client: TestClient) -> None:
    sent = 0
    for address in loaded(client):
        response = client.get("/" + address, headers={"Accept-Encoding": "gzip"})
        sent += int(response.headers["content-length"])
    assert sent < LARGEST_BYTES


@pytest.mark.parametrize("path", ["/", "/static/console/main.js", "/static/console/service.json"])
def test_an_upgrade_is_seen_at_once(client: TestClient, path: str) -> None:
    assert client.get(path).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("task", TASKS)
def test_the_options_are_those_of_the_endpoint(client: TestClient, task: str) -> None:
    told = client.get("/static/console/service.json").json()["tasks"][task]
    openapi = client.get("/openapi.json").json()
    parameters = openapi["paths"][TASKS[task][0]]["post"]["parameters"]
    asked = {one["name"] for one in parameters if one["in"] == "query"} - NOT_OPTIONS
    assert {option["name"] for option in told} == asked
    for option in told:
        assert option["description"], option["name"]
        assert option["type"] in ("string", "number", "integer", "boolean", "array"), option
    table = (FOLDER / "tasks.js").read_text("utf-8")
    named = re.search(rf"  {task}: \{{.*?first: \[(.*?)\]", table, re.DOTALL)
    assert named is not None
    assert set(re.findall(r'"(\w+)"', named[1])) <= asked


def test_options_that_a_request_in_json_takes_too_are_marked(client: TestClient) -> None:
    told = client.get("/static/console/service.json").json()["tasks"]["indexing"]
    in_json = {option["name"]: option["json"] for option in told}
    assert in_json["lattices"] is in_json["wavelength_ang"] is True
    assert in_json["k_alpha2"] is in_json["min_snr"] is False
