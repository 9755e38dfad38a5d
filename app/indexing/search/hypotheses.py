"""Cells on their way through the search: batches of one Bravais lattice, grown and weighed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from app.indexing.search.cells import Limits
from app.indexing.search.evidence import SIGMA_GRID_DEG, SIGMA_SPREAD, TYPICAL_SIGMA_DEG, weigh
from app.indexing.search.growth import STAGES, grow
from app.indexing.search.observed import Observed
from app.indexing.search.row import Row, row_of

ZERO_SIGMA_DEG = 0.03
"""Expected size of a zero shift."""
LINE_SIGMA_DEG = 0.02
"""Expected error of a line position while a cell grows."""
GROWTH_WINDOW = 3.5
"""A line belongs to a reflection within this many expected errors."""
_SIGMA_GRID = np.array(SIGMA_GRID_DEG)
_SIGMA_PRIOR = -0.5 * (np.log(_SIGMA_GRID / TYPICAL_SIGMA_DEG) / SIGMA_SPREAD) ** 2
_SIGMA_PRIOR -= np.log(np.exp(_SIGMA_PRIOR).sum())


@dataclass(frozen=True)
class Hypotheses:
    """Weighed cells of one Bravais lattice, best first.

    Attributes:
        bravais: the lattice.
        generator: what proposed them.
        x: metric terms, Angstrom^-2, shape (cell, param).
        zero_shift_deg, log_odds, n_indexed, n_possible, sigma_deg: see `Solution`; shape (cell,).
    """

    bravais: str
    generator: str
    x: Float[np.ndarray, "cell param"]
    zero_shift_deg: Float[np.ndarray, "cell"]
    log_odds: Float[np.ndarray, "cell"]
    n_indexed: Float[np.ndarray, "cell"]
    n_possible: Float[np.ndarray, "cell"]
    sigma_deg: Float[np.ndarray, "cell"]

    def __len__(self) -> int:
        return len(self.x)


def grown_and_weighed(
    bravais: str,
    x: Float[np.ndarray, "cell param"],
    observed: Observed,
    limits: Limits,
    *,
    generator: str,
    keep: int = 20,
    zero_start_deg: float = 0.0,
    zero_sigma_deg: float = ZERO_SIGMA_DEG,
) -> Hypotheses:
    """Grow candidates to all lines, weigh them, and keep the best distinct ones.

    Args:
        bravais: their lattice.
        x: metric terms, shape (cell, param).
        observed: the lines.
        limits: bounds on the cells.
        generator: what proposed them.
        keep: number to keep.
        zero_start_deg: the zero shift with which they were found.
        zero_sigma_deg: expected size of the zero shift, degrees.
    """
    row = row_of(bravais)
    n_lines = len(observed.q2)
    beyond = (n_lines, n_lines) if n_lines > STAGES[-1] else ()
    stages = np.array([*(min(stage, n_lines) for stage in STAGES), *beyond])
    grown, zero, indexed = np.empty_like(x), np.full(len(x), zero_start_deg), np.empty(len(x), np.int64)
    sigma = LINE_SIGMA_DEG * observed.per_degree
    q2, slope = observed.q2, observed.slope
    grow(x, q2, slope, sigma, stages, GROWTH_WINDOW, zero_sigma_deg, *row, limits, grown, zero, indexed)
    enough = indexed >= max(x.shape[1] + 2, n_lines // 2)
    return weighed(bravais, grown[enough], zero[enough], observed, limits, generator, keep, zero_sigma_deg)


def weighed(
    bravais: str,
    x: Float[np.ndarray, "cell param"],
    zero: Float[np.ndarray, "cell"],
    observed: Observed,
    limits: Limits,
    generator: str,
    keep: int,
    zero_sigma_deg: float = ZERO_SIGMA_DEG,
    row: Row | None = None,
) -> Hypotheses:
    """Weigh refined cells as they are; keep the best distinct ones.

    ``row`` may relate the metric terms ``x`` to the cell in another way than the lattice does.
    """
    log_odds, indexed, possible, sigma = (np.empty(len(x)) for _ in range(4))
    lines = (observed.q2, observed.per_degree, observed.slope, observed.foreign)
    weigh(
        x, zero, *lines, zero_sigma_deg, _SIGMA_GRID, _SIGMA_PRIOR, *(row or row_of(bravais)), limits,
        log_odds, indexed, possible, sigma,
    )  # fmt: skip
    order = np.argsort(-log_odds, kind="stable")
    order = order[log_odds[order] > -np.inf]
    _, first = np.unique(np.round(log_odds[order], 6), return_index=True)
    chosen = order[np.sort(first)[:keep]]
    chosen = chosen[log_odds[chosen] > -1e8]
    return Hypotheses(
        bravais, generator, x[chosen], zero[chosen], log_odds[chosen], indexed[chosen], possible[chosen], sigma[chosen]
    )
