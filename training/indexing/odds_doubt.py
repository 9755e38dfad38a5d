"""When to end the search: how the first family fares from stage to stage, and a logistic model of what is lost.

Patterns of published structures are searched to the end, stage by stage in the order of the odds. A stage at which the
search must not end is one whose first family is wrong while that of the whole search is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression

from app.crystallography.cell import UnitCell
from app.indexing.learned.models import Learned
from app.indexing.problem import SolveOptions
from app.indexing.ranking import Found
from app.indexing.search.observed import Observed
from app.indexing.search_order import Doubt, Step, doubt_terms
from app.indexing.solve import solve
from training.indexing.odds_patterns import Known

_EVIDENT, _EVIDENT_GAP = 30.0, 12.0
"""A family that explains all lines with this evidence against chance and against the next is not searched beyond."""
LOST_SHARES = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Probabilities of a loss that are compared as a threshold."""


@dataclass
class Watch:
    """Stands for `Doubt` and writes down what it is asked, and when."""

    started_s: float = field(default_factory=time.process_time)
    terms: list[Float[np.ndarray, "term"]] = field(default_factory=list)
    first: list[UnitCell] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def is_settled(self, best: Sequence[Found], n_lines: int, left: float) -> bool:
        """Write it down; end the search where nothing can be learnt from more of it."""
        self.terms.append(doubt_terms(best, n_lines, left))
        self.first.append(best[0].niggli)
        self.cpu_s.append(time.process_time() - self.started_s)
        gap = best[0].log_odds - best[1].log_odds if len(best) > 1 else np.inf
        return best[0].n_indexed == n_lines and best[0].log_odds > _EVIDENT and gap > _EVIDENT_GAP


@dataclass(frozen=True)
class Watched:
    """Odds that do not end a search: those of a network, or always the same."""

    given: Callable[[Observed], Float[np.ndarray, "lattice"]]
    steps: tuple[Step, ...]
    doubt: Watch | Doubt

    def probabilities(self, observed: Observed) -> Float[np.ndarray, "lattice"]:
        """As `app.indexing.learned.models.LatticeOdds`."""
        return self.given(observed)


@dataclass(frozen=True)
class Stages:
    """All looks at all patterns.

    Attributes:
        pattern: number of the pattern, shape (stage,).
        terms: see `doubt_terms`, shape (stage, term).
        is_right: the first family was the true lattice.
        cpu_s: processor time since the start of the search.
        ends_right: whether that of the whole search is, shape (pattern,).
        whole_s: processor time of the whole search, shape (pattern,).
    """

    pattern: Int[np.ndarray, "stage"]
    terms: Float[np.ndarray, "stage term"]
    is_right: Bool[np.ndarray, "stage"]
    cpu_s: Float[np.ndarray, "stage"]
    ends_right: Bool[np.ndarray, "pattern"]
    whole_s: Float[np.ndarray, "pattern"]

    @property
    def loses(self) -> Bool[np.ndarray, "stage"]:
        """An end at this stage would lose the true lattice."""
        return self.ends_right[self.pattern] & ~self.is_right


def watch(
    patterns: Sequence[Known],
    given: Callable[[Observed], Float[np.ndarray, "lattice"]],
    steps: tuple[Step, ...],
    tell: Callable[[str], None],
) -> Stages:
    """Search each pattern to the end."""
    options = SolveOptions(max_seconds=3600.0, device="cpu")
    columns: list[list] = [[], [], [], []]
    ends, whole = [], []
    for place, known in enumerate(patterns):
        one = Watch()
        result = solve(known.peaks, options, learned=Learned(odds=Watched(given, steps, one)))  # pyright: ignore[reportArgumentType]
        whole.append(time.process_time() - one.started_s)
        ends.append(bool(result.solutions) and known.is_cell(result.solutions[0].niggli))
        rows = ([place] * len(one.terms), one.terms, [known.is_cell(cell) for cell in one.first], one.cpu_s)
        for column, values in zip(columns, rows, strict=True):
            column += values
        tell(
            f"{place + 1}/{len(patterns)} {known.bravais} {known.condition}: "
            f"{ends[-1]}, {len(one.terms)} looks, {whole[-1]:.2f} s"
        )
    number, terms, right, seconds = (np.array(column) for column in columns)
    return Stages(number, terms, right, seconds, np.array(ends), np.array(whole))


WEAK, WEAK_SHARE = 0.5, 0.2
"""A family with less evidence for each line has to be safer by this factor for a search to end with it."""


def fit(stages: Stages, most: float, *, strength: float = 3.0) -> Doubt:
    """Fit the logistic model; each pattern counts once."""
    weight = 1.0 / np.bincount(stages.pattern)[stages.pattern]
    mean, deviation = stages.terms.mean(axis=0), stages.terms.std(axis=0) + 1e-9
    model = LogisticRegression(C=strength, max_iter=1000)
    model.fit((stages.terms - mean) / deviation, stages.loses, sample_weight=weight)
    weights = np.ravel(model.coef_) / deviation
    return Doubt(
        tuple(weights.tolist()), float(np.ravel(model.intercept_)[0] - weights @ mean), most, WEAK, WEAK_SHARE * most
    )


@dataclass(frozen=True)
class Ended:
    """What becomes of the patterns where the search ends by a doubt: share that are lost, mean and median time."""

    lost: float
    mean_s: float
    median_s: float


def ended(stages: Stages, doubt: Doubt, patterns: Int[np.ndarray, "some"]) -> Ended:
    """Let some of the watched searches end by a doubt."""
    lost, seconds = [], []
    for number in patterns:
        own = np.flatnonzero(stages.pattern == number)
        risk = 1.0 / (1.0 + np.exp(-(stages.terms[own] @ np.array(doubt.weights) + doubt.bias)))
        at = np.flatnonzero(risk < np.where(stages.terms[own, 1] < doubt.weak, doubt.most_weak, doubt.most))
        lost.append(bool(len(at)) and bool(stages.loses[own[at[0]]]))
        seconds.append(stages.cpu_s[own[at[0]]] if len(at) else stages.whole_s[number])
    return Ended(float(np.mean(lost)), float(np.mean(seconds)), float(np.median(seconds)))


def compared(stages: Stages, *, folds: int = 5, seed: int = 0) -> dict[float, Ended]:
    """What each threshold loses and takes on patterns that the model was not fitted on."""
    fold = np.random.default_rng(seed).permutation(len(stages.ends_right)) % folds
    found: dict[float, Ended] = {}
    for most in LOST_SHARES:
        parts = []
        for out in range(folds):
            rows = fold[stages.pattern] != out
            part = Stages(
                stages.pattern[rows], stages.terms[rows], stages.is_right[rows], stages.cpu_s[rows],
                stages.ends_right, stages.whole_s,
            )  # fmt: skip
            held = np.flatnonzero(fold == out)
            parts.append((ended(stages, fit(part, most), held), len(held)))
        total = sum(count for _, count in parts)
        means = [
            sum(getattr(one, name) * count for one, count in parts) / total for name in ("lost", "mean_s", "median_s")
        ]
        found[most] = Ended(*means)
    return found
