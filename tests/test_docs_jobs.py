"""The examples of docs/jobs.md run as they are printed, against a service on a socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from tests.api.live import live
from tests.fakes import FakeRegistry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "jobs.md"
POLLING, FOLLOWING = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite3"
    app = create_app(Settings(job_workers=1, jobs_database=database), registry=FakeRegistry())
    with live(app) as service:
        yield str(service.client.base_url).rstrip("/")


def printed(example: str, address: str) -> list[str]:
    lines: list[str] = []
    shown = {"print": lambda *words: lines.append(" ".join(map(str, words)))}
    exec(compile(example.replace("http://127.0.0.1:8000", address), PAGE.name, "exec"), shown)  # noqa: S102  (our own page)
    shown["service"].close()  # type: ignore[attr-defined]
    return lines


def test_a_job_that_is_asked_for_gives_its_result(address: str) -> None:
    assert printed(POLLING, address) == ["done cF"]


def test_a_job_that_is_followed_tells_its_progress_and_its_end(address: str) -> None:
    *before, last = printed(FOLLOWING, address)
    assert before
    assert last == "done {'done': 3, 'total': 3}"
