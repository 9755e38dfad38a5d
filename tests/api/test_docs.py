"""The pages work on a machine without internet: they load nothing from elsewhere, and their assets are here."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient

LOADING = {"src", "href", "data", "action", "srcset", "poster"}


class Page(HTMLParser):
    """Collects what a page loads and whether it holds inline scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.inline_scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.resources += [value for name, value in given.items() if name in LOADING and value]
        self.inline_scripts += tag == "script" and "src" not in given


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_loads_only_what_the_service_has(client: TestClient, path: str) -> None:
    page = Page(client.get(path).text)
    assert page.inline_scripts == 0
    assert len(page.resources) >= 3
    for resource in page.resources:
        assert "//" not in resource
        response = client.get("/" + resource)
        assert response.status_code == 200
        assert len(response.content) > 100


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/problems/not-found"])
def test_the_browser_is_forbidden_to_load_anything_else(client: TestClient, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == "'self'"
    allowed = {source for name, sources in directives.items() if name.endswith("-src") for source in sources.split()}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}


def test_every_endpoint_is_described(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    tags = {tag["name"] for tag in openapi["tags"]}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            if operation.get("tags"):
                assert set(operation["tags"]) <= tags, path
                assert len(operation["description"]) > 30, f"{method} {path} has no description"
                assert "500" in operation["responses"], f"{method} {path} documents no errors"
