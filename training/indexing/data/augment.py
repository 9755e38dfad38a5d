"""More patterns of the kind at hand: perturbed cells, and lines drawn as observed ones are.

Section 2.1.5 of the report, with two corrections. It takes as acceptance the share of neighbours in the observable list
that are neighbours in the full one; that share falls with their separation, where its formula rises. What the drawing
needs is the chance that a line is seen, given how far it lies behind the last one seen, so that is counted here: every
line of the full list is a trial, from its seen predecessor. And no lines, however far apart, are all seen: a ceiling
below 1 is fitted beside r0 and r1 (1 gives the report's form).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize

from app.crystallography import metric
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES, BravaisLattice
from app.crystallography.reduction import niggli
from app.errors import TooLarge
from app.indexing.problem import BRAVAIS
from training.indexing.data.cells import LENGTHS_ANG
from training.indexing.data.conventions import is_conventional
from training.indexing.data.pattern_set import N_LINES, PatternSet, joined, pattern_set
from training.indexing.data.peak_lists import enough_reflections, q2_max
from training.indexing.data.scaling import Scaling
from training.indexing.data.space_groups import setting_of

STRENGTH: Final = 0.2
"""Of perturbations, in standard deviations."""
MOST_COPIES: Final = 10
BINS: Final = np.logspace(-4.0, -1.75, 101)
"""Edges of the bins of separations, Angstrom^-2."""
_TRIES = 10
_FEWEST_LINES = 4


@dataclass(frozen=True)
class Acceptance:
    """The chance that a line is seen: ceiling (1 - exp(-r0 dq2))^r1, dq2 behind the last line that is seen.

    Attributes:
        r0: Angstrom^2.
        r1: exponent.
        ceiling: 1 in the report's form.
        first: chance of each place in the full list to be that of the first line seen, shape (60,).
    """

    r0: float
    r1: float
    ceiling: float
    first: Float[np.ndarray, "line"]

    def probability(self, separation: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the chance for separations in Angstrom^-2."""
        return self.ceiling * (-np.expm1(-self.r0 * separation)) ** self.r1


# Fitting


def trials(patterns: PatternSet) -> tuple[Float[np.ndarray, "trial"], np.ndarray, Int[np.ndarray, "pattern"]]:
    """Return the separation of each line from the last seen before it, whether it is seen, and the places of the first.

    Lines of the full list count up to the last seen of their pattern, since nothing is known behind it.
    """
    separations, seen, first = [], [], []
    for full, shown in zip(patterns.q2_all, patterns.q2, strict=True):
        is_seen = np.isin(full, shown)
        places = np.flatnonzero(is_seen)
        if not len(places):
            continue
        first.append(places[0])
        last = np.repeat(full[places[:-1]], np.diff(places))
        separations.append(full[places[0] + 1 : places[-1] + 1] - last)
        seen.append(is_seen[places[0] + 1 : places[-1] + 1])
    empty = [np.empty(0)]
    return (
        np.concatenate([*empty, *separations]),
        np.concatenate([*empty, *seen]).astype(bool),
        np.array(first, dtype=np.int64),
    )


def fit_acceptance(patterns: PatternSet, *, with_ceiling: bool = True) -> Acceptance:
    """Fit the acceptance to patterns with both lists, by the likelihood of what is seen in bins of separation."""
    separation, seen, first = trials(patterns)
    place = np.clip(np.digitize(separation, BINS), 0, len(BINS))
    total = np.bincount(place, minlength=len(BINS) + 1)
    hits = np.bincount(place, weights=seen, minlength=len(BINS) + 1)
    sums = np.bincount(place, weights=separation, minlength=len(BINS) + 1)
    used = total > 0
    centre, hits, total = sums[used] / total[used], hits[used], total[used]

    def misfit(values: np.ndarray) -> float:
        guess = _acceptance(values, with_ceiling)
        chance = np.clip(guess.probability(centre), 1e-9, 1.0 - 1e-9)
        return -float(np.sum(hits * np.log(chance) + (total - hits) * np.log1p(-chance)))

    starts = [np.array([np.log(r0), 0.0, 3.0]) for r0 in (300.0, 1000.0, 5000.0)]
    best = min((minimize(misfit, start, method="Nelder-Mead") for start in starts), key=lambda found: found.fun)
    share = np.bincount(first, minlength=N_LINES).astype(float)
    return replace(_acceptance(best.x, with_ceiling), first=share / max(1.0, share.sum()))


