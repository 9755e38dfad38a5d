"""A calibrated probability for each ranked cell, that it is the true lattice, and one that none of them is.

Each cell gets a score from its features by one or several estimators. Cells may compete: a softmax over the scores of
the answer and the choice "none of them" makes probabilities of them, as in a conditional logit (McFadden, 1974). Or
each is held against "none" alone, and all are scaled down where they come to more than 1. Either way those of one
answer, with none, sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Float, Int

from app.errors import ModelRefused
from app.indexing.learned.probability_features import FEATURES, MOST_CELLS, cell_features
from app.indexing.problem import Solution, SolveResult
from app.model_registry.loading import LoadedModel

FAMILY: Final = "indexing/probability"
NAME: Final = "indexing-probability"
LARGEST_SCORE: Final = 20.0
"""Scores are log-odds; no estimator is surer than this."""


class Classifier(Protocol):
    """Gives the probability of two classes, as scikit-learn's do."""

    def predict_proba(self, x: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row class"]:
        """The second column is the probability that a cell is right."""
        ...


@dataclass(frozen=True)
class CellProbabilities:
    """What is known of one answer.

    Attributes:
        cells: probability of each cell that it is the true lattice, in the order of the answer, shape (cell,).
        none: probability that none of them is.
    """

    cells: Float[np.ndarray, "cell"]
    none: float


@dataclass(frozen=True)
class ScoredProbability:
    """The calibrated probability as a model of the store gives it.

    Attributes:
        estimators: each gives every cell a score, the log-odds of its second class.
        weights: of the scores, one for each estimator.
        none: score of the choice that no cell is right.
        low, high: range of each feature in training; what lies beyond is taken as its end, shape (feature,).
        reorders: whether the cells are put in the order of their probability.
        competing: whether the cells compete with each other.
    """

    estimators: tuple[Classifier, ...]
    weights: tuple[float, ...]
    none: float
    low: Float[np.ndarray, "feature"]
    high: Float[np.ndarray, "feature"]
    reorders: bool = False
    competing: bool = True

    def of(self, result: SolveResult) -> CellProbabilities:
        """Give the probabilities of a full answer: one that was cut short before lacks the cells to compare with."""
        share = softmax_with_none if self.competing else apart_with_none
        probability = share(self.scores(cell_features(result)), self.none)
        unseen = np.zeros(max(len(result.solutions) - MOST_CELLS, 0))
        return CellProbabilities(np.append(probability[:-1], unseen), float(probability[-1]))

    def answered(self, result: SolveResult) -> SolveResult:
        """Give the same answer with its probabilities, and in their order where the model was found to order better."""
        return with_probabilities(result, self.of(result), reorders=self.reorders)

    def scores(self, features: Float[np.ndarray, "cell feature"]) -> Float[np.ndarray, "cell"]:
        """Give the weighted score of each cell."""
        if not len(features):
            return np.empty(0)
        within = np.clip(features, self.low, self.high)
        parts = [log_odds_of(one, within) for one in self.estimators]
        return np.asarray(self.weights) @ np.array(parts)


def log_odds_of(classifier: Classifier, features: Float[np.ndarray, "cell feature"]) -> Float[np.ndarray, "cell"]:
    """Give the log-odds of the second class, at most `LARGEST_SCORE` either way."""
    wrong, right = classifier.predict_proba(features).T
    least = np.exp(-LARGEST_SCORE)
    return np.log(np.maximum(right, least)) - np.log(np.maximum(wrong, least))


def softmax_with_none(scores: Float[np.ndarray, "cell"], none: float) -> Float[np.ndarray, "choice"]:
    """Give the probability of each cell, and last that of none."""
    choices = np.append(scores, none)
    weight = np.exp(choices - choices.max())
    return weight / weight.sum()


def apart_with_none(scores: Float[np.ndarray, "cell"], none: float) -> Float[np.ndarray, "choice"]:
    """Give the probability of each cell beside none alone, scaled to a sum of at most 1, and last what is left."""
    apart = 1.0 / (1.0 + np.exp(np.clip(none - scores, -2.0 * LARGEST_SCORE, 2.0 * LARGEST_SCORE)))
    apart = apart / max(float(apart.sum()), 1.0)
    return np.append(apart, max(1.0 - float(apart.sum()), 0.0))


def from_model(model: LoadedModel) -> ScoredProbability:
    """Make the part of a version of the store.

    Raises:
        ModelRefused: the version was made for other features, or its parameters do not fit.
    """
    named = tuple(feature.name for feature in model.manifest.features)
    if named != FEATURES:
        raise ModelRefused(
            f"The model {model.name} version {model.version} was made for other features of a cell than this solver "
            "computes. Publish it again with this version of the code."
        )
    try:
        weights: dict[str, Any] = dict(model.parameters["weights"])
        part = ScoredProbability(
            estimators=tuple(model.scalers[role] for role in weights),
            weights=tuple(float(weight) for weight in weights.values()),
            none=float(model.parameters["none"]),
            low=np.array([feature.min for feature in model.manifest.features], dtype=float),
            high=np.array([feature.max for feature in model.manifest.features], dtype=float),
            reorders=bool(model.parameters["reorders"]),
            competing=bool(model.parameters.get("competing", True)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"The parameters of {model.name} version {model.version} do not fit its family.") from error
    if not part.estimators or not np.isfinite([*part.weights, part.none, *part.low, *part.high]).all():
        raise ModelRefused(f"The parameters of {model.name} version {model.version} are not finite numbers.")
    return part


# --- into the answer --------------------------------------------------------------------------------------------------


def with_probabilities(result: SolveResult, probabilities: CellProbabilities, *, reorders: bool) -> SolveResult:
    """Give every cell its probability, and put the cells in its order where that is asked for.

    Args:
        result: an answer.
        probabilities: of its cells.
        reorders: whether the most probable cell comes first; cells of equal probability keep their order.
    """
    told = tuple(
        replace(one, probability=float(p)) for one, p in zip(result.solutions, probabilities.cells, strict=True)
    )
    if reorders:
        told = chosen(told, np.argsort(-probabilities.cells, kind="stable"))
    first = told[0].probability if told else 0.0
    return replace(result, solutions=told, confidence=first or 0.0, probability=1.0 - probabilities.none)


def cut(result: SolveResult, count: int) -> SolveResult:
    """Keep the first cells of an answer; the probabilities stay those among all."""
    if len(result.solutions) <= count:
        return result
    return replace(result, solutions=chosen(result.solutions, np.arange(count)))


def chosen(solutions: Sequence[Solution], order: Int[np.ndarray, "place"]) -> tuple[Solution, ...]:
    """Give some of the solutions in another order; places of relatives and shares of weight follow."""
    place = {int(old): new for new, old in enumerate(order)}
    total = sum(solutions[int(old)].weight for old in order)
    return tuple(
        replace(
            solutions[int(old)],
            relatives=tuple(sorted(place[other] for other in solutions[int(old)].relatives if other in place)),
            weight=solutions[int(old)].weight / total if total > 0 else 0.0,
        )
        for old in order
    )
