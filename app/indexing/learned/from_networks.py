"""Cells drawn by variance networks and random forests, each refined by a random walk over index assignments.

Section 2.4.2 of the data-driven indexing report: thirty draws of each group's network and thirty trees of each group's
forest; those with equal assignments become one; all go through the walk of `app.indexing.walk.mcmc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from app.crystallography.lattice import LATTICES
from app.crystallography.metric import x_from_constants
from app.indexing.learned.models import Regression
from app.indexing.problem import Candidates
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.observed import Observed
from app.indexing.search.rating import distinct, rated
from app.indexing.search.volume import N_LINES, walk_problem
from app.indexing.walk.kernels import kernel_for
from app.indexing.walk.mcmc import Kernel, McmcOptions, Problem, RefineRequest, merge, refine


@dataclass(frozen=True)
class FromNetworks:
    """The generator; never complete.

    Attributes:
        regression: what was learned; lattices without a model are not served.
        n_network: draws from each network.
        n_trees: trees of each forest.
        n_steps: steps of each walk; 0 proposes the draws as they are.
        window_deg: a line may be so far from a reflection when cells are ranked, degrees of 2theta.
        n_threads: see `kernel_for`.
    """

    regression: Regression
    n_network: int = 30
    n_trees: int = 30
    n_steps: int = 40
    window_deg: float = 0.05
    n_threads: int | None = 1
    name: str = "networks"

    @property
    def lattices(self) -> frozenset[str]:
        """The lattices that were learned."""
        return self.regression.lattices

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Propose the best refined cells of one lattice, best first."""
        lattice, first = LATTICES[bravais], observed.first(N_LINES)
        if bravais not in self.lattices or len(first.q2) <= lattice.n_params:
            return Proposal(np.empty((0, lattice.n_params)), 0)
        generator = np.random.default_rng([effort.seed, *bravais.encode()])
        drawn = self.regression.draw(bravais, first.q2, generator, self.n_network, self.n_trees)
        x = x_from_constants(lattice, drawn)
        if self.n_steps and len(x):
            problem, kernel = walk_problem(lattice, first, limits), kernel_for(effort.device, self.n_threads)
            options = McmcOptions(n_steps=self.n_steps)
            starts = averaged(x, problem, options, kernel)
            request = RefineRequest(should_stop=effort.stop)
            x = merge(refine(Candidates(starts), problem, options, effort.seed, kernel, request)).x
        rating, _, _ = rated(bravais, x, first, limits, self.window_deg)
        return Proposal(x[distinct(x, rating, effort.keep)], len(drawn))


def averaged(
    x: Float[np.ndarray, "cell param"], problem: Problem, options: McmcOptions, kernel: Kernel
) -> Float[np.ndarray, "kept param"]:
    """Make one cell, the mean, of those that give every line the same index, in the order of their first."""
    count = len(x)
    nearest = kernel.start(x, np.arange(count), np.zeros(count, np.int64), problem, options).nearest
    _, first, member = np.unique(nearest, axis=0, return_index=True, return_inverse=True)
    member = member.reshape(-1)
    sums = np.zeros((len(first), x.shape[1]))
    np.add.at(sums, member, x)
    return (sums / np.bincount(member)[:, None])[np.argsort(first)]
