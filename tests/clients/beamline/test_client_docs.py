"""The page on clients: its examples run as they are printed and print what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.served import REPOSITORY

PAGE = (REPOSITORY / "docs" / "client.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_an_example_prints_what_is_shown(code: str, shown: str, address: str, key: str) -> None:
    script = code.replace("http://127.0.0.1:8000", address)
    source = str(REPOSITORY / "clients" / "python" / "src")
    environment = os.environ | {"PYTHONPATH": source, "BEAMLINE_API_KEY": key}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.stdout == shown, done.stderr


def test_every_example_shows_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 5


def test_what_the_page_speaks_of_is_there() -> None:
    import beamline_client
    from beamline_client.blocking import Jobs

    for name in re.findall(r"^\| `([A-Z]\w+)`(?:, `(\w+)`)*", PAGE, re.MULTILINE):
        for one in filter(None, name):
            assert hasattr(beamline_client, one)
    methods = set(re.findall(r"`((?:solve|predict|find|waveform|aggregates|models?|health|request)\w*)\(", PAGE))
    assert methods <= set(dir(beamline_client.Client))
    assert len(methods) >= 14
    for link in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (REPOSITORY / "docs" / link).exists(), link
    assert {"wait", "events", "get", "cancel", "result", "list"} <= set(dir(Jobs))
