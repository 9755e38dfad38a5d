"""What each generator proposes for one known cell."""

from __future__ import annotations

import numpy as np

from app.crystallography.bragg import two_theta_from_q2
from app.indexing.learned.models import NOTHING_LEARNED
from app.indexing.search.generator import Effort
from app.indexing.search.low_order import LowOrder
from benchmarks.indexing.cases import Case
from benchmarks.indexing.generators import columns, measure
from tests.indexing.synthetic import CELLS, WAVELENGTH_ANG, pattern


def _case(bravais: str, truth: str) -> Case:
    """Lines of one cell under the name of another lattice, or of its own."""
    q2 = pattern(truth).q2_inv_ang2
    angles = np.asarray(two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=WAVELENGTH_ANG))
    return Case("one", bravais, CELLS[bravais].constants, WAVELENGTH_ANG, angles, None)


def test_a_generator_that_proposes_the_cell_is_told_from_one_that_does_not() -> None:
    right, wrong = measure(LowOrder(), [_case("cP", "cP"), _case("cP", "cF")], Effort(keep=1))
    assert right.proposed
    assert right.grown
    assert not wrong.proposed
    assert not wrong.grown
    assert right.n_proposed > 0


def test_without_learned_parts_there_are_the_four_that_need_none() -> None:
    assert [one.name for one in columns(NOTHING_LEARNED)] == ["low_order", "exhaustive", "zones", "volume"]
    effort = Effort(level=1)
    assert all(one.effort(effort) is effort for one in columns(NOTHING_LEARNED))
