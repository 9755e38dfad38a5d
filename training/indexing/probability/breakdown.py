"""Where the probability is right and where not: by lattice, by how the search ended, by how much it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from training.indexing.probability.data import NO_ANSWER, Answers, folds_of
from training.indexing.probability.fit import FOLDS, Judged, judged
from training.indexing.probability.methods import Method

SHARES: Final = (0.125, 0.25, 0.5, 1.0)
"""Of the structures to learn from, for the learning curve."""


@dataclass(frozen=True)
class Kind:
    """Answers of one kind, by their most probable cells.

    Attributes:
        name: of the kind.
        count: answers.
        right: share whose most probable cell is right.
        told: mean probability of that cell.
        brier: mean squared error of that probability; an answer without cells counts as told 0.
    """

    name: str
    count: int
    right: float
    told: float
    brier: float


def by_kind(probability: Float[np.ndarray, "cell"], answers: Answers, kinds: Sequence[str]) -> list[Kind]:
    """Break answers down by the kind of each, in the order in which the kinds first come up."""
    chosen = answers.first(probability)
    known = chosen != NO_ANSWER
    told, right = np.zeros(answers.count), np.zeros(answers.count, bool)
    told[known], right[known] = probability[chosen[known]], answers.right[chosen[known]]
    of = np.array(kinds)
    return [
        Kind(
            name=name,
            count=int((of == name).sum()),
            right=float(right[of == name].mean()),
            told=float(told[of == name].mean()),
            brier=float(np.mean((told - right)[of == name] ** 2)),
        )
        for name in dict.fromkeys(kinds)
    ]


def learning_curve(
    name: str, method: Method, answers: Answers, shares: Sequence[float] = SHARES, *, seed: int = 0
) -> list[tuple[int, Judged]]:
    """Judge a method on the same held-out structures, fitted on ever more of the others; answers, and scores."""
    fold = folds_of(answers.group, FOLDS, np.random.default_rng(seed))
    found = []
    for share in shares:
        p, sizes = np.empty(len(answers.right)), []
        with threadpool_limits(1):
            for k in range(FOLDS):
                fitted = _some(answers.of(fold != k), share, np.random.default_rng([seed, k]))
                sizes.append(fitted.count)
                ask = method(fitted, np.random.default_rng([seed, k]))
                p[(fold == k)[answers.answer]] = ask(answers.of(fold == k))
        found.append((round(float(np.mean(sizes))), judged(name, p, answers, seed)))
    return found


def _some(answers: Answers, share: float, rng: np.random.Generator) -> Answers:
    """Keep the answers of a share of the structures."""
    groups = rng.permutation(np.unique(answers.group))
    return answers.of(np.isin(answers.group, groups[: max(1, round(share * len(groups)))]))


def kinds_table(title: str, kinds: Sequence[Kind]) -> str:
    """Give kinds as a Markdown table."""
    rows = (f"| {k.name} | {k.count} | {100 * k.right:.0f} % | {k.told:.2f} | {k.brier:.3f} |" for k in kinds)
    return "\n".join([f"| {title} | answers | right | told | Brier |", "|---|---|---|---|---|", *rows])


def curve_table(curve: Sequence[tuple[int, Judged]]) -> str:
    """Give a learning curve as a Markdown table."""
    rows = (
        f"| {count} | {one.answer_loss:.3f} | {one.first.ece:.3f} | {one.first.ece_perfect:.3f} "
        f"| {one.first.brier:.4f} |"
        for count, one in curve
    )
    return "\n".join(["| fitted on | log loss | ECE | perfect | Brier |", "|---|---|---|---|---|", *rows])
