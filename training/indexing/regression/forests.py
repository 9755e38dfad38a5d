"""Random forests for the cell constants, whose trees are taken one by one as draws (report, 2.2.3 and 2.4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import RandomForestRegressor


@dataclass(frozen=True)
class ForestArgs:
    """How a forest is grown; the defaults are the report's.

    Attributes:
        n_trees: trees.
        subsample: share of the training set that each tree sees, drawn with replacement.
        least_in_leaf: rows in each leaf at least.
        seed: of the subsamples.
    """

    n_trees: int = 80
    subsample: float = 0.1
    least_in_leaf: int = 10
    seed: int = 0


def fit_forest(
    inputs: Float[np.ndarray, "row feature"], targets: Float[np.ndarray, "row param"], args: ForestArgs
) -> RandomForestRegressor:
    """Fit one forest to scaled lines and cells; on one core."""
    forest = RandomForestRegressor(
        n_estimators=args.n_trees,
        max_samples=max(1, round(args.subsample * len(inputs))),
        min_samples_leaf=args.least_in_leaf,
        random_state=args.seed,
        n_jobs=1,
    )
    return forest.fit(inputs, targets[:, 0] if targets.shape[1] == 1 else targets)


def by_tree(
    forest: RandomForestRegressor, inputs: Float[np.ndarray, "row feature"]
) -> Float[np.ndarray, "row tree param"]:
    """What each tree says."""
    rows = inputs.astype(np.float32)
    said = [np.asarray(tree.predict(rows), dtype=np.float64).reshape(len(rows), -1) for tree in forest.estimators_]
    return np.stack(said, axis=1)
