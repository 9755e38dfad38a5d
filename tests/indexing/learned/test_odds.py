"""The solver with odds of the lattices: the same answer, sooner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.errors import ModelRefused
from app.indexing.learned.models import Learned
from app.indexing.learned.odds import NetworkOdds, from_model
from app.indexing.problem import BRAVAIS, PeakList, SolveOptions, SolveResult
from app.indexing.search_order import Doubt, Step
from app.indexing.solve import search_bounds, solve
from tests.indexing.synthetic import is_lattice, pattern

LONG = SolveOptions(max_seconds=300.0)
STEPS = tuple(
    Step("low_order", bravais, gain, 0.01, first=first, last=last)
    for bravais in BRAVAIS
    for first, last, gain in ((0, 600, 0.8), (600, 6000, 0.1))
)
EVIDENCE = Doubt((-1.0, 0.0, -1.0, 0.0, 20.0, 0.0, 0.0), 3.0, 0.5)
"""Settled where evidence and gap are large and every line is explained."""


def _odds(likely: str = "cF", doubt: Doubt = EVIDENCE, steps: tuple[Step, ...] = STEPS) -> NetworkOdds:
    given = np.where(np.array(BRAVAIS) == likely, 0.87, 0.01)

    def network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"probability": np.tile(given, (len(inputs["lines"]), 1))}

    return NetworkOdds(network, steps, doubt)


def _solved(peaks: PeakList, odds: NetworkOdds, **options: Any) -> SolveResult:
    return solve(peaks, replace(LONG, **options), learned=Learned(odds=odds))


def _model(**parameters: Any) -> Any:
    whole = {
        "lattices": list(BRAVAIS),
        "steps": [{"generator": "zones", "lattice": "aP", "gain": 0.1, "cost_s": 0.1}],
        "doubt": {"weights": [0.0] * 7, "bias": 0.0, "most": 0.1},
    }
    return SimpleNamespace(run=None, parameters=whole | parameters)


@pytest.mark.parametrize("bravais", ["cI", "hR", "oF", "mC"])
@pytest.mark.parametrize("likely", ["cP", "aP"])
def test_wrong_odds_cost_time_and_no_answer(bravais: str, likely: str) -> None:
    result = _solved(pattern(bravais, seed=1), _odds(likely))
    assert is_lattice(result.solutions[0], bravais)


def test_a_likely_lattice_is_all_that_is_searched() -> None:
    result = _solved(pattern("oI"), _odds("oI"))
    assert is_lattice(result.solutions[0], "oI")
    assert result.stopped == "certain"
    assert result.searches[0].lattice == "oI"
    assert len(result.searches) < 14


def test_without_an_end_all_steps_are_done_and_the_answer_is_complete() -> None:
    never = replace(EVIDENCE, most=-1.0)
    result = _solved(pattern("tI"), _odds("tI", never), lattices=("tI", "oI"))
    assert result.stopped == "complete"
    assert [one.lattice for one in result.searches].count("oI") == 2
    assert is_lattice(result.solutions[0], "tI")


def test_what_is_settled_is_not_always_certain() -> None:
    rng = np.random.default_rng(0)
    noise = PeakList(np.sort(rng.uniform(0.01, 0.25, 20)), wavelength_ang=1.5406)
    always = replace(EVIDENCE, most=2.0, most_weak=2.0)
    assert _solved(noise, _odds(doubt=always), lattices=("tP", "oP")).stopped == "settled"


@pytest.mark.parametrize("n_cores", [1, 3])
def test_threads_do_not_change_the_answer(n_cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks, few = pattern("mP", foreign=1), ("cP", "oP", "mP")
    expected = _solved(peaks, _odds("oP"), lattices=few)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(n_cores)))
    found = _solved(peaks, _odds("oP"), lattices=few)
    assert found.solutions == expected.solutions
    assert found.n_candidates == expected.n_candidates


def test_callers_own_rounds_are_done_as_they_are() -> None:
    assert solve(pattern("cP"), LONG, rounds=(), learned=Learned(odds=_odds())).searches == ()


def test_odds_are_those_of_a_choice() -> None:
    observed, _, _ = search_bounds(pattern("cP"), SolveOptions())
    given = _odds("cP").probabilities(observed)
    assert given.sum() == pytest.approx(1.0)
    assert BRAVAIS[int(given.argmax())] == "cP"


def test_a_model_gives_its_steps_and_its_doubt() -> None:
    made = from_model(_model())
    assert made.steps == (Step("zones", "aP", 0.1, 0.1),)
    assert made.doubt.most == 0.1


@pytest.mark.parametrize(
    "parameters",
    [{"lattices": ["cP"]}, {"steps": [{"generator": "zones"}]}, {"doubt": {}}, {"steps": None}],
)
def test_a_model_that_does_not_fit_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused):
        from_model(_model(**parameters))


@pytest.mark.parametrize("change", [{"generator": "unknown"}, {"lattice": "zP"}, {"cost_s": 0.0}])
def test_a_step_that_the_solver_cannot_do_is_refused(change: dict[str, Any]) -> None:
    step = {"generator": "zones", "lattice": "aP", "gain": 0.1, "cost_s": 0.1} | change
    with pytest.raises(ModelRefused):
        from_model(_model(steps=[step]))


def test_odds_are_held_among_the_lattices_that_are_asked_for() -> None:
    left: list[float] = []

    class Listening:
        def is_settled(self, best: object, n_lines: int, left_to_find: float) -> bool:
            left.append(left_to_find)
            return False

    slow = tuple(replace(step, cost_s=0.05) for step in STEPS)
    odds = replace(_odds("cF", steps=slow), doubt=Listening())  # pyright: ignore[reportArgumentType]
    _solved(pattern("oI"), odds, lattices=("oI",))
    assert left[0] == pytest.approx(0.1)
    assert left[-1] == pytest.approx(0.0)
