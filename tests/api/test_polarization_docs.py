"""The how-to page says what is so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.polarization.predict import MEANINGS
from app.settings import Settings
from tests.polarization_models import all_models

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "polarization.md").read_text()


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(), registry=all_models())) as client:
        yield client


def test_the_curl_example_works(client: TestClient) -> None:
    (body,) = re.findall(r"-d '(\{.*?\})'\n", PAGE, re.DOTALL)
    assert client.post("/polarization/predict", json=json.loads(body)).status_code == 200


def test_the_python_example_works(client: TestClient) -> None:
    (source,) = re.findall(r"^experiment = (\{.*?^\})", PAGE, re.DOTALL | re.MULTILINE)
    response = client.post(
        "/polarization/predict", json={"experiments": [json.loads(re.sub(r",(\s*\})", r"\1", source))]}
    )
    assert response.status_code == 200
    assert response.json()["experiments"][0]["warnings"] == []


def test_every_warning_is_in_the_table() -> None:
    for code in (*MEANINGS, "unknown-cell", "outside-training-range"):
        assert f"`{code}`" in PAGE
