"""What 'Try it out' sends really indexes: the solver finds the published cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.indexing_examples import EXAMPLES, PUBLISHED
from app.api.indexing_schema import SolveAnswer, SolveRequest
from app.indexing import job
from app.indexing.question import ask
from app.main import create_app
from app.settings import Settings
from tests.fakes import FakeRegistry


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_its_published_cell(name: str) -> None:
    pytest.importorskip("app.indexing.solve")
    asked = SolveRequest.model_validate(EXAMPLES[name]["value"])
    question = ask(asked.lines(), asked.changes(), name=asked.name or "")
    best = job.solved(question).solutions[0]
    bravais, a, c = PUBLISHED[question.name]
    assert best.bravais == bravais
    assert (best.cell.a_ang, best.cell.c_ang) == pytest.approx((a, c), rel=2e-3)


def test_the_service_indexes(tmp_path: Path) -> None:
    """End to end: HTTP, the job's worker process, the solver, and back."""
    pytest.importorskip("app.indexing.solve")
    settings = Settings(jobs_database=f"sqlite:///{tmp_path}/jobs.sqlite3", job_workers=1)
    with TestClient(create_app(settings, registry=FakeRegistry())) as client:
        response = client.post("/indexing/solve", json=EXAMPLES["2theta"]["value"])
        assert response.status_code == 200, response.text
        found = SolveAnswer.model_validate_json(response.content)
        assert found.solutions[0].bravais == "cP"
        assert found.solutions[0].niggli.a_ang == pytest.approx(4.15689, abs=2e-3)
        assert found.solutions[0].n_indexed == len(EXAMPLES["2theta"]["value"]["two_theta_deg"])
        for accept in ("text/csv", "chemical/x-cif", "image/svg+xml"):
            answer = client.post("/indexing/solve", json=EXAMPLES["2theta"]["value"], headers={"Accept": accept})
            assert answer.status_code == 200, accept
