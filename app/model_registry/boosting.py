"""Boosted trees as plain arrays, walked by NumPy: all trees and a block of rows take one step down at a time.

scikit-learn's histogram gradient boosting visits the trees one after another from Python and needs a second to import;
its native code follows node indices unchecked. Here the indices are checked once, when the arrays are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.model_registry.pickled_arrays import refuse

WALKERS: Final = 16384
"""Rows times trees that walk together: their positions stay in the processor's cache."""
STRIDE: Final = 4
"""Levels between two looks at who has reached a leaf."""


@dataclass(frozen=True)
class Trees:
    """The sum of many binary decision trees, all in one set of arrays; immutable, may be used from several threads.

    An inner node sends a row right where the row's feature is above the threshold; the right child follows the left
    one. A leaf sends every row to itself.

    Attributes:
        feature: column that a node looks at.
        threshold: in the feature's unit, infinite for a leaf and for a split between known and missing.
        missing_right: whether a row whose feature is NaN goes right.
        left: index of the left child, a leaf's own index.
        value: what a leaf adds to its output, 0 for an inner node.
        root: first node of each tree; tree ``i`` adds to output ``i % outputs``.
        offset: what each output starts from.
    """

    feature: Int[np.ndarray, "node"]
    threshold: Float[np.ndarray, "node"]
    missing_right: Bool[np.ndarray, "node"]
    left: Int[np.ndarray, "node"]
    value: Float[np.ndarray, "node"]
    root: Int[np.ndarray, "tree"]
    offset: Float[np.ndarray, "output"]

    def __call__(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row output"]:
        """The sums, for any number of rows; NaN stands for a missing feature."""
        sums = np.empty((len(x), len(self.offset)))
        block = max(1, WALKERS // len(self.root))
        for start in range(0, len(x), block):
            sums[start : start + block] = self._walk(x[start : start + block])
        return sums + self.offset

    def leaves(self, x: Float[np.ndarray, "row feature"]) -> Int[np.ndarray, "row tree"]:
        """The leaf that each row reaches in each tree; takes memory for rows times trees."""
        step = self._step if np.isnan(x).any() else self._step_of_known
        cells = x.ravel()
        row_start = np.repeat(np.arange(len(x)) * x.shape[1], len(self.root))
        reached = np.tile(self.root, len(x))
        walking = np.arange(len(reached))
        while walking.size:
            node, start = reached[walking], row_start[walking]
            for _ in range(STRIDE):
                node = step(node, cells, start)
            reached[walking] = node
            walking = walking[self.left.take(node) != node]
        return reached.reshape(len(x), len(self.root))

    def _walk(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row output"]:
        return self.value.take(self.leaves(x)).reshape(len(x), -1, len(self.offset)).sum(axis=1)

    def _step_of_known(
        self, node: Int[np.ndarray, "walker"], cells: Float[np.ndarray, "cell"], start: Int[np.ndarray, "walker"]
    ) -> Int[np.ndarray, "walker"]:
        """One level down; walker ``w`` sees the row that begins at ``cells[start[w]]``."""
        return self.left.take(node) + (cells.take(start + self.feature.take(node)) > self.threshold.take(node))

    def _step(
        self, node: Int[np.ndarray, "walker"], cells: Float[np.ndarray, "cell"], start: Int[np.ndarray, "walker"]
    ) -> Int[np.ndarray, "walker"]:
        """The same where features may be missing."""
        value = cells.take(start + self.feature.take(node))
        missing = np.isnan(value) & self.missing_right.take(node)
        return self.left.take(node) + ((value > self.threshold.take(node)) | missing)


def trees_from_arrays(arrays: Mapping[str, np.ndarray], n_features: int) -> Trees:
    """Trees from the arrays of a file, every one of them checked.

    Args:
        arrays: ``tree_nodes`` (``tree``: nodes of each tree), ``left`` (``node``: the left child's place within its
            tree, 0 for a leaf; the right child follows it), ``feature`` (``node``), ``number`` (``node``: threshold of
            an inner node, value of a leaf), ``missing_right`` (``node``: 0 or 1), ``offset`` (``output``).
        n_features: columns that the trees look at.

    Raises:
        ModelRefused: the arrays differ in length, a child lies outside of its tree or not after its parent, a node has
            no parent or several, a feature is out of range, or a number is not finite.
    """
    count, offset = arrays["tree_nodes"].astype(np.intp), arrays["offset"]
    feature, relative = arrays["feature"].astype(np.intp), arrays["left"].astype(np.intp)
    number, missing_right = arrays["number"], arrays["missing_right"]
    nodes = len(feature)
    lengths = {nodes, len(relative), len(number), len(missing_right), int(count.sum())}
    if len(lengths) != 1 or not len(count) or np.any(count < 1) or not len(offset) or len(count) % len(offset):
        raise refuse("The trees' arrays differ in length.")
    root = np.cumsum(count) - count
    inner = relative != 0
    left = np.where(inner, np.repeat(root, count) + relative, np.arange(nodes))
    _check_children(left, inner, root, np.repeat(root + count, count))
    if np.any((feature < 0) | (feature >= n_features)) or np.any(missing_right > 1):
        raise refuse("A tree's node looks at a column that does not exist.")
    if np.any(np.isnan(number)) or not np.isfinite(number[~inner]).all() or not np.isfinite(offset).all():
        raise refuse("A tree holds numbers that are not finite.")
    return Trees(
        feature=feature,
        threshold=np.where(inner, number, np.inf),
        missing_right=(missing_right == 1) & inner,
        left=left,
        value=np.where(inner, 0.0, number),
        root=root,
        offset=offset,
    )


def _check_children(
    left: Int[np.ndarray, "node"],
    inner: Bool[np.ndarray, "node"],
    root: Int[np.ndarray, "tree"],
    end: Int[np.ndarray, "node"],
) -> None:
    """Every child after its parent and inside its tree, every node but a root the child of exactly one."""
    nodes = len(left)
    if np.any(inner & ((left <= np.arange(nodes)) | (left + 1 >= end))):
        raise refuse("A tree's nodes point backwards or out of the tree.")
    parents = np.bincount(np.concatenate([left[inner], left[inner] + 1, root]), minlength=nodes)
    if np.any(parents != 1):
        raise refuse("A tree's nodes do not have one parent each.")
