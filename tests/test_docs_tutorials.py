"""The tutorials, run step by step against a service: what they print is what the pages show."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served import REPOSITORY, served

PAGES = [*sorted((REPOSITORY / "docs" / "tutorials").glob("*.md")), REPOSITORY / "docs" / "retraining.md"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('tutorials') / 'jobs.sqlite3'}"
    with served(REPOSITORY / "model_store", job_workers="1", jobs_database=database) as found:
        yield found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_steps_print(page: Path, address: str, tmp_path: Path) -> None:
    steps = re.findall(r"```(sh|python)\n(.*?)```(?:\n\n```text\n(.*?)```)?", page.read_text("utf-8"), re.DOTALL)
    assert steps
    for language, step, shown in steps:
        code = step.replace("127.0.0.1:8000", address)
        command = [sys.executable, "-c", code] if language == "python" else ["sh", "-ec", code]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        if shown:
            assert said.stdout == shown
    for picture in tmp_path.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
