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


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", range(4))
def test_an_example_prints_what_is_shown(example: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    settings = Settings(model_store=REPOSITORY / "model_store", job_workers=1, jobs_database=database)
    with TestClient(create_app(settings)) as client:

        def post(url: str, json: Any, **_: Any) -> Any:
            return client.post(url.removeprefix("http://127.0.0.1:8000"), json=json)

        monkeypatch.setattr(httpx, "post", post)
        printed: list[str] = []
        shown = {"print": lambda *words: printed.append(" ".join(map(str, words)))}
        exec(compile(_blocks("python")[example], "README.md", "exec"), shown)  # noqa: S102  (our own README)
    assert printed == _blocks("text")[example].splitlines()
