"""The how-to page says what is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.api.waveform_answers import Answer, answer_tensors
from app.api.waveform_schema import BodyOptions, QueryOptions, WaveformOut
from app.main import create_app
from app.settings import Settings
from app.waveform.detector import DETECTORS
from app.waveform.models import waveform_model
from app.waveform.predict import MEANINGS, Ask, predict
from tests.polarization_models import MemoryRegistry
from tests.waveform_fakes import recorded, width_model

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "waveform.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PUBLISHED = (REPOSITORY / "model_store" / "waveform-s2").is_dir()


@pytest.fixture(scope="module", params=["by formula", "published"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    if request.param == "published" and not PUBLISHED:
        pytest.skip("the store has no waveform-s2 yet")
    registry = MemoryRegistry(width_model()) if request.param == "by formula" else None
    with TestClient(create_app(Settings(model_store=REPOSITORY / "model_store"), registry=registry)) as client:
        yield client


def printed(example: str, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def post(url: str, **options: Any) -> Any:
        return client.post(url.removeprefix("http://127.0.0.1:8000"), **options)

    monkeypatch.setattr(httpx, "post", post)
    lines: list[str] = []
    exec(compile(example, "waveform.md", "exec"), {"print": lambda *words: lines.append(" ".join(map(str, words)))})  # noqa: S102  (our own page)
    return lines


def test_the_first_example_finds_its_two_pulses(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = printed(EXAMPLES[0], client, monkeypatch)
    number, separation, _ = line.split(" ", 2)
    assert number == "2"
    assert float(separation) == pytest.approx(2.7, abs=0.4)


@pytest.mark.parametrize(("example", "expected"), [(1, ["100"]), (2, ["['p_two', 'd_us']"])])
def test_an_example_runs(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, example: int, expected: list[str]
) -> None:
    assert printed(EXAMPLES[example], client, monkeypatch) == expected


def test_everything_is_described() -> None:
    options = {*BodyOptions.model_fields, *QueryOptions.model_fields}
    for name in {*options, *_tensor_names(), *DETECTORS}:
        assert f"`{name}`" in PAGE, name
    for name in WaveformOut.model_fields:
        assert f"`{name}`" in PAGE or name.endswith("_mm"), name


def _tensor_names() -> set[str]:
    ask = Ask(recorded(1.0))
    return set(answer_tensors(Answer(ask, predict(ask, waveform_model(width_model())), "m", "1", None)))


def test_the_warnings_stand_in_the_order_of_their_bits() -> None:
    table = re.findall(r"^\| `([a-z-]+)` \|", PAGE[PAGE.index("| code | meaning |") :], re.MULTILINE)
    assert table == list(MEANINGS)
