"""Ways to turn the cells of an answer into probabilities, compared by `training.indexing.probability.fit`.

A method is fitted on answers and gives every cell of others a probability. Those that end in ``softmax`` weigh the
cells of an answer against each other and against "none of them"; the others look at each cell by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from app.indexing.learned.probability import ScoredProbability, log_odds_of
from app.indexing.learned.probability_features import MOST_CELLS
from training.indexing.probability.data import Answers, folds_of

TODAY: Final = 3.0
"""The evidence was divided by this before any of it was fitted."""
INNER_FOLDS: Final = 4
FOREST_TREES: Final = 100
FOREST_LEAF: Final = 10
_RANGE: Final = (0.001, 0.999)
"""Quantiles of a feature in training at which it is clipped."""

Cells = Float[np.ndarray, "cell"]
Fitted = Callable[[Answers], Cells]
Method = Callable[[Answers, np.random.Generator], Fitted]


# --- softmax over an answer with "none" -------------------------------------------------------------------------------


def softmax(scores: Cells, none: float, answers: Answers) -> Cells:
    """Give each cell its share of its answer, in which none has a share, too."""
    top = np.full(answers.count, none)
    np.maximum.at(top, answers.answer, scores)
    weight = np.exp(scores - top[answers.answer])
    total = np.exp(none - top)
    np.add.at(total, answers.answer, weight)
    return weight / total[answers.answer]


def apart(scores: Cells, none: float, answers: Answers) -> Cells:
    """Hold each cell against none alone, and scale those of an answer down to a sum of at most 1."""
    alone = expit(scores - none)
    total = np.bincount(answers.answer, alone, minlength=answers.count)
    return alone / np.maximum(total, 1.0)[answers.answer]


def shared(part: ScoredProbability, answers: Answers) -> Cells:
    """Give every cell the probability as the service does."""
    return (softmax if part.competing else apart)(part.scores(answers.features), part.none, answers)


def listwise_loss(scores: Cells, none: float, answers: Answers) -> tuple[float, Cells, float]:
    """Mean -ln of the probability of what is right (a cell, or none), and its slope in the scores and in ``none``."""
    p = softmax(scores, none, answers)
    share = np.bincount(answers.answer, p * answers.right, minlength=answers.count)
    found = answers.found
    rest = 1.0 - np.bincount(answers.answer, p, minlength=answers.count)
    truth = np.maximum(np.where(found, share, rest), 1e-300)
    at = answers.answer
    posterior = np.where(answers.right & found[at], p / np.maximum(share[at], 1e-300), 0.0)
    slope = (p - posterior) / answers.count
    slope_none = float(np.sum(rest - ~found) / answers.count)
    return float(-np.log(truth).mean()), slope, slope_none


def fit_softmax(
    columns: Float[np.ndarray, "cell column"], answers: Answers, ridge: float, start: Float[np.ndarray, "column"]
) -> tuple[Float[np.ndarray, "column"], float]:
    """Fit the weights of columns and the score of none by the listwise loss with a ridge on the weights."""

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, none = parameters[:-1], float(parameters[-1])
        value, slope, slope_none = listwise_loss(columns @ weights, none, answers)
        penalty = 0.5 * ridge * float(weights @ weights) / answers.count
        return value + penalty, np.append(columns.T @ slope + ridge * weights / answers.count, slope_none)

    found: Any = minimize(loss, np.append(start, 0.0), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return found.x[:-1], float(found.x[-1])


def fit_apart(
    columns: Float[np.ndarray, "cell column"], answers: Answers, ridge: float, start: Float[np.ndarray, "column"]
) -> tuple[Float[np.ndarray, "column"], float]:
    """Fit the same by the log loss of each cell by itself."""

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights = parameters[:-1]
        scores = columns @ weights - parameters[-1]
        value = np.sum(np.logaddexp(0.0, scores) - answers.right * scores) / answers.count
        slope = (expit(scores) - answers.right) / answers.count
        penalty = 0.5 * ridge * float(weights @ weights) / answers.count
        return value + penalty, np.append(columns.T @ slope + ridge * weights / answers.count, -slope.sum())

    found: Any = minimize(loss, np.append(start, 0.0), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return found.x[:-1], float(found.x[-1])


# --- estimators of a cell's score -------------------------------------------------------------------------------------


def range_of(answers: Answers) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
    """Give where each feature is clipped."""
    low, high = np.quantile(answers.features, _RANGE, axis=0)
    return low, high


Estimate = Callable[[Float[np.ndarray, "cell feature"], Answers, np.random.Generator], Any]


def logistic(x: Float[np.ndarray, "cell feature"], answers: Answers, _: np.random.Generator) -> LogisticRegression:
    """Fit a ridge logistic regression of each cell by itself."""
    mean, spread = _scale(x)
    fitted = LogisticRegression(C=0.3, max_iter=2000).fit((x - mean) / spread, answers.right)
    return _unscaled(fitted.coef_[0], float(fitted.intercept_[0]), mean, spread)


def conditional(x: Float[np.ndarray, "cell feature"], answers: Answers, _: np.random.Generator) -> LogisticRegression:
    """Fit a conditional logit: linear scores that compete within an answer and with none."""
    mean, spread = _scale(x)
    weights, none = fit_softmax((x - mean) / spread, answers, ridge=3.0, start=np.zeros(x.shape[1]))
    return _unscaled(weights, -none, mean, spread)


def boosting(
    x: Float[np.ndarray, "cell feature"], answers: Answers, rng: np.random.Generator
) -> HistGradientBoostingClassifier:
    """Fit boosted trees of each cell by itself."""
    estimator = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=120,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        l2_regularization=5.0,
        max_features=0.5,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=int(rng.integers(2**31)),
    )
    with threadpool_limits(1):  # small sets: threads would wait for each other
        return estimator.fit(x, answers.right)


def forest(x: Float[np.ndarray, "cell feature"], answers: Answers, rng: np.random.Generator) -> RandomForestClassifier:
    """Grow a random forest on each cell by itself."""
    grown = RandomForestClassifier(FOREST_TREES, min_samples_leaf=FOREST_LEAF, random_state=int(rng.integers(2**31)))
    return grown.fit(x, answers.right)


def _scale(x: Float[np.ndarray, "cell feature"]) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
    spread = x.std(axis=0)
    return x.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)


def _unscaled(
    weights: Float[np.ndarray, "feature"],
    intercept: float,
    mean: Float[np.ndarray, "feature"],
    spread: Float[np.ndarray, "feature"],
) -> LogisticRegression:
    """The same linear score of features as they come, in the form that is published."""
    estimator = LogisticRegression()
    estimator.coef_ = (weights / spread)[None]
    estimator.intercept_ = np.array([intercept - float(weights / spread @ mean)])
    estimator.classes_ = np.array([False, True])
    estimator.n_features_in_ = len(weights)  # pyright: ignore[reportAttributeAccessIssue]
    return estimator


# --- methods ----------------------------------------------------------------------------------------------------------


def today(_: Answers, __: np.random.Generator) -> Fitted:
    """Evidence over three, with chance as the other choice."""
    return lambda answers: softmax(answers.log_odds / TODAY, 0.0, answers)


def temperature(answers: Answers, _: np.random.Generator) -> Fitted:
    """The same with the temperature that fits best (Guo et al., ICML 2017)."""
    grid = np.geomspace(0.5, 60.0, 80)
    best = min(grid, key=lambda t: listwise_loss(answers.log_odds / t, 0.0, answers)[0])
    return lambda others: softmax(others.log_odds / best, 0.0, others)


def isotonic(answers: Answers, rng: np.random.Generator) -> Fitted:
    """Isotonic regression of what evidence over three says of a cell."""
    plain = today(answers, rng)
    fitted = IsotonicRegression(y_min=1e-4, y_max=1.0 - 1e-4, out_of_bounds="clip").fit(plain(answers), answers.right)
    return lambda others: fitted.predict(plain(others))


def by_place(answers: Answers, _: np.random.Generator) -> Fitted:
    """The trivial predictor: how often a cell is right at its place in the order of the evidence."""
    right = np.bincount(_places(answers), answers.right, minlength=MOST_CELLS) / max(answers.count, 1)
    return lambda others: right[_places(others)]


def _places(answers: Answers) -> Int[np.ndarray, "cell"]:
    """The place of each cell in its answer, 0 for the one of most evidence."""
    order = np.lexsort((-answers.log_odds, answers.answer))
    place = np.empty(len(order), np.int64)
    first = np.searchsorted(answers.answer[order], answers.answer[order])
    place[order] = np.arange(len(order)) - first
    return place


def alone(estimate: Estimate) -> Method:
    """Take an estimator's word on each cell by itself."""

    def fit(answers: Answers, rng: np.random.Generator) -> Fitted:
        low, high = range_of(answers)
        fitted = estimate(np.clip(answers.features, low, high), answers, rng)
        return lambda others: fitted.predict_proba(np.clip(others.features, low, high))[:, 1]

    return fit


