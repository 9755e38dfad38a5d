"""Distributions of cells and contents that tests draw crystals from."""

from __future__ import annotations

from functools import cache

import numpy as np

from app.crystallography.lattice import LATTICES
from training.indexing.data.cells import Distributions, features, fit_mixture, in_convention
from training.indexing.data.lattice_patterns import random_constants


@cache
def some_distributions() -> Distributions:
    """Fitted to a few broad random cells of each lattice."""
    rng, cells = np.random.default_rng(1), {}
    for bravais, lattice in LATTICES.items():
        drawn = [in_convention(bravais, cell) for cell in random_constants(lattice, 40, rng)]
        kept = np.array([cell for cell in drawn if cell is not None][:24])
        cells[bravais] = fit_mixture(features(lattice, kept), seed=1)
    shares = {"O": 0.6, "Si": 0.2, "Fe": 0.1, "Ca": 0.1}
    return Distributions(cells, dict.fromkeys(cells, 24), shares, (0.2, 0.5, 0.3), (2.7, 0.3))
