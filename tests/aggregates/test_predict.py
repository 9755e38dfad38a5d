"""An answer is said or not said for reasons that are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.aggregates.intake import prepare
from app.aggregates.measurement import Measurement
from app.aggregates.predict import BLOCK, LEAST_PHOTONS, predict
from app.errors import ModelOutputInvalid
from tests.aggregates.fake_model import FormulaModel

DECLARED = Measurement(radius_px=5.0, beam_stop_px=3.0)
IMAGES = np.random.default_rng(2).poisson(3.0, (5, 64, 64)).astype(np.uint16)


def prepared(images: np.ndarray = IMAGES, mask: np.ndarray | None = None) -> Any:
    return prepare(images, mask, np.array([32.0, 32.0]), DECLARED)


def test_many_patterns_are_answered_as_each_alone() -> None:
    many = np.concatenate([IMAGES] * (BLOCK // 2))
    answers = predict(prepared(many), FormulaModel())
    alone = [predict(prepared(IMAGES[i : i + 1]), FormulaModel())[0] for i in range(len(IMAGES))]
    assert answers == alone * (BLOCK // 2)


def test_the_count_is_the_most_probable_or_nothing() -> None:
    bright = IMAGES.astype(float)
    bright[1] *= 1000
    answers = predict(prepared(bright), FormulaModel())
    assert answers[0].count == answers[0].most_probable == 1 + int(np.argmax(answers[0].probability))
    assert answers[1].count is None
    assert answers[1].reasons == ("too bright by far",)
    assert answers[1].most_probable in range(1, 6)


def test_nothing_is_said_of_an_empty_picture() -> None:
    dark = np.zeros((1, 64, 64), np.uint16)
    dark[0, 10, :9] = 10
    (answer,) = predict(prepared(dark), FormulaModel())
    assert answer.photons < LEAST_PHOTONS
    assert answer.count is None


def test_nothing_is_said_where_next_to_nothing_measures() -> None:
    mask = np.ones(IMAGES.shape, bool)
    mask[2, 10:] = False
    answers = predict(prepared(mask=mask), FormulaModel())
    assert [answer.abstained for answer in answers] == [False, False, True, False, False]
    assert "measures" in answers[2].reasons[0]


@pytest.mark.parametrize("change", [lambda p: p * 2, lambda p: -p, lambda p: p * np.nan, lambda p: p[:, :4]])
def test_what_is_no_probability_is_refused(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FormulaModel()
    sound = model.classify

    def classify(*arguments: Any) -> Any:
        found = sound(*arguments)
        return replace(found, probability=change(found.probability))

    monkeypatch.setattr(model, "classify", classify)
    with pytest.raises(ModelOutputInvalid):
        predict(prepared(), model)
