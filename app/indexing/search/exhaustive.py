"""Exhaustive search for the cells of the lattices from cubic to monoclinic.

Like DICVOL (Louer & Louer, J. Appl. Cryst. 5 (1972) 271; Boultif & Louer, J. Appl. Cryst. 24 (1991) 987 and 37 (2004)
724) it leaves no cell within its bounds out, and goes from small cells to large ones. Where DICVOL halves boxes of cell
constants until each line has a reflection, this walks the tree of indices of the lowest lines: a lattice with p metric
terms is fixed by p lines, and the list of indices a line can have is short, since a cell that gives a low line a high
index predicts too many others. The error of the lines is carried along, so nothing is lost to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from app.indexing.search.cells import Limits
from app.indexing.search.cone import EDGES, LADDER, Cone, cone_of
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.observed import Observed
from app.indexing.search.rating import REJECTED, distinct, grown, rated
from app.indexing.search.row import row_of
from app.indexing.search.tree import Lines, new_stack, walk

N_LINES = 20
"""Lines that a cell has to explain."""
_SLICE = 40_000
"""Looks at an index between two questions whether to stop: a few milliseconds."""
_BUFFER = 4096
_LOOSE = 1.5
"""Least squares need not leave the least of largest errors: a proposed cell has its lines within so many windows."""


@dataclass(frozen=True)
class Depth:
    """How far to go.

    Attributes:
        per_line: reflections that a cell may predict for each line observed.
        budget: looks at an index, in all; 10 million take about a second.
    """

    per_line: float
    budget: int


DEPTHS: Mapping[int, tuple[Depth, Depth]] = MappingProxyType(
    {
        1: (Depth(4.0, 10_000_000), Depth(4.0, 10_000_000)),
        2: (Depth(4.0, 10_000_000), Depth(4.0, 20_000_000)),
        3: (Depth(2.5, 10_000_000), Depth(4.0, 100_000_000)),
        4: (Depth(1.75, 10_000_000), Depth(3.0, 200_000_000)),
    }
)
"""By number of metric terms and level of effort. Of 500 cells of known structures, nine in ten predict at most 2
reflections for each of the first 20 lines, nearly all less than 4."""


@dataclass(frozen=True)
class Exhaustive:
    """The generator.

    Its proposal is complete when every cell within the limits was looked at that predicts at most ``per_line``
    reflections for each of the first 20 lines and has, within the window, all but ``max_impurities`` of them. Lines
    that a single row or zone explains fix no cell, and none is proposed for them.

    Attributes:
        window_deg: a line may be so far from its reflection, degrees of 2theta; a zero shift counts.
    """

    window_deg: float = 0.05
    depths: Mapping[int, tuple[Depth, Depth]] = field(default_factory=lambda: DEPTHS)
    name: str = "exhaustive"
    lattices: frozenset[str] = frozenset(EDGES)

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Propose all cells of one lattice that explain the lines, best first."""
        first = observed.first(N_LINES)
        cone = cone_of(bravais)
        depth = self.depths[len(cone.edges)][min(effort.level, 1)]
        state = _Search(bravais, first, limits, effort, self.window_deg, depth.budget)
        # The smallest rung that holds all, and those below it.
        most = depth.per_line * len(first.q2)
        rungs = [rung for rung, _ in enumerate(LADDER) if rung == 0 or LADDER[rung - 1] < most]
        for rung in rungs:
            if not state.climb(cone, rung, min(LADDER[rung], int(most))):
                break
        return state.proposal()


class _Search:
    """One lattice's search under way: walks rung by rung, and keeps what it finds."""

    def __init__(
        self, bravais: str, observed: Observed, limits: Limits, effort: Effort, window_deg: float, budget: int
    ) -> None:
        self._bravais, self._observed, self._limits, self._effort = bravais, observed, limits, effort
        self._window_deg, self._budget = window_deg, budget
        self._cells: list[Float[np.ndarray, "cell param"]] = []
        self._tried, self._complete = 0, True

    def climb(self, cone: Cone, rung: int, most: int) -> bool:
        """Search among the cells that predict at most ``most`` reflections; False where it had to stop."""
        order = np.argsort(-cone.ratio[:, rung], kind="stable")
        rows = np.ascontiguousarray(cone.rows[order])
        window = self._window_deg * self._observed.per_degree
        lines = _lines(cone.ratio[order, rung], self._observed, window, most, self._effort.max_impurities)
        row = row_of(self._bravais)
        rest = (cone.edges @ row.terms, row.domain, row.allowed, row.multiplicity, _widened(self._limits))
        stack, found = new_stack(rows.shape[1], rows.shape[0]), np.empty((_BUFFER, rows.shape[1]))
        columns = np.zeros((4, len(rows)))
        columns[: rows.shape[1]] = rows.T
        while stack.level[0] >= 0:
            if self._budget <= 0 or self._effort.stop():
                self._complete = False
                return False
            n_found, n_tried = walk(rows, columns, lines, stack, *rest, _SLICE, found, 0)
            self._tried += n_tried
            self._budget -= _SLICE
            self._keep(found[:n_found] @ cone.edges)
        return True

    def proposal(self) -> Proposal:
        """Give the best of what was found."""
        if not self._cells:
            return Proposal(np.empty((0, row_of(self._bravais).terms.shape[0])), self._tried, self._complete)
        x = np.concatenate(self._cells)
        rating, _, _ = self._rated(x)
        _, explained, _ = rated(self._bravais, x, self._observed, self._limits, _LOOSE * self._window_deg)
        # The walk lets cells through that, refined, lose lines.
        needed = len(self._observed.q2) - self._effort.max_impurities - 1
        rating = np.where(explained >= needed, rating, REJECTED)
        chosen = distinct(x, rating, len(x))
        complete = self._complete and len(chosen) <= self._effort.keep
        return Proposal(x[chosen[: self._effort.keep]], self._tried, complete)

    def _keep(self, x: Float[np.ndarray, "cell param"]) -> None:
        if len(x):
            better = grown(self._bravais, x, self._observed, self._limits, self._window_deg)
            x = np.where((self._rated(better)[0] >= self._rated(x)[0])[:, None], better, x)
            self._cells.append(x[distinct(x, self._rated(x)[0], len(x))])

    def _rated(self, x: Float[np.ndarray, "cell param"]):  # noqa: ANN202
        return rated(self._bravais, x, self._observed, self._limits, self._window_deg)


def _lines(
    ratio: Float[np.ndarray, "ref"], observed: Observed, window: Float[np.ndarray, "peak"], most: int, max_missed: int
) -> Lines:
    """Find the reflections that each line can be; ``ratio`` descends."""
    scale = observed.q2[-1] / (observed.q2 + window)
    return Lines(observed.q2, window, np.searchsorted(-ratio, -scale), most, max_missed)


def _widened(limits: Limits) -> Limits:
    """Give way to the errors of a cell that a few lines have fixed."""
    return Limits(0.97 * limits.min_length, 1.03 * limits.max_length, 0.9 * limits.min_volume, 1.1 * limits.max_volume)
