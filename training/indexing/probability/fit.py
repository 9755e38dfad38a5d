"""Fit the probability of a ranked cell, compare the ways to do so, and hold the chosen one against other patterns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from app.indexing.learned.probability import ScoredProbability
from training.indexing.probability.data import NO_ANSWER, Answers, folds_of
from training.indexing.probability.methods import METHODS, SCORED, Fitted, Method
from training.indexing.probability.scores import LEAST, Scores, scores

FOLDS: Final = 5
WORTH_A_LOOK: Final = 0.01
"""Cells of a smaller probability are left out where all cells are judged: thousands of zeros would be right."""


@dataclass(frozen=True)
class Judged:
    """Probabilities of answers held against the truth.

    Attributes:
        method: that gave them.
        first: scores of the first cell of each answer, in the order of the evidence.
        most_probable: scores of the most probable cell of each answer.
        cells: scores of all cells of at least `WORTH_A_LOOK`.
        answer_loss: mean -ln of the probability of what is right: a cell, or that none is.
        cell_loss: mean over answers of the log losses of its cells, added up.
        right_by_evidence, right_by_probability: share of answers whose first cell is right, in either order.
        found: share with the true lattice anywhere in the answer.
        answers: how many.
    """

    method: str
    first: Scores
    most_probable: Scores
    cells: Scores
    answer_loss: float
    cell_loss: float
    right_by_evidence: float
    right_by_probability: float
    found: float
    answers: int

    def content(self) -> dict[str, Any]:
        """Give it as plain data, as JSON has it."""
        return json.loads(json.dumps(asdict(self)))


def judged(method: str, probability: Float[np.ndarray, "cell"], answers: Answers, seed: int = 0) -> Judged:
    """Hold the probabilities of all cells against the truth."""
    rng = np.random.default_rng(seed)
    by_evidence, by_probability = answers.first(answers.log_odds), answers.first(probability)
    looked = probability >= WORTH_A_LOOK
    return Judged(
        method=method,
        first=_scores_of(by_evidence, probability, answers, rng),
        most_probable=_scores_of(by_probability, probability, answers, rng),
        cells=scores(probability[looked], answers.right[looked], answers.cell_group[looked], rng),
        answer_loss=_answer_loss(probability, answers),
        cell_loss=_cell_loss(probability, answers),
        right_by_evidence=_right(by_evidence, answers),
        right_by_probability=_right(by_probability, answers),
        found=float(answers.found.mean()),
        answers=answers.count,
    )


def _scores_of(
    chosen: np.ndarray, probability: Float[np.ndarray, "cell"], answers: Answers, rng: np.random.Generator
) -> Scores:
    rows = chosen[chosen != NO_ANSWER]
    return scores(probability[rows], answers.right[rows], answers.cell_group[rows], rng)


def _right(chosen: np.ndarray, answers: Answers) -> float:
    rows = chosen[chosen != NO_ANSWER]
    return float(answers.right[rows].sum() / answers.count)


def _answer_loss(probability: Float[np.ndarray, "cell"], answers: Answers) -> float:
    share = np.bincount(answers.answer, probability * answers.right, minlength=answers.count)
    none = 1.0 - np.bincount(answers.answer, probability, minlength=answers.count)
    return float(-np.log(np.maximum(np.where(answers.found, share, none), LEAST)).mean())


def _cell_loss(probability: Float[np.ndarray, "cell"], answers: Answers) -> float:
    p = np.clip(probability, LEAST, 1.0 - LEAST)
    return float(-np.log(np.where(answers.right, p, 1.0 - p)).sum() / answers.count)


def cross_validated(
    method: Method, answers: Answers, *, folds: int = FOLDS, seed: int = 0
) -> Float[np.ndarray, "cell"]:
    """Give each cell the probability by a fit that has seen no answer of its group."""
    rng = np.random.default_rng(seed)
    fold = folds_of(answers.group, folds, rng)
    found = np.empty(len(answers.right))
    with threadpool_limits(1):
        for k in range(folds):
            fitted: Fitted = method(answers.of(fold != k), np.random.default_rng([seed, k]))
            found[(fold == k)[answers.answer]] = fitted(answers.of(fold == k))
    return found


def compared(answers: Answers, methods: Mapping[str, Method] = METHODS, *, seed: int = 0) -> list[Judged]:
    """Judge every method by cross-validation over groups of structures, the smallest loss of the answers first."""
    found = [judged(name, cross_validated(method, answers, seed=seed), answers) for name, method in methods.items()]
    return sorted(found, key=lambda one: one.answer_loss)


def chosen_method(results: Sequence[Judged]) -> str:
    """Give the best of the methods that the service can run."""
    return min((one for one in results if one.method in SCORED), key=lambda one: one.answer_loss).method


def fit_published(answers: Answers, method: str, *, reorders: bool, seed: int = 0) -> ScoredProbability:
    """Fit a method on all answers, as it is published."""
    part = SCORED[method].fit(answers, np.random.default_rng(seed))
    return replace(part, reorders=reorders)


def gained(by_evidence: np.ndarray, by_probability: np.ndarray, answers: Answers) -> tuple[int, int]:
    """Count answers whose first cell becomes right, and whose becomes wrong, in the order of the probability."""
    known = by_evidence != NO_ANSWER
    before, after = answers.right[by_evidence[known]], answers.right[by_probability[known]]
    return int((after & ~before).sum()), int((before & ~after).sum())
