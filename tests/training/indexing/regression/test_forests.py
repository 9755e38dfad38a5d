"""Forests as in the report, and their plain form tree by tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput, ModelRefused
from app.model_registry.plain import PlainForest, load_plain
from training.indexing.regression.forests import ForestArgs, by_tree, fit_forest
from training.plain import export

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 4))
Y = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)


def test_trees_are_many_small_and_of_a_tenth_of_the_rows() -> None:
    forest = fit_forest(X, Y, ForestArgs())
    assert len(forest.estimators_) == 80
    leaves = [tree.tree_.n_node_samples[tree.tree_.children_left < 0] for tree in forest.estimators_]
    # A row that was drawn twice counts once in n_node_samples, twice in the weight.
    assert all(tree.tree_.weighted_n_node_samples[0] == 200 for tree in forest.estimators_)
    assert min(len(one) for one in leaves) > 5
    mean = by_tree(forest, X[:50]).mean(axis=1)
    np.testing.assert_allclose(mean, forest.predict(X[:50]), rtol=1e-6)


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_plain_form_answers_as_scikit_learn_tree_by_tree(outputs: int) -> None:
    forest = fit_forest(X, Y[:, :outputs], ForestArgs(n_trees=12))
    plain: Any = load_plain(export(forest, np.random.default_rng(0)).content)
    assert isinstance(plain, PlainForest)
    rows = np.random.default_rng(1).normal(size=(300, 4))
    np.testing.assert_allclose(plain.by_tree(rows), by_tree(forest, rows), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(plain.predict(rows), forest.predict(rows), rtol=1e-6, atol=1e-6)


def test_rows_that_a_forest_does_not_take_are_the_callers_error() -> None:
    plain: Any = load_plain(export(fit_forest(X, Y, ForestArgs(n_trees=2)), np.random.default_rng(0)).content)
    with pytest.raises(InvalidInput, match="4 features"):
        plain.by_tree(np.zeros((1, 3)))
    with pytest.raises(InvalidInput, match="finite"):
        plain.by_tree(np.full((1, 4), np.nan))


def test_values_that_do_not_fit_the_nodes_are_refused() -> None:
    from app.model_registry.forest import forest_from_arrays

    arrays = {"tree_nodes": np.array([1]), "left": np.array([0]), "feature": np.array([0]), "number": np.array([0.0])}
    for value in (np.zeros((2, 1)), np.zeros((1, 0)), np.full((1, 1), np.inf)):
        with pytest.raises(ModelRefused, match="values"):
            forest_from_arrays({**arrays, "value": value}, 3)
    assert forest_from_arrays({**arrays, "value": np.ones((1, 2))}, 3).by_tree(np.zeros((4, 3))).shape == (4, 1, 2)