def _acceptance(values: Float[np.ndarray, "3"], with_ceiling: bool) -> Acceptance:
    ceiling = 1.0 / (1.0 + np.exp(-values[2])) if with_ceiling else 1.0
    r0, r1 = np.exp(np.clip(values[:2], -20.0, 20.0))
    return Acceptance(float(r0), float(r1), float(ceiling), np.empty(0))


# Drawing lines


def drawn_lines(
    q2_all: Float[np.ndarray, "pattern 60"], acceptance: Acceptance, rng: np.random.Generator
) -> np.ndarray:
    """Draw which lines of full lists are seen, bool of shape (pattern, 60)."""
    count = len(q2_all)
    start = rng.choice(len(acceptance.first), size=count, p=acceptance.first)
    uniform = rng.random(q2_all.shape)
    seen = np.zeros(q2_all.shape, bool)
    last = np.full(count, np.nan)
    for line in range(q2_all.shape[1]):
        separation = np.where(line > start, q2_all[:, line] - last, 0.0)
        now = (line == start) | ((line > start) & (uniform[:, line] < acceptance.probability(separation)))
        now &= np.isfinite(q2_all[:, line])
        seen[:, line] = now
        last = np.where(now, q2_all[:, line], last)
    return seen


# Perturbing cells

Perturb = Callable[
    [Float[np.ndarray, "pattern param"], Float[np.ndarray, "train param"], np.random.Generator],
    Float[np.ndarray, "pattern param"],
]


