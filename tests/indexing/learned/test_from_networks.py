"""Cells that networks and forests draw, refined by the walk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from app.crystallography.lattice import CONSTANTS, LATTICES
from app.crystallography.metric import constants_from_x
from app.indexing.learned.from_networks import FromNetworks, averaged
from app.indexing.learned.regression import ALPHA, BETA, MEAN, LatticeModel, Regression, Scaling
from app.indexing.search.generator import Effort
from app.indexing.search.volume import walk_problem
from app.indexing.walk.kernels import kernel_for
from app.indexing.walk.mcmc import McmcOptions
from tests.indexing.search.lattice_lines import LIMITS, has_cell, lines_of, random_cell


def roughly(bravais: str, x: np.ndarray, spread: float) -> Regression:
    """A network that knows the cell's constants to a share of ``spread`` (of a radian for angles)."""
    lattice = LATTICES[bravais]
    free = [CONSTANTS.index(name) for name in lattice.free_constants]
    values = constants_from_x(lattice, x[None])[:, free]
    angle = np.array([name.endswith("deg") for name in lattice.free_constants])
    mean = np.where(angle, np.radians(values) - np.pi / 2, values)[:, None]
    sigma = np.where(angle, spread, spread * values)[:, None]

    def network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {MEAN: mean, ALPHA: np.full_like(mean, 2.0), BETA: sigma**2}

    size = lattice.n_params
    scaling = Scaling("absolute", 20, np.zeros(20), np.ones(20), np.zeros(size), np.ones(size), np.eye(size))
    return Regression({bravais: LatticeModel(bravais, scaling, ("all",), network)})


@pytest.mark.parametrize("bravais", ["tP", "oI", "mP", "aP"])
def test_rough_draws_refine_to_the_cell_with_missing_and_foreign_lines(bravais: str) -> None:
    rng = np.random.default_rng(4)
    x = random_cell(bravais, rng, 180.0)
    observed = lines_of(bravais, x, rng, n_foreign=1)
    generator = FromNetworks(roughly(bravais, x, 0.03))
    proposal = generator.propose(bravais, observed, LIMITS, Effort())
    assert has_cell(bravais, proposal.x, x)
    assert proposal.n_tried == 30
    assert not proposal.complete


def test_what_was_not_learned_is_not_proposed() -> None:
    rng = np.random.default_rng(4)
    x = random_cell("oI", rng, 180.0)
    generator = FromNetworks(roughly("mP", random_cell("mP", rng, 180.0), 0.03))
    assert generator.lattices == {"mP"}
    assert generator.propose("oI", lines_of("oI", x, rng), LIMITS, Effort()).x.shape == (0, 3)


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(4)
    x = random_cell("oP", rng, 180.0)
    generator, observed = FromNetworks(roughly("oP", x, 0.1)), lines_of("oP", x, rng)
    one, same, other = (generator.propose("oP", observed, LIMITS, Effort(seed=seed)).x for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or np.any(one != other)


def test_cells_with_equal_indices_become_their_mean() -> None:
    rng = np.random.default_rng(4)
    x = random_cell("oP", rng, 180.0)
    observed = lines_of("oP", x, rng).first(20)
    near, far = x * np.array([[1.0002], [0.9998]]), x * np.array([[1.3, 0.8, 0.9]])
    problem = walk_problem(LATTICES["oP"], observed, LIMITS)
    found = averaged(np.concatenate([near, far]), problem, McmcOptions(), kernel_for("cpu", 1))
    np.testing.assert_allclose(found, np.concatenate([x[None], far]), rtol=1e-6)
