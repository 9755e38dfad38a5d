"""The learned parts of the solver, side by side. Every one may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float, Int

from app.indexing.problem import SolveResult

if TYPE_CHECKING:
    from app.indexing.search.observed import Observed
    from app.indexing.search_order import Doubt, Step


class LatticeOdds(Protocol):
    """Says how probable each Bravais lattice is before anything is searched, and what a search of it is worth."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps of the search; those of one lattice in the order in which they have to be done."""
        ...

    @property
    def doubt(self) -> Doubt:
        """When the answer is settled."""
        ...

    def probabilities(self, observed: Observed) -> Float[np.ndarray, "lattice"]:
        """Give the probability of each lattice, in the order of `app.indexing.problem.BRAVAIS`; the sum is 1."""
        ...


class TemplateScores(Protocol):
    """Scores the low-order assignments of a pattern, so that the best are solved first."""

    @property
    def lattices(self) -> frozenset[str]:
        """Lattices that it knows; the lists of others keep their order."""
        ...

    def ranked(
        self, bravais: str, observed: Observed, last: int
    ) -> tuple[Int[np.ndarray, "some"], Float[np.ndarray, "some"]]:
        """Give the ``last`` most probable rows of a lattice's list, best first, and the logarithm of their worth."""
        ...


class Regression(Protocol):
    """Draws cells of a lattice from what its lines look like."""

    @property
    def lattices(self) -> frozenset[str]:
        """Lattices of which it knows cells."""
        ...

    def draw(
        self, bravais: str, q2: Float[np.ndarray, "peak"], rng: np.random.Generator, n_network: int, n_trees: int
    ) -> Float[np.ndarray, "cell 6"]:
        """Draw cells from each network and from trees of each forest; see `app.indexing.learned.regression`."""
        ...


class IndexNetworks(Protocol):
    """Gives each line's probability of each index, for a cell that is about right."""


class Probability(Protocol):
    """Gives the probability that a ranked cell is the lattice."""

    def answered(self, result: SolveResult) -> SolveResult:
        """Give a full answer with its probabilities, perhaps in another order; see `Solution.probability`."""
        ...


@dataclass(frozen=True)
class Learned:
    """The parts that are at hand.

    Attributes:
        odds: how probable each lattice is, which sets the order of the search.
        templates: which low-order assignments are probable.
        regression: cells from the lines at once.
        indices: the assignment of lines to indices, given a cell.
        probability: of each ranked cell.
    """

    odds: LatticeOdds | None = None
    templates: TemplateScores | None = None
    regression: Regression | None = None
    indices: IndexNetworks | None = None
    probability: Probability | None = None


NOTHING_LEARNED = Learned()
"""The solver without any learned part."""
