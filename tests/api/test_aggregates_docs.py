"""The how-to page says what is so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.aggregates import intake
from app.api import aggregates
from app.api.aggregates_schema import AggregatesQuery, PatternOut
from app.cli import cli
from app.main import create_app
from app.plots.aggregates import FIRST_DARK_RING
from app.settings import Settings
from tests.aggregates.fake_model import OneModel
from tests.aggregates.image_files import npy, png, tiff

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "aggregates.md").read_text("utf-8")
FILES = {
    "pattern.npy": npy(np.ones((64, 64), np.uint16)),
    "run7.cxi": npy(np.ones((64, 64), np.uint16)),
    "mask.tif": png(np.zeros((64, 64), np.uint8)),
    "stack.tif": tiff(np.ones((2, 64, 64), np.uint16)),
}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(aggregates, "aggregate_model", lambda loaded: loaded)
    with TestClient(create_app(Settings(), registry=OneModel())) as client:
        yield client


def test_each_curl_example_is_answered(client: TestClient) -> None:
    commands = [line for line in PAGE.splitlines() if line.startswith("curl ")]
    assert len(commands) >= 4
    for command in commands:
        url = re.findall(r"'http://127\.0\.0\.1:8000(\S+)'", command)[0]
        form = {name: (path, FILES[path]) for name, path in re.findall(r"-F (\w+)=@(\S+)", command)}
        content = [FILES[path] for path in re.findall(r"--data-binary @(\S+)", command)]
        headers = dict(re.findall(r"-H '([\w-]+): ([^']+)'", command))
        response = client.post(url, headers=headers, **({"files": form} if form else {"content": content[0]}))
        assert response.status_code == 200, response.text


def test_the_command_has_the_options_that_the_page_names() -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("python -m app aggregates")]
    shown = CliRunner().invoke(cli, ["aggregates", "--help"]).output
    for option in re.findall(r"--[\w-]+", line):
        assert f"{option} " in shown


def test_the_python_example_prints_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (REPOSITORY / "model_store" / "aggregates-count").is_dir():
        pytest.skip("no published model in model_store/")
    with TestClient(create_app(Settings(model_store=REPOSITORY / "model_store"))) as client:

        def post(url: str, json: Any) -> Any:
            return client.post(url.removeprefix("http://127.0.0.1:8000"), json=json)

        monkeypatch.setattr(httpx, "post", post)
        printed: list[str] = []
        shown = {"print": lambda *words: printed.append(" ".join(map(str, words)))}
        (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
        exec(compile(source, "aggregates.md", "exec"), shown)  # noqa: S102  (our own page)
    (expected,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert printed == expected.splitlines()


def test_every_warning_field_and_option_is_on_the_page() -> None:
    codes = re.findall(r'Note\(\s*"([\w-]+)"', inspect.getsource(intake))
    codes += re.findall(r'^\s+"([\w-]+)": \(', inspect.getsource(intake), re.MULTILINE)
    assert len(set(codes)) == 10
    for name in (*codes, *AggregatesQuery.model_fields, *PatternOut.model_fields):
        assert f"`{name}`" in PAGE, name


def test_the_rings_on_the_page() -> None:
    for ring in FIRST_DARK_RING.values():
        assert f"{128 * ring:.2f} / `radius_px`" in PAGE
