"""The outcomes as arrays: the cells of all answers one below another, with the features that the service computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from app.indexing.learned.probability_features import FEATURES, MOST_CELLS, cell_features
from training.indexing.outcomes.answers import Outcome

NO_ANSWER: Final = -1


@dataclass(frozen=True)
class Answers:
    """Cells of many answers.

    Attributes:
        features: columns as in `FEATURES`, shape (cell, feature).
        right: whether each cell is the true lattice, shape (cell,).
        answer: which answer each belongs to, ascending, shape (cell,).
        group: of each answer's structure, shape (answer,).
        names: of each answer's case.
    """

    features: Float[np.ndarray, "cell feature"]
    right: Bool[np.ndarray, "cell"]
    answer: Int[np.ndarray, "cell"]
    group: Int[np.ndarray, "answer"]
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Answers, those without any cell included."""
        return len(self.group)

    @property
    def log_odds(self) -> Float[np.ndarray, "cell"]:
        """Evidence of each cell."""
        return self.features[:, FEATURES.index("log_odds")]

    @property
    def found(self) -> Bool[np.ndarray, "answer"]:
        """Whether the true lattice is among an answer's cells."""
        found = np.zeros(self.count, bool)
        np.logical_or.at(found, self.answer, self.right)
        return found

    @property
    def cell_group(self) -> Int[np.ndarray, "cell"]:
        """Group of each cell's structure."""
        return self.group[self.answer]

    def first(self, value: Float[np.ndarray, "cell"]) -> Int[np.ndarray, "answer"]:
        """Give the cell of the largest value in each answer, the earlier of equal ones; `NO_ANSWER` without cells."""
        order = np.lexsort((-np.arange(len(value)), value, self.answer))
        last = np.flatnonzero(np.append(np.diff(self.answer[order]) > 0, True)) if len(order) else order
        chosen = np.full(self.count, NO_ANSWER)
        chosen[self.answer[order[last]]] = order[last]
        return chosen

    def of(self, which: Bool[np.ndarray, "answer"]) -> Answers:
        """Give some of the answers."""
        cells = which[self.answer]
        number = np.cumsum(which) - 1
        names = tuple(np.array(self.names)[which]) if self.names else ()
        return Answers(self.features[cells], self.right[cells], number[self.answer[cells]], self.group[which], names)


def answers_from(outcomes: Sequence[Outcome]) -> Answers:
    """Work out the features of outcomes."""
    features = [cell_features(outcome.result) for outcome in outcomes]
    groups = {name: number for number, name in enumerate(sorted({one.case.truth.group for one in outcomes}))}
    right = [np.array(one.right[:MOST_CELLS], dtype=bool) for one in outcomes]
    return Answers(
        np.concatenate([*features, np.empty((0, len(FEATURES)))]),
        np.concatenate([*right, np.empty(0, bool)]),
        np.repeat(np.arange(len(outcomes)), [len(one) for one in features]),
        np.array([groups[one.case.truth.group] for one in outcomes], dtype=int),
        tuple(one.case.name for one in outcomes),
    )


def folds_of(group: Int[np.ndarray, "answer"], count: int, rng: np.random.Generator) -> Int[np.ndarray, "answer"]:
    """Give each answer a fold; those of one group share it."""
    _, member = np.unique(group, return_inverse=True)
    n = int(member.max()) + 1
    fold = np.empty(n, dtype=int)
    fold[rng.permutation(n)] = np.arange(n) % count
    return fold[member]
