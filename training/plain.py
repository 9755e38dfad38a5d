"""Write a fitted scikit-learn estimator as plain arrays, and hold the result against scikit-learn.

The attributes read here are in part private to scikit-learn. That is why the file is read back and compared on rows
that hit the thresholds before anything is published: a version that keeps them otherwise is refused, not misread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sklearn
from jaxtyping import Float
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from app.errors import ModelRefused
from app.model_registry.manifest import PlainForm
from app.model_registry.plain import About, LinkKind, load_plain, plain_bytes

MAX_PARITY: Final = 1e-6
"""Largest difference from scikit-learn, relative to the largest answer where that is above 1."""
GOLDEN_ROWS: Final = 256
MISSING_SHARE: Final = 0.05
"""Share of the golden cells that are NaN, where the estimator takes NaN."""


@dataclass(frozen=True)
class Exported:
    """An estimator's file of plain arrays and what the manifest says of it."""

    content: bytes
    record: PlainForm


def has_plain_form(estimator: Any) -> bool:
    """Whether an estimator is published as plain arrays rather than as a pickle."""
    return type(estimator) in _KINDS


def export(estimator: Any, rng: np.random.Generator) -> Exported:
    """The plain form of a fitted estimator of scikit-learn.

    Args:
        estimator: histogram gradient boosting without categorical features, a random forest for regression, a logistic
            regression, or an isotonic regression that clips.
        rng: draws the rows on which the two are compared.

    Raises:
        ModelRefused: the estimator has no plain form, or its plain form answers otherwise than scikit-learn.
    """
    kind = _KINDS.get(type(estimator))
    if kind is None:
        known = ", ".join(sorted(cls.__name__ for cls in _KINDS))
        raise ModelRefused(f"A {type(estimator).__name__} has no form in plain arrays. These have: {known}.")
    content = plain_bytes(*kind.form(estimator))
    parity = _parity(estimator, content, kind.golden(estimator, rng))
    record = PlainForm(
        source=type(estimator).__name__,
        library_version=sklearn.__version__,
        parity_max_abs=parity,
        golden_rows=GOLDEN_ROWS,
    )
    return Exported(content, record)


def _parity(estimator: Any, content: bytes, rows: Float[np.ndarray, "row feature"]) -> float:
    plain: Any = load_plain(content)
    ask = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    expected, found = getattr(estimator, ask)(rows), getattr(plain, ask)(rows)
    difference = float(np.max(np.abs(found - expected)))
    # Not "difference > bound": NaN must not pass.
    if not difference <= MAX_PARITY * max(1.0, float(np.max(np.abs(expected)))):
        raise ModelRefused(
            f"The plain form of a {type(estimator).__name__} differs from scikit-learn {sklearn.__version__} "
            f"by {difference:.3g}."
        )
    return difference


# Boosting

_BOOSTING_LINKS: Final[dict[str, LinkKind]] = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "sigmoid",
    "MultinomialLogit": "softmax",
}
_Form = tuple[About, dict[str, np.ndarray]]


def _boosting(estimator: Any) -> _Form:
    if np.any(estimator.is_categorical_ if estimator.is_categorical_ is not None else False):
        raise ModelRefused("Boosting with categorical features has no form in plain arrays. Encode them as columns.")
    link = _BOOSTING_LINKS.get(type(estimator._loss.link).__name__)
    if link is None:
        raise ModelRefused(f"Boosting with the loss {estimator.loss} has no form in plain arrays.")
    about = About(score="trees", link=link, n_features=estimator.n_features_in_, classes=_classes(estimator))
    trees = [_tree(tree.nodes) for iteration in estimator._predictors for tree in iteration]
    columns = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    counts = np.array([len(tree["left"]) for tree in trees])
    return about, {**columns, "tree_nodes": counts, "offset": np.ravel(estimator._baseline_prediction)}


