"""The how-to page says what is so."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.api.indexing_files import PeaksQuery, SolveFileQuery
from app.api.indexing_schema import LearnedIn, LinesIn, OptionsIn, SolutionOut, SolveAnswer
from app.cli import cli
from app.indexing.patterns.pattern_files import ENDINGS
from app.indexing.problem import BRAVAIS, SolveOptions
from tests.api.indexing_client import serving

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "indexing.md").read_text()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("jobs")) as client:
        yield client


def test_the_curl_examples_work(client: TestClient) -> None:
    examples = re.findall(
        r"127\.0\.0\.1:8000(/\S+) -H 'Content-Type: application/json' -d '(\{.*?\})'\n", PAGE, re.DOTALL
    )
    assert [path for path, _ in examples] == ["/indexing/solve", "/indexing/solve/batch"]
    answers = [client.post(path, json=json.loads(body)).json() for path, body in examples]
    assert answers[0]["solutions"]
    assert [entry["error"] is None for entry in answers[1]["answers"]] == [True, False]


def test_the_python_example_works(client: TestClient) -> None:
    (source,) = re.findall(r"^question = (\{.*?^\})", PAGE, re.DOTALL | re.MULTILINE)
    response = client.post("/indexing/solve", json=ast.literal_eval(source))
    assert response.status_code == 200


def test_every_name_is_on_the_page() -> None:
    models = (LinesIn, OptionsIn, LearnedIn, SolveAnswer, SolutionOut)
    names = {name for model in models for name in model.model_fields} | {*BRAVAIS}
    missing = {name for name in names - {"name"} if f"`{name}`" not in PAGE}
    assert not missing


def test_every_ending_is_on_the_page() -> None:
    assert {ending for ending in ENDINGS if f"`{ending}`" not in PAGE} <= {".gsa", ".gsas", ".gss", ".fxye", ".gda"}


def test_the_defaults_are_those_of_the_solver() -> None:
    defaults = SolveOptions()
    for name in ("max_peaks", "max_seconds", "max_solutions", "seed"):
        assert f"| `{name}` | {getattr(defaults, name):g} |" in PAGE
    assert f"| {defaults.min_length_ang:g}, {defaults.max_length_ang:g} |" in PAGE
    assert f"| {defaults.zero_shift_deg:g} with a wavelength |" in PAGE


def test_the_command_line_has_the_options_shown() -> None:
    shown = set(re.findall(r"python -m app solve \S+ (.*)", PAGE))
    text = CliRunner().invoke(cli, ["solve", "--help"]).stdout
    for option in {word for line in shown for word in line.split() if word.startswith("--")}:
        assert option in text


def test_the_query_parameters_shown_exist() -> None:
    shown = set(re.findall(r"[?&](\w+)=", PAGE))
    assert shown <= set(SolveFileQuery.model_fields) | set(PeaksQuery.model_fields)
