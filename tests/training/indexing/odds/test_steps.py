"""The order of the steps from what they did, and when a watched search may end."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.errors import InvalidInput
from app.indexing.problem import BRAVAIS, PeakList
from app.indexing.search_order import GENERATORS, Step
from training.indexing.odds.doubt import Stages, compared, ended, fit, read_searches, stages_of, watch
from training.indexing.odds.evaluate import scores
from training.indexing.odds.steps import Measured, best_order, possible_steps
from training.indexing.outcomes.answers import Case
from training.indexing.outcomes.conditions import Conditions
from training.indexing.outcomes.sources import Truth


def _measured(rng: np.random.Generator, n: int) -> Measured:
    lattices = [bravais for bravais in BRAVAIS if LATTICES[bravais].n_params == n]
    shape = (20 * len(lattices), len(possible_steps(lattices[0])))
    return Measured(rng.random(shape) < 0.4, rng.uniform(0.001, 0.1, shape), tuple(lattices * 20))


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_all_rows_of_the_list_are_done_once(bravais: str) -> None:
    steps = [step for step in possible_steps(bravais) if step.generator == "low_order" and step.shift == 0.0]
    assert steps[0].first == 0
    assert all(one.last == other.first for one, other in pairwise(steps))
    assert {step.generator for step in possible_steps(bravais)} <= set(GENERATORS)


def test_the_order_has_every_step_once_and_gains_of_no_more_than_all() -> None:
    rng = np.random.default_rng(0)
    steps = best_order({n: _measured(rng, n) for n in (1, 2, 3, 4, 6)})
    for bravais in BRAVAIS:
        chain = [step for step in steps if step.lattice == bravais]
        assert len(chain) == len(possible_steps(bravais))
        assert sum(step.gain for step in chain) < 1.1
        listed = [step.first for step in chain if step.generator == "low_order" and step.shift == 0.0]
        assert listed == sorted(listed)


def test_what_solves_all_in_no_time_comes_first() -> None:
    results = {n: _measured(np.random.default_rng(n), n) for n in (1, 2, 3, 4, 6)}
    for one in results.values():
        one.found[:], one.cpu_s[:] = False, 1.0
        one.found[:, -1], one.cpu_s[:, -1] = True, 0.001
    steps = best_order(results)
    for bravais in BRAVAIS:
        first = next(step for step in steps if step.lattice == bravais)
        assert first.generator == possible_steps(bravais)[-1].generator
        assert first.gain == 1.0


def cube(side_ang: float) -> PeakList:
    n = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17])
    return PeakList(n / side_ang**2, wavelength_ang=1.0)


def _stages(n_patterns: int, seed: int) -> Stages:
    """Searches of ten looks each, the first family right from a random look on, told by the first term."""
    rng = np.random.default_rng(seed)
    turn = rng.integers(0, 10, n_patterns)
    look = np.tile(np.arange(10), n_patterns)
    pattern = np.repeat(np.arange(n_patterns), 10)
    right = look >= turn[pattern]
    terms = np.column_stack([5.0 * right + 0.5 * rng.standard_normal(len(look)), rng.standard_normal((len(look), 6))])
    whole = np.ones(n_patterns, bool), np.full(n_patterns, 1.0), np.arange(n_patterns)
    return Stages(pattern, terms, right, 0.1 * (look + 1), *whole)


def test_a_search_ends_when_its_family_is_right_and_not_before() -> None:
    stages = _stages(200, 1)
    result = ended(_stages(200, 2), fit(stages, 0.02), np.arange(200))
    assert result.lost < 0.03
    assert result.mean_s < 0.75


def test_the_more_risk_the_less_time() -> None:
    rows = list(compared(_stages(100, 3)).values())
    assert all(one.mean_s >= other.mean_s for one, other in pairwise(rows))
    assert rows[0].lost <= rows[-1].lost


def test_watched_searches_are_kept_and_read_again(tmp_path: Path) -> None:
    sides = 5.0, 6.0
    truths = [Truth(f"cube-{side}", f"cube-{side}", "cP", (side, side, side, 90.0, 90.0, 90.0)) for side in sides]
    cases = [
        Case(f"1-{i}", truth, Conditions(), cube(side))
        for i, (truth, side) in enumerate(zip(truths, sides, strict=True))
    ]
    steps = (Step("exhaustive", "cP", 0.9, 0.01), Step("low_order", "cI", 0.1, 0.01, last=100))
    odds = np.where(np.isin(BRAVAIS, ("cP", "cI")), 0.5, 0.0)
    first = list(watch(cases[:1], lambda _: odds, steps, tmp_path / "watched.jsonl"))
    second = list(watch(cases[1:], lambda _: odds, steps, tmp_path / "watched.jsonl"))
    kept = read_searches(tmp_path / "watched.jsonl")
    assert [one.name for one in kept] == ["1-0", "1-1"]
    assert [one.ends_right for one in kept] == [True, True]
    stages = stages_of(kept)
    assert len(stages.terms) == sum(len(one.terms) for one in (*first, *second))
    assert not stages.loses[stages.is_right].any()
    assert stages.of(np.array([False, True])).pattern.tolist() == [1] * len(second[0].terms)


def test_what_is_no_watched_search_is_refused(tmp_path: Path) -> None:
    assert read_searches(tmp_path / "none.jsonl") == []
    (tmp_path / "other.jsonl").write_text('{"name": 1}\n')
    with pytest.raises(InvalidInput, match=r"other\.jsonl"):
        read_searches(tmp_path / "other.jsonl")


def test_scores_of_certainty_and_of_ignorance() -> None:
    lattice = np.arange(14)
    certain = scores(np.eye(14), lattice)
    assert certain.log_loss == pytest.approx(0.0)
    assert certain.top[1] == 1.0
    assert certain.calibration == pytest.approx(0.0)
    assert certain.searched == 0.0
    wrong = scores(np.eye(14)[(lattice + 1) % 14], lattice)
    assert wrong.calibration == pytest.approx(1.0)
    assert wrong.top[1] == 0.0
    assert scores(np.full((14, 14), 1 / 14), lattice).log_loss == pytest.approx(np.log(14))
