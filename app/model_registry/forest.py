"""A random forest as plain arrays, whose trees can be asked one by one: each is a draw from what the forest knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from app.model_registry.boosting import Trees, trees_from_arrays
from app.model_registry.pickled_arrays import refuse


@dataclass(frozen=True)
class Forest:
    """Regression trees of several outputs; immutable, may be used from several threads.

    Rows are compared in single precision, as scikit-learn compares them.

    Attributes:
        trees: where each row goes.
        value: what each node answers, shape (node, output).
    """

    trees: Trees
    value: Float[np.ndarray, "node output"]

    def by_tree(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row tree output"]:
        """What each tree says of each row."""
        return self.value[self.trees.leaves(x.astype(np.float32).astype(np.float64))]


def forest_from_arrays(arrays: Mapping[str, np.ndarray], n_features: int) -> Forest:
    """A forest from the arrays of a file, every one of them checked.

    Args:
        arrays: ``tree_nodes``, ``left``, ``feature`` and ``number`` (0 for a leaf) as `trees_from_arrays` takes them,
            and ``value`` (``node output``).
        n_features: columns that the trees look at.

    Raises:
        ModelRefused: as `trees_from_arrays`, or the values do not fit the nodes or are not finite.
    """
    value = arrays["value"]
    nodes = len(arrays["left"])
    if value.shape[0] != nodes or value.shape[1] < 1 or not np.isfinite(value).all():
        raise refuse("The values of a forest do not fit its nodes, or are not finite.")
    no_missing = {"missing_right": np.zeros(nodes, np.uint8), "offset": np.zeros(1)}
    return Forest(trees_from_arrays({**arrays, **no_missing}, n_features), value)
