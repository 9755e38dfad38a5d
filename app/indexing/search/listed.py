"""A part of the list of low-order assignments: the list is best first, so that the first hundreds come cheap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.low_order import CHUNK, HOPELESS, LAST_LINE, REJECTED, WINDOW_DEG, assignments_of, screen
from app.indexing.search.observed import Observed
from app.indexing.search.row import row_of


@dataclass(frozen=True)
class Listed:
    """The generator: `LowOrder` on some rows of the list.

    Attributes:
        first: row to begin with.
        last: row to end before; the end of the list where it is shorter.
        keep: most candidates to propose.
    """

    first: int
    last: int
    keep: int = 150
    name: str = "low_order"
    lattices: frozenset[str] = frozenset(LATTICES)

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Screen the rows; give the best of them."""
        table = assignments_of(bravais)
        rows = range(min(self.first, len(table.lines)), min(self.last, len(table.lines)))
        n_params = table.lines.shape[1]
        x, score = np.empty((len(rows), n_params)), np.full(len(rows), REJECTED)
        lines = observed.first(LAST_LINE)
        n_lines = min(len(lines.q2), max(n_params + 4, 8))
        tried = 0
        while tried < len(rows) and not effort.stop():
            part = slice(tried, min(tried + CHUNK, len(rows)))
            listed = slice(rows[part.start], rows[part.stop - 1] + 1)
            screen(
                table.lines[listed], table.refs[listed], table.design, lines.q2, WINDOW_DEG * lines.per_degree,
                n_lines, *row_of(bravais), limits, x[part], score[part],
            )  # fmt: skip
            tried = part.stop
        best = np.argsort(-score, kind="stable")[: min(self.keep, effort.keep)]
        return Proposal(x[best[score[best] > HOPELESS]], tried)