@dataclass(frozen=True)
class Scored:
    """Estimators whose scores are weighed; the form that is published.

    Attributes:
        estimates: role -> how it is fitted.
        competing: whether the cells of an answer compete in a softmax with none, or are held against none apart.
        folds: the weights are fitted on scores of cells that the estimators have not seen, by this many folds.
    """

    estimates: Mapping[str, Estimate]
    competing: bool = True
    folds: int = INNER_FOLDS

    def __call__(self, answers: Answers, rng: np.random.Generator) -> Fitted:
        """Fit as a method does."""
        part = self.fit(answers, rng)
        return lambda others: shared(part, others)

    def fit(self, answers: Answers, rng: np.random.Generator) -> ScoredProbability:
        """Fit what the service runs."""
        with threadpool_limits(1):
            return self._fit(answers, rng)

    def _fit(self, answers: Answers, rng: np.random.Generator) -> ScoredProbability:
        fold = folds_of(answers.group, self.folds, rng)
        unseen = np.empty((len(answers.right), len(self.estimates)))
        for k in range(self.folds):
            held = (fold == k)[answers.answer]
            low, high, fitted = self._estimators(answers.of(fold != k), rng)
            x = np.clip(answers.features[held], low, high)
            unseen[held] = np.column_stack([log_odds_of(one, x) for one in fitted])
        start = np.full(len(self.estimates), 1.0 / len(self.estimates))
        weigh = fit_softmax if self.competing else fit_apart
        weights, none = weigh(unseen, answers, ridge=0.01, start=start)
        low, high, fitted = self._estimators(answers, rng)
        told = tuple(float(weight) for weight in weights)
        return ScoredProbability(tuple(fitted), told, none, low, high, competing=self.competing)

    def _estimators(self, answers: Answers, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[Any]]:
        low, high = range_of(answers)
        x = np.clip(answers.features, low, high)
        return low, high, [estimate(x, answers, rng) for estimate in self.estimates.values()]


SCORED: Final[Mapping[str, Scored]] = MappingProxyType(
    {
        "logistic softmax": Scored({"logistic": logistic}),
        "conditional softmax": Scored({"conditional": conditional}),
        "boosting softmax": Scored({"boosting": boosting}),
        "stacked softmax": Scored({"conditional": conditional, "boosting": boosting}),
        "boosting apart": Scored({"boosting": boosting}, competing=False),
        "stacked apart": Scored({"conditional": conditional, "boosting": boosting}, competing=False),
    }
)
"""Methods that the service can run."""
METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "place alone": by_place,
        "evidence / 3": today,
        "temperature": temperature,
        "isotonic": isotonic,
        "logistic": alone(logistic),
        "boosting": alone(boosting),
        "forest": alone(forest),
        **SCORED,
    }
)