def random_steps(parameters: np.ndarray, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each scaled constant by itself."""
    return parameters + STRENGTH * rng.standard_normal(parameters.shape)


def covariance_steps(parameters: np.ndarray, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the scaled constants together, as they vary together in training."""
    covariance = np.atleast_2d(np.cov(train, rowvar=False))
    steps = rng.multivariate_normal(np.zeros(train.shape[1]), covariance, size=len(parameters))
    return parameters + STRENGTH * steps


def svd_steps(parameters: np.ndarray, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each component of the singular value decomposition of the training constants by itself."""
    _, _, axes = np.linalg.svd(train, full_matrices=False)
    spread = (train @ axes.T).std(axis=0)
    components = parameters @ axes.T
    return (components + STRENGTH * spread * rng.standard_normal(components.shape)) @ axes


METHODS: Mapping[str, Perturb] = MappingProxyType(
    {"random": random_steps, "covariance": covariance_steps, "svd": svd_steps}
)


def usual_method(lattice: BravaisLattice) -> str:
    """Return ``random`` for a single free constant, which cannot vary together with another, ``svd`` otherwise."""
    return "random" if lattice.n_params == 1 else "svd"


def copies_wanted(symbols: np.ndarray, wanted: int) -> Int[np.ndarray, "pattern"]:
    """Return how often each pattern is copied so that each symbol comes to ``wanted`` patterns; at most ten times."""
    names, place, counts = np.unique(symbols, return_inverse=True, return_counts=True)
    missing = np.maximum(0, wanted - counts)
    copies, rest = np.divmod(missing, counts)
    rank = np.empty(len(symbols), np.int64)
    for index in range(len(names)):
        rows = np.flatnonzero(place == index)
        rank[rows] = np.arange(len(rows))
    return np.minimum(MOST_COPIES, copies[place] + (rank < rest[place]))


def augmented(
    patterns: PatternSet,
    scaling: Scaling,
    acceptance: Acceptance,
    rng: np.random.Generator,
    *,
    wanted: int,
    method: str | None = None,
) -> PatternSet:
    """Return copies of the patterns of one Bravais lattice with other cells and lines, on the side of the original.

    Args:
        patterns: of one lattice, both sides.
        scaling: of its lattice system.
        acceptance: fitted to the training side.
        rng: of everything drawn.
        wanted: patterns of each symbol and side that originals and copies together shall come to, as far as ten copies
            of each original reach.
        method: of `METHODS`; None takes the usual one of the lattice.

    Returns:
        The copies; ``identifier`` is that of the original, ``intensity`` is 0. A copy whose cell does not keep the
        conventions of the lattice is drawn again and given up after ten draws.
    """
    lattice = LATTICES[BRAVAIS[patterns.bravais[0]]]
    sides = np.char.add(patterns.setting.astype(str), np.where(patterns.validation, " held back", ""))
    owner = np.repeat(np.arange(len(patterns)), copies_wanted(sides, wanted))
    perturb = METHODS[method or usual_method(lattice)]
    train = scaling.parameters(lattice, patterns.cell[~patterns.validation])
    cells, owner = _new_cells(lattice, patterns.cell[owner], owner, scaling, perturb, train, rng)
    rows = [_copy(patterns, int(one), lattice, cell) for one, cell in zip(owner, cells, strict=True)]
    copies = joined([row for row in rows if row is not None])
    return _with_lines(copies, acceptance, rng) if len(copies) else copies


def _new_cells(
    lattice: BravaisLattice,
    cells: Float[np.ndarray, "copy 6"],
    owner: Int[np.ndarray, "copy"],
    scaling: Scaling,
    perturb: Perturb,
    train: Float[np.ndarray, "train param"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "kept 6"], Int[np.ndarray, "kept"]]:
    new, todo = np.full(cells.shape, np.nan), np.arange(len(cells))
    for _ in range(_TRIES):
        if not len(todo):
            break
        drawn = scaling.cells(lattice, perturb(scaling.parameters(lattice, cells[todo]), train, rng))
        good = metric.exists(drawn) & (drawn[:, :3] >= LENGTHS_ANG[0]).all(1) & (drawn[:, :3] <= LENGTHS_ANG[1]).all(1)
        good[good] = is_conventional(lattice.symbol, drawn[good])
        new[todo[good]] = drawn[good]
        todo = todo[~good]
    kept = np.isfinite(new).all(axis=1)
    return new[kept], owner[kept]


def _copy(patterns: PatternSet, row: int, lattice: BravaisLattice, cell: Float[np.ndarray, "6"]) -> PatternSet | None:
    """The original with another cell and the full list of its lines; None for cells that are too long."""
    try:
        found = enough_reflections(lattice.symbol, setting_of(lattice.symbol, str(patterns.setting[row])), cell)
    except TooLarge:
        return None
    one = patterns.take(np.array([row]))
    columns = {name: getattr(one, name) for name in vars(one)}
    columns["cell"] = cell
    columns["niggli"] = niggli(UnitCell(*map(float, cell)), lattice.centring.symbol).constants
    columns["q2_all"] = found.q2_inv_ang2[found.starts][:N_LINES]
    columns["hkl_all"] = found.hkl[found.names][:N_LINES]
    return pattern_set(columns)


def _with_lines(copies: PatternSet, acceptance: Acceptance, rng: np.random.Generator) -> PatternSet:
    seen = drawn_lines(copies.q2_all, acceptance, rng) & (copies.q2_all <= q2_max())
    order = np.argsort(~seen, axis=1, kind="stable")
    shown = np.take_along_axis(seen, order, axis=1)
    q2 = np.where(shown, np.take_along_axis(copies.q2_all, order, axis=1), np.nan)
    hkl = np.where(shown[..., None], np.take_along_axis(copies.hkl_all, order[..., None], axis=1), 0)
    made = replace(
        copies,
        q2=q2.astype(np.float32),
        hkl=hkl.astype(np.int8),
        intensity=np.zeros_like(copies.intensity),
    )
    return made.take(seen.sum(axis=1) >= _FEWEST_LINES)
