"""The page on the open inference protocol: its examples run as they are printed and print what it shows."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.clients.conftest import ADMIN_KEY
from tests.clients.environment import python_with
from tests.served import REPOSITORY

PAGE = (REPOSITORY / "docs" / "open-inference.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_an_example_prints_what_is_shown(code: str, shown: str, server: str) -> None:
    python = str(python_with("kserve")) if "kserve" in code else sys.executable
    script = code.replace("127.0.0.1:8000", server)
    environment = {"BEAMLINE_ADMIN_KEY": ADMIN_KEY, "PATH": ""}
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout == shown, done.stderr


def test_there_is_an_example_for_each_client() -> None:
    code = "".join(code for code, _ in EXAMPLES)
    assert len(EXAMPLES) == PAGE.count("```python") == 4
    assert all(f"import {client}" in code or f"from {client}" in code for client in ("tritonclient", "kserve", "httpx"))
