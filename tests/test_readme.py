"""The README's example runs as it is printed and prints what the README shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_example_prints_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create_app(Settings(model_store=REPOSITORY / "model_store"))) as client:

        def post(url: str, json: Any) -> Any:
            return client.post(url.removeprefix("http://127.0.0.1:8000"), json=json)

        monkeypatch.setattr(httpx, "post", post)
        printed: list[str] = []
        exec(compile(_block("python"), "README.md", "exec"), {"print": printed.append})  # noqa: S102  (our own README)
    assert printed == _block("text").splitlines()
