"""A part of the list of low-order assignments: the list is best first, so that the first hundreds come cheap."""

from __future__ import annotations

from dataclasses import dataclass

from app.crystallography.lattice import LATTICES
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.low_order import screened
from app.indexing.search.observed import Observed


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
        keep = min(self.keep, effort.keep)
        return screened(bravais, observed, limits, effort, first=self.first, last=self.last, keep=keep)
