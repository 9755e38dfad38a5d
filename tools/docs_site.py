"""What the documentation site takes from the code: the endpoints, the API reference, the list of decisions."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
STATIC = REPOSITORY / "app" / "static"
ENDPOINTS, DECISIONS = "<!-- endpoints -->", "<!-- decisions -->"
METHODS = ("get", "post", "put", "patch", "delete")
# A link out of docs/ leads to a file of the repository, which the site does not have: its text stays.
_OUTWARD = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+(?:app|clients|deploy|model_store|training|tools|benchmarks|tests)[^)]*\)"
)
_REDOC = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>API reference</title><style>body { margin: 0 }</style></head>
<body><div id="redoc" data-openapi="openapi.json"></div>
<script src="redoc.standalone.js"></script><script src="start.js"></script></body>
</html>
"""


@cache
def openapi() -> dict[str, Any]:
    """The service's OpenAPI document."""
    from app.main import create_app
    from app.settings import Settings

    return create_app(Settings()).openapi()


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill the pages that list something, and leave only the text of links that lead out of the documentation."""
    for mark, made in ((ENDPOINTS, _endpoints), (DECISIONS, _decisions)):
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return _OUTWARD.sub(r"\1", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Put the API reference beside the pages, and hold the site to its promise to load nothing from elsewhere."""
    folder = Path(config.site_dir) / "redoc"
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(_REDOC, "utf-8")
    (folder / "openapi.json").write_text(json.dumps(openapi()), "utf-8")
    for name in ("redoc.standalone.js", "start.js"):
        shutil.copy(STATIC / "redoc" / name, folder / name)
    for path in Path(config.site_dir).rglob("*.html"):
        loaded = _Loaded()
        loaded.feed(path.read_text("utf-8"))
        if foreign := [address for address in loaded.addresses if re.match(r"(https?:)?//", address)]:
            raise PluginError(
                f"{path.relative_to(config.site_dir)} loads {foreign[0]}: nothing may come from elsewhere"
            )


def _endpoints() -> str:
    tables: dict[str, list[str]] = defaultdict(list)
    for path, methods in openapi()["paths"].items():
        for method in filter(methods.__contains__, METHODS):
            operation = methods[method]
            tables[operation["tags"][0]].append(f"| `{method.upper()}` | `{path}` | {operation['summary']} |")
    head = "| | address | what it does |\n|---|---|---|\n"
    return "\n\n".join(f"## {tag.capitalize()}\n\n{head}" + "\n".join(rows) for tag, rows in tables.items())


def _decisions() -> str:
    pages = sorted((REPOSITORY / "docs" / "decisions").glob("0*.md"))
    return "\n".join(f"- [{page.read_text('utf-8').splitlines()[0].lstrip('# ')}]({page.name})" for page in pages)


_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class _Loaded(HTMLParser):
    """Addresses that a browser fetches for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(_FETCHED.get(tag, ""))
        if address and given.get("rel") != "canonical":
            self.addresses.append(address)
