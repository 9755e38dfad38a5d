"""The commands that the page offers to copy work as they are, in a shell and in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import Tab

KEYS = {"polarization": "segments", "waveform": "waveforms", "aggregates": "patterns", "indexing": "solutions"}


def command(page: Page, language: str, form: str) -> str:
    page.click(f"[data-language={language}]")
    page.get_by_label("answer as").select_option(form)
    page.click("[data-copy=call]")
    return page.locator(".same code").inner_text()


def run(text: str, language: str, folder: Path) -> str:
    """What a command prints, in a folder of its own."""
    program = ["sh", "-e", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    done = subprocess.run(program, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("task", KEYS)
def test_an_example_as_curl_and_as_python(tab: Tab, tmp_path: Path, task: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    page = tab.page
    page.click(f"[data-example={task}]")
    expect(page.locator(".same code")).to_be_visible()
    assert KEYS[task] in json.loads(run(command(page, "curl", "json"), "curl", tmp_path))
    assert repr(KEYS[task]) in run(command(page, "python", "json"), "python", tmp_path)
    run(command(page, "curl", "svg"), "curl", tmp_path)
    assert "<svg" in (tmp_path / f"{task}.svg").read_text("utf-8")


def test_a_pasted_request_with_quotes_and_options_as_curl_and_as_python(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    lines = [4.157, 2.939, 2.400, 2.078, 1.859, 1.697, 1.470, 1.386]
    request = json.dumps({"name": 'it\'s "LaB6" $HOME', "d_ang": lines, "lattices": ["cP", "cI"]})
    page.get_by_text("or paste text").click()
    page.get_by_label("Text of a measurement").fill(request)
    page.get_by_role("button", name="Use this text").click()
    page.get_by_label("cI").uncheck()
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".headline h2")).to_contain_text("cP")
    told = json.loads(run(command(page, "curl", "json"), "curl", tmp_path))
    assert told["name"] == 'it\'s "LaB6" $HOME'
    assert {search["lattice"] for search in told["searches"]} == {"cP"}
    assert "_cell_length_a" in run(command(page, "python", "cif"), "python", tmp_path)
