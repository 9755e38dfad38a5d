"""The order of the search by what its steps earn and cost."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from app.crystallography.cell import UnitCell
from app.indexing.problem import BRAVAIS, SolveOptions
from app.indexing.ranking import Found
from app.indexing.search.generator import Effort
from app.indexing.search.listed import Listed
from app.indexing.search.low_order import LowOrder
from app.indexing.search_order import GENERATORS, Doubt, Step, in_lots, remaining
from app.indexing.solve import search_bounds
from tests.indexing.synthetic import pattern


def _families(log_odds: float) -> tuple[Found, ...]:
    cell = UnitCell(4.0, 5.0, 6.0, 90.0, 90.0, 90.0)
    return (Found("oP", "low_order", np.ones(3), 0.0, log_odds, 18, 30, 0.01, cell, 120.0),)


def _odds(**given: float) -> np.ndarray:
    return np.array([given.get(bravais, 0.0) for bravais in BRAVAIS])


def _flat(lots: tuple[tuple[Step, ...], ...]) -> list[Step]:
    return [step for lot in lots for step in lot]


def _expected_s(order: list[Step], odds: np.ndarray) -> float:
    """Mean time until the step that finds the cell is done."""
    done = np.cumsum([step.cost_s for step in order])
    return sum(odds[BRAVAIS.index(step.lattice)] * step.gain * end for step, end in zip(order, done, strict=True))


def test_every_step_is_done_once_and_those_of_a_lattice_in_their_order() -> None:
    rng = np.random.default_rng(1)
    steps = [Step("zones", bravais, *rng.uniform(0.01, 0.3, 2)) for bravais in BRAVAIS for _ in range(4)]
    order = _flat(in_lots(steps, rng.dirichlet(np.ones(14)), BRAVAIS))
    assert len(order) == len(steps)
    for bravais in BRAVAIS:
        assert [one for one in order if one.lattice == bravais] == [one for one in steps if one.lattice == bravais]


def test_no_order_that_keeps_the_lattices_steps_takes_less_time() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        steps = [Step("zones", bravais, *rng.uniform(0.01, 0.3, 2)) for bravais in ("cF", "oP", "mP") for _ in range(2)]
        odds = _odds(cF=0.2, oP=0.3, mP=0.5)
        own = _expected_s(_flat(in_lots(steps, odds, ("cF", "oP", "mP"))), odds)
        kept = [
            list(order)
            for order in permutations(steps)
            if all(order.index(steps[i]) < order.index(steps[i + 1]) for i in (0, 2, 4))
        ]
        assert own == pytest.approx(min(_expected_s(order, odds) for order in kept))


def test_only_lattices_that_are_asked_for_are_searched() -> None:
    steps = [Step("zones", bravais, 0.5, 0.1) for bravais in BRAVAIS]
    assert {one.lattice for one in _flat(in_lots(steps, np.full(14, 1 / 14), ("oP", "cF")))} == {"oP", "cF"}
    assert in_lots((), np.full(14, 1 / 14), BRAVAIS) == ()


def test_lots_grow_with_the_time_spent() -> None:
    steps = [Step("zones", "oP", 0.01, 0.01) for _ in range(100)]
    costs = [sum(one.cost_s for one in lot) for lot in in_lots(steps, _odds(oP=1.0), ("oP",))]
    assert sum(costs) == pytest.approx(1.0)
    assert costs[:-1] == sorted(costs[:-1])
    assert 3 < len(costs) < 15


def test_what_is_left_is_the_gain_by_the_odds() -> None:
    steps = (Step("zones", "oP", 0.5, 0.1), Step("zones", "mP", 0.2, 0.1))
    assert remaining(steps, _odds(oP=0.4, mP=0.6)) == pytest.approx(0.32)


@pytest.mark.parametrize("generator", sorted(GENERATORS))
def test_every_generator_can_be_made(generator: str) -> None:
    made = GENERATORS[generator](Step(generator, "aP", 0.1, 0.1, last=100))
    assert made.name == generator


def test_a_part_of_the_list_gives_what_the_list_gives() -> None:
    observed, limits, _ = search_bounds(pattern("oI"), SolveOptions())
    whole = LowOrder().propose("oI", observed, limits, Effort(keep=10))
    parts = [Listed(*rows).propose("oI", observed, limits, Effort()) for rows in ((0, 2500), (2500, 4000))]
    assert sum(part.n_tried for part in parts) == whole.n_tried == 4000
    together = np.concatenate([part.x for part in parts])
    assert all(np.any(np.all(np.isclose(together, x, rtol=1e-3), axis=1)) for x in whole.x[:1])
    assert Listed(10**7, 10**8).propose("oI", observed, limits, Effort()).n_tried == 0
    assert len(Listed(0, 6000, keep=7).propose("oI", observed, limits, Effort()).x) == 7


def test_a_family_of_little_evidence_has_to_be_safer() -> None:
    weak, strong = (_families(log_odds) for log_odds in (5.0, 30.0))
    risky = Doubt((0.0,) * 7, math.log(0.005 / 0.995), most=0.01, weak=0.5, most_weak=0.002)
    assert risky.is_settled(strong, 20, 0.1)
    assert not risky.is_settled(weak, 20, 0.1)
    assert replace(risky, bias=-20.0).is_settled(weak, 20, 0.1)
