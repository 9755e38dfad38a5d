"""When to end the search: how the first family fares from stage to stage, and a logistic model of what is lost.

Patterns with known cells are searched to the end, stage by stage in the order of the odds. A stage at which the search
must not end is one whose first family is wrong while that of the whole search is right. Searches are appended to a file
as they come, so that a run that was broken off goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression

from app.crystallography.cell import UnitCell
from app.errors import InvalidInput
from app.indexing.learned.models import Learned, Regression
from app.indexing.problem import SolveOptions
from app.indexing.ranking import Found
from app.indexing.search.observed import Observed
from app.indexing.search_order import Doubt, Step, doubt_terms
from app.indexing.solve import solve
from training.indexing.outcomes.answers import Case, is_right
from training.indexing.probability.data import folds_of

_EVIDENT, _EVIDENT_GAP = 30.0, 12.0
"""A family that explains all lines with this evidence against chance and against the next is not searched beyond."""
LOST_SHARES = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Probabilities of a loss that are compared as a threshold."""
FOLDS = 5


@dataclass
class Watch:
    """Stands for `Doubt` and writes down what it is asked, and when."""

    started_s: float = field(default_factory=time.process_time)
    terms: list[tuple[float, ...]] = field(default_factory=list)
    first: list[UnitCell] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def is_settled(self, best: Sequence[Found], n_lines: int, left: float) -> bool:
        """Write it down; end the search where nothing can be learnt from more of it."""
        self.terms.append(tuple(doubt_terms(best, n_lines, left).tolist()))
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
class Search:
    """One watched search.

    Attributes:
        name: of the case.
        group: of its structure: those with about the same lattice share it.
        bravais: its lattice.
        terms: of each look, see `doubt_terms`.
        right: of each look, whether the first family is the true lattice.
        cpu_s: of each look, processor time since the start.
        whole_s: processor time of the whole search.
        ends_right: whether the first family of the whole search is the true lattice.
    """

    name: str
    group: str
    bravais: str
    terms: Sequence[Sequence[float]]
    right: Sequence[bool]
    cpu_s: Sequence[float]
    whole_s: float
    ends_right: bool


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
        group: number of the pattern's group of structures, shape (pattern,).
    """

    pattern: Int[np.ndarray, "stage"]
    terms: Float[np.ndarray, "stage term"]
    is_right: Bool[np.ndarray, "stage"]
    cpu_s: Float[np.ndarray, "stage"]
    ends_right: Bool[np.ndarray, "pattern"]
    whole_s: Float[np.ndarray, "pattern"]
    group: Int[np.ndarray, "pattern"]

    @property
    def loses(self) -> Bool[np.ndarray, "stage"]:
        """An end at this stage would lose the true lattice."""
        return self.ends_right[self.pattern] & ~self.is_right

    def of(self, patterns: Bool[np.ndarray, "pattern"]) -> Stages:
        """Keep the looks at some of the patterns; all patterns keep their numbers."""
        rows = patterns[self.pattern]
        return replace(
            self, pattern=self.pattern[rows], terms=self.terms[rows], is_right=self.is_right[rows],
            cpu_s=self.cpu_s[rows],
        )  # fmt: skip


def watch(
    cases: Iterable[Case],
    given: Callable[[Observed], Float[np.ndarray, "lattice"]],
    steps: tuple[Step, ...],
    path: Path,
    regression: Regression | None = None,
) -> Iterator[Search]:
    """Search each pattern to the end and append what was seen to a file of JSON lines."""
    options = SolveOptions(max_seconds=3600.0, device="cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for case in cases:
            one = Watch()
            odds = Watched(given, steps, one)
            result = solve(case.peaks, options, learned=Learned(odds=odds, regression=regression))  # pyright: ignore[reportArgumentType]
            whole_s = time.process_time() - one.started_s
            truth = case.truth
            found = Search(
                case.name, truth.group, truth.bravais, one.terms, [is_right(cell, truth.niggli) for cell in one.first],
                one.cpu_s, whole_s, bool(result.solutions) and is_right(result.solutions[0].niggli, truth.niggli),
            )  # fmt: skip
            file.write(json.dumps(asdict(found)) + "\n")
            file.flush()
            yield found


def read_searches(path: Path) -> list[Search]:
    """Read what `watch` wrote; nothing where there is no such file.

    Raises:
        InvalidInput: the file holds something else.
    """
    if not path.is_file():
        return []
    try:
        return [Search(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path.name} holds no watched searches; delete it and watch again") from error


def stages_of(searches: Sequence[Search]) -> Stages:
    """Put the looks of all searches below one another."""
    groups = {name: number for number, name in enumerate(sorted({one.group for one in searches}))}
    return Stages(
        pattern=np.repeat(np.arange(len(searches)), [len(one.terms) for one in searches]),
        terms=np.array([terms for one in searches for terms in one.terms], dtype=float),
        is_right=np.array([right for one in searches for right in one.right], dtype=bool),
        cpu_s=np.array([cpu_s for one in searches for cpu_s in one.cpu_s], dtype=float),
        ends_right=np.array([one.ends_right for one in searches], dtype=bool),
        whole_s=np.array([one.whole_s for one in searches], dtype=float),
        group=np.array([groups[one.group] for one in searches], dtype=int),
    )


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
    """What becomes of the patterns where the search ends by a doubt.

    Attributes:
        lost: share of the patterns whose first family is wrong, and would not be after the whole search.
        early: share of the searches that end before all is done.
        early_right, early_lost: of these, the share whose first family is right, and the share that is lost.
        mean_s, median_s: processor time.
    """

    lost: float
    mean_s: float
    median_s: float
    early: float = 0.0
    early_right: float = 0.0
    early_lost: float = 0.0


@dataclass(frozen=True)
class _Ends:
    """How each of some searches ended."""

    lost: Bool[np.ndarray, "some"]
    early: Bool[np.ndarray, "some"]
    right: Bool[np.ndarray, "some"]
    cpu_s: Float[np.ndarray, "some"]

    def summed(self) -> Ended:
        early = max(int(self.early.sum()), 1)
        return Ended(
            lost=float(self.lost.mean()),
            mean_s=float(self.cpu_s.mean()),
            median_s=float(np.median(self.cpu_s)),
            early=float(self.early.mean()),
            early_right=float(self.right[self.early].sum() / early),
            early_lost=float(self.lost[self.early].sum() / early),
        )


def ended(stages: Stages, doubt: Doubt, patterns: Int[np.ndarray, "some"]) -> Ended:
    """Let some of the watched searches end by a doubt."""
    return _ends(stages, doubt, patterns).summed()


def _ends(stages: Stages, doubt: Doubt, patterns: Int[np.ndarray, "some"]) -> _Ends:
    rows = []
    for number in patterns:
        own = np.flatnonzero(stages.pattern == number)
        risk = 1.0 / (1.0 + np.exp(-(stages.terms[own] @ np.array(doubt.weights) + doubt.bias)))
        at = np.flatnonzero(risk < np.where(stages.terms[own, 1] < doubt.weak, doubt.most_weak, doubt.most))
        if len(at):
            first = own[at[0]]
            rows.append((stages.loses[first], True, stages.is_right[first], stages.cpu_s[first]))
        else:
            rows.append((False, False, stages.ends_right[number], stages.whole_s[number]))
    lost, early, right, cpu_s = (np.array(column) for column in zip(*rows, strict=True))
    return _Ends(lost.astype(bool), early.astype(bool), right.astype(bool), cpu_s.astype(float))


def compared(stages: Stages, *, folds: int = FOLDS, seed: int = 0) -> dict[float, Ended]:
    """What each threshold loses and takes on structures that the model was not fitted on."""
    fold = folds_of(stages.group, folds, np.random.default_rng(seed))
    found: dict[float, Ended] = {}
    for most in LOST_SHARES:
        parts = [_ends(stages, fit(stages.of(fold != out), most), np.flatnonzero(fold == out)) for out in range(folds)]
        names = ("lost", "early", "right", "cpu_s")
        found[most] = _Ends(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)).summed()
    return found
