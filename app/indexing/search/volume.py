"""Random cells of growing volume, each refined by a random walk over index assignments.

In the style of SVD-Index (A. A. Coelho, J. Appl. Cryst. 36 (2003) 86): cells of one volume and random shape start the
walk of `app.indexing.walk.mcmc`, which pulls those near enough into the true cell, whatever lines are missing or
foreign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from app.crystallography.lattice import CONSTANTS, LATTICES, BravaisLattice
from app.crystallography.metric import exists, volume_from_x, x_from_constants
from app.indexing.problem import Candidates
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.observed import Observed
from app.indexing.search.rating import distinct, rated
from app.indexing.walk.kernels import kernel_for
from app.indexing.walk.mcmc import (
    Bounds,
    McmcOptions,
    Problem,
    RefineRequest,
    lattice_problem,
    merge,
    one_pattern,
    refine,
)

N_LINES = 20
LOG_LENGTH_SPREAD = 0.45
"""Standard deviation of ln a among the axes of one cell."""
ANGLES_DEG = (65.0, 115.0)
"""Range of a free angle."""
_PREDICTED_PER_LINE = (0.8, 2.5)
"""Range of reflections predicted for each line observed, which sets the range of volumes."""
_SHELLS = 8
_SIGMA_DEG = 0.02
_BATCH = 4096


@dataclass(frozen=True)
class ByVolume:
    """The generator; never complete.

    Attributes:
        starts_per_term: cells to start from for each free metric term and each volume shell, by level of effort.
        n_steps: steps of each walk.
        window_deg: a line may be so far from a reflection when cells are ranked, degrees of 2theta.
        n_threads: see `kernel_for`.
    """

    starts_per_term: tuple[int, int] = (40, 1000)
    n_steps: int = 40
    window_deg: float = 0.05
    n_threads: int | None = 1
    name: str = "volume"
    lattices: frozenset[str] = frozenset(LATTICES)

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Propose the best refined cells of one lattice, best first."""
        lattice, first = LATTICES[bravais], observed.first(N_LINES)
        if len(first.q2) <= lattice.n_params:
            return Proposal(np.empty((0, lattice.n_params)), 0)
        problem = walk_problem(lattice, first, limits)
        kernel, options = kernel_for(effort.device, self.n_threads), McmcOptions(n_steps=self.n_steps)
        generator = np.random.default_rng([effort.seed, *bravais.encode()])
        n_starts = self.starts_per_term[min(effort.level, 1)] * lattice.n_params
        kept, n_tried = [np.empty((0, lattice.n_params))], 0
        for volume in _volumes(lattice, first, limits):
            if effort.stop():
                break
            starts = random_cells(lattice, volume, n_starts, generator)
            for part in np.array_split(np.arange(n_starts), -(-n_starts // _BATCH)):
                request = RefineRequest(stream=n_tried + part, should_stop=effort.stop)
                kept.append(merge(refine(Candidates(starts[part]), problem, options, effort.seed, kernel, request)).x)
            n_tried += n_starts
        x = np.concatenate(kept)
        rating, _, _ = rated(bravais, x, first, limits, self.window_deg)
        return Proposal(x[distinct(x, rating, effort.keep)], n_tried)


def random_cells(
    lattice: BravaisLattice, primitive_volume_ang3: float, count: int, generator: np.random.Generator
) -> Float[np.ndarray, "cell param"]:
    """Draw cells of one volume and random shape; a cell of impossible angles is made rectangular where it may be."""
    constants = np.tile(lattice.fixed_constants, (count, 1))
    lengths = np.exp(LOG_LENGTH_SPREAD * generator.standard_normal((count, 3)))
    angles = generator.uniform(*ANGLES_DEG, (count, 3))
    drawn = np.concatenate([lengths, angles], axis=1)
    for place, source in enumerate(lattice.constant_sources):
        if source >= 0:
            constants[:, place] = drawn[:, source]
    bad = ~exists(constants)
    free_angles = [i for i, s in enumerate(lattice.constant_sources) if s >= 0 and CONSTANTS[i].endswith("deg")]
    constants[np.flatnonzero(bad)[:, None], free_angles] = 90.0
    x = x_from_constants(lattice, constants)
    wanted = primitive_volume_ang3 * lattice.centring.multiplicity
    # q^2 goes as V^(-2/3).
    return x * (volume_from_x(lattice, x)[:, None] / wanted) ** (2 / 3)


def _volumes(lattice: BravaisLattice, observed: Observed, limits: Limits) -> list[float]:
    """Give primitive volumes, ascending, that predict about as many reflections as there are lines."""
    sphere = 4 / 3 * np.pi * observed.q2[-1] ** 1.5
    range_ang3 = np.array(_PREDICTED_PER_LINE) * len(observed.q2) * lattice.laue_order / sphere
    low, high = np.clip(range_ang3, limits.min_volume, limits.max_volume)
    return np.geomspace(low, high, _SHELLS).tolist()


def walk_problem(lattice: BravaisLattice, observed: Observed, limits: Limits) -> Problem:
    """Give the walk its problem: the lines with their expected errors, and the bounds on the cell."""
    lines = one_pattern(observed.q2, _SIGMA_DEG * observed.per_degree)
    size = lattice.centring.multiplicity
    bounds = Bounds(
        lattice.terms, limits.min_length, limits.max_length, limits.min_volume * size, limits.max_volume * size
    )
    return lattice_problem(lattice, lines, bounds)
