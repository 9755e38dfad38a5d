"""What the index networks are held against: both know more than nothing, the forest more than the trivial one."""

from __future__ import annotations

import numpy as np
import pytest

from app.indexing.learned.indices import differences
from training.indexing.indices.evaluate import scores
from training.indexing.indices.networks import IndexArgs, Lesson, make_school
from training.indexing.indices.rivals import Answer, commonest_answer, forest_answer
from training.indexing.indices.rows import random_rows

ARGS = IndexArgs("cubic", foreign=0.0, sigma_deg=0.0)


@pytest.fixture(scope="module")
def lessons() -> tuple[Lesson, Lesson]:
    training, validation = (random_rows("cubic", 120, np.random.default_rng(seed)) for seed in (1, 2))
    school = make_school(ARGS, training, validation)
    return school.lesson("0.01"), school.lesson("0.01", validation=True)


@pytest.fixture(scope="module")
def answers(lessons: tuple[Lesson, Lesson]) -> dict[str, Answer]:
    return {"commonest": commonest_answer(lessons[0]), "forest": forest_answer(lessons[0])}


@pytest.mark.parametrize("name", ["commonest", "forest"])
def test_they_give_probabilities(name: str, answers: dict[str, Answer], lessons: tuple[Lesson, Lesson]) -> None:
    x, q2 = lessons[1].seen(np.arange(3), np.random.default_rng(0))
    found = answers[name](differences(x, q2, lessons[1].design), q2)
    assert found.shape == (*q2.shape, len(lessons[1].design) + 1)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=1e-6)


def test_the_forest_sees_the_cell(answers: dict[str, Answer], lessons: tuple[Lesson, Lesson]) -> None:
    losses = {name: scores(lessons[1], answer).log_loss for name, answer in answers.items()}
    assert losses["forest"] < losses["commonest"] < np.log(len(lessons[1].design) + 1)
