"""The forest that the network of low-order assignments is held against."""

from __future__ import annotations

import numpy as np
import pytest

from app.indexing.learned.template_features import template_features
from app.indexing.learned.templates import INPUT, pairs_of
from training.indexing.templates.data import TemplateSet, draw_templates, measured
from training.indexing.templates.forest import forest_network, shown_pairs

SYMBOL = "tP"


@pytest.fixture(scope="module")
def patterns() -> TemplateSet:
    return draw_templates(SYMBOL, 200, seed=5)


def test_the_pairs_of_every_right_row_are_marked_and_no_others(patterns: TemplateSet) -> None:
    pairs = pairs_of(SYMBOL)
    marks = shown_pairs(pairs, patterns)
    for own, right in zip(marks, patterns.right, strict=True):
        expected = np.unique(pairs.rows[:, right[right >= 0]])
        np.testing.assert_array_equal(np.flatnonzero(own), expected)


def test_it_gives_every_pair_a_value_that_depends_on_the_lines(patterns: TemplateSet) -> None:
    forest = forest_network(SYMBOL, patterns, seed=1)
    values = forest({INPUT: template_features(*measured(patterns.q2, np.random.default_rng(0)))})[SYMBOL]
    assert values.shape == (len(patterns), len(pairs_of(SYMBOL).line))
    assert np.isfinite(values).all()
    assert values.std(axis=0).max() > 0.0