def _tree(nodes: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of one tree, its nodes level by level so that a right child follows its left one."""
    order, left = _level_by_level(nodes["left"].tolist(), nodes["right"].tolist(), nodes["is_leaf"].tolist())
    sorted_nodes = nodes[order]
    leaf = sorted_nodes["is_leaf"] != 0
    return {
        "left": np.array(left),
        "feature": np.where(leaf, 0, sorted_nodes["feature_idx"]),
        "number": np.where(leaf, sorted_nodes["value"], sorted_nodes["num_threshold"]),
        "missing_right": np.where(leaf, 0, sorted_nodes["missing_go_to_left"] == 0),
    }


def _level_by_level(left: Sequence[int], right: Sequence[int], leaf: Sequence[int]) -> tuple[list[int], list[int]]:
    """Old index of each new node, and the new index of its left child (0 for a leaf)."""
    order, new_left = [0], []
    for old in order:  # grows while it is walked
        new_left.append(0 if leaf[old] else len(order))
        if not leaf[old]:
            order += [left[old], right[old]]
    return order, new_left


def _boosting_rows(estimator: Any, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    """On, just above and around the thresholds of each feature, some missing."""
    columns = []
    for threshold in estimator._bin_mapper.bin_thresholds_:
        edges = np.concatenate([threshold, np.nextafter(threshold, np.inf), threshold - 1.0, [0.0]])
        columns.append(rng.choice(edges, GOLDEN_ROWS))
    rows = np.stack(columns, axis=1)
    rows[rng.random(rows.shape) < MISSING_SHARE] = np.nan
    return rows


# Random forests


def _forest(estimator: Any) -> _Form:
    trees = [_forest_tree(one.tree_) for one in estimator.estimators_]
    columns = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    counts = np.array([len(tree["left"]) for tree in trees])
    about = About(score="forest", link="identity", n_features=estimator.n_features_in_)
    return about, {**columns, "tree_nodes": counts}


def _forest_tree(tree: Any) -> dict[str, np.ndarray]:
    leaf = tree.children_left < 0
    order, left = _level_by_level(tree.children_left.tolist(), tree.children_right.tolist(), leaf.tolist())
    leaf = leaf[order]
    return {
        "left": np.array(left),
        "feature": np.where(leaf, 0, tree.feature[order]),
        "number": np.where(leaf, 0.0, tree.threshold[order]),
        # Inner nodes are never asked, and zeros take no place.
        "value": np.where(leaf[:, None], tree.value[order][:, :, 0], 0.0),
    }


def _forest_rows(estimator: Any, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    """On and around thresholds of each feature."""
    feature = np.concatenate([one.tree_.feature for one in estimator.estimators_])
    threshold = np.concatenate([one.tree_.threshold for one in estimator.estimators_])
    columns = []
    for column in range(estimator.n_features_in_):
        found = np.append(threshold[feature == column], 0.0)
        columns.append(rng.choice(np.concatenate([found, found + 1e-3, found - 1.0]), GOLDEN_ROWS))
    return np.stack(columns, axis=1)


# Logistic and isotonic regression


def _logistic(estimator: Any) -> _Form:
    link: LinkKind = "sigmoid" if len(estimator.coef_) == 1 else "softmax"
    about = About(score="linear", link=link, n_features=estimator.n_features_in_, classes=_classes(estimator))
    return about, {"coefficient": estimator.coef_, "intercept": estimator.intercept_}


def _logistic_rows(estimator: Any, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return rng.normal(scale=3.0, size=(GOLDEN_ROWS, estimator.n_features_in_))


def _isotonic(estimator: Any) -> _Form:
    if estimator.out_of_bounds != "clip":
        raise ModelRefused("An isotonic regression is published with out_of_bounds='clip': it must answer everywhere.")
    about = About(score="interpolation", link="identity", n_features=1)
    return about, {"x": estimator.X_thresholds_, "y": estimator.y_thresholds_}


def _isotonic_rows(estimator: Any, rng: np.random.Generator) -> Float[np.ndarray, "row 1"]:
    x = estimator.X_thresholds_
    spread = 1.0 + float(np.ptp(x))
    rows = np.concatenate([rng.choice(x, 64), rng.uniform(x[0] - spread, x[-1] + spread, GOLDEN_ROWS - 64)])
    return rows.astype(x.dtype)[:, None]


def _classes(estimator: Any) -> tuple[bool | int | float | str, ...] | None:
    found = getattr(estimator, "classes_", None)
    if found is None:
        return None
    labels = tuple(found.tolist())
    if any(type(label) not in (bool, int, float, str) for label in labels):
        raise ModelRefused("The labels of a published classifier are numbers or text.")
    return labels


@dataclass(frozen=True)
class _Kind:
    """How an estimator is written, and the rows on which it is compared."""

    form: Callable[[Any], _Form]
    golden: Callable[[Any, np.random.Generator], Float[np.ndarray, "row feature"]]


_KINDS: Final[dict[type, _Kind]] = {
    HistGradientBoostingClassifier: _Kind(_boosting, _boosting_rows),
    HistGradientBoostingRegressor: _Kind(_boosting, _boosting_rows),
    RandomForestRegressor: _Kind(_forest, _forest_rows),
    LogisticRegression: _Kind(_logistic, _logistic_rows),
    IsotonicRegression: _Kind(_isotonic, _isotonic_rows),
}
