"""A random forest in the place of the network that scores low-order assignments, to hold the network against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import RandomForestRegressor

from app.indexing.learned.template_features import template_features
from app.indexing.learned.templates import INPUT, Pairs, pairs_of
from app.model_registry.runtime import Network
from training.indexing.templates.data import TemplateSet, measured

TREES: Final = 80
SHARE: Final = 0.1
LEAF: Final = 10
_LEAST: Final = 1e-3


def forest_network(symbol: str, learnt: TemplateSet, *, seed: int) -> Network:
    """Grow a forest that says how often each pair (line, reflection) is in a right row of a pattern like this.

    A pair's value is the logarithm of that share over its share among all patterns, so that the sum of a row's values
    and its prior is the logarithm of its odds if its pairs were independent.

    Args:
        symbol: Bravais lattice.
        learnt: patterns to learn from.
        seed: of the errors of the lines and of the trees.
    """
    pairs = pairs_of(symbol)
    target = shown_pairs(pairs, learnt)
    some: Any = "sqrt"
    grown = RandomForestRegressor(TREES, min_samples_leaf=LEAF, max_samples=SHARE, max_features=some, random_state=seed)
    grown.fit(template_features(*measured(learnt.q2, np.random.default_rng([seed, 4]))), target)
    usual = np.log(target.mean(axis=0) + _LEAST)

    def values(inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        share = grown.predict(inputs[INPUT])
        return {symbol: (np.log(share + _LEAST) - usual).astype(np.float32)}

    return values


def shown_pairs(pairs: Pairs, patterns: TemplateSet) -> Float[np.ndarray, "pattern pair"]:
    """Mark the pairs of all right rows of each pattern."""
    marks = np.zeros((len(patterns), len(pairs.line)), np.float32)
    pattern, place = np.nonzero(patterns.right >= 0)
    marks[pattern[None], pairs.rows[:, patterns.right[pattern, place]]] = 1.0
    return marks
