"""What 'Try it out' sends really indexes: the solver finds the published cells."""

from __future__ import annotations

import pytest

from app.api.indexing_examples import EXAMPLES, PUBLISHED
from app.api.indexing_schema import SolveRequest
from app.indexing import job
from app.indexing.question import ask


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_its_published_cell(name: str) -> None:
    pytest.importorskip("app.indexing.solve")
    asked = SolveRequest.model_validate(EXAMPLES[name]["value"])
    question = ask(asked.lines(), asked.changes(), name=asked.name or "")
    best = job.solved(question).solutions[0]
    bravais, a, c = PUBLISHED[question.name]
    assert best.bravais == bravais
    assert (best.cell.a_ang, best.cell.c_ang) == pytest.approx((a, c), rel=2e-3)
