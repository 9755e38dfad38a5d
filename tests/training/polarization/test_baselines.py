"""Facts of the baselines."""

from __future__ import annotations

import numpy as np
import pytest

from app.polarization.decay import Optics
from app.polarization.experiment import Experiment
from training.polarization.baselines import BASELINES, exponential, line, physics
from training.polarization.methods import Method, method_key
from training.polarization.simulate import simulate, simulate_with_truth


@pytest.fixture(scope="module")
def experiments() -> list[Experiment]:
    return simulate("crystalline", 12, np.random.default_rng(9))


@pytest.mark.parametrize("method", BASELINES, ids=lambda m: m.name)
def test_every_baseline_passes_through_both_anchors_with_their_errors(
    method: Method, experiments: list[Experiment]
) -> None:
    predictor = method.fit(experiments[:8], 0)
    for e in experiments[8:]:
        mean, sigma = predictor(e.query(e.time_s[[0, -1]]))
        assert mean == pytest.approx(e.polarization[[0, -1]], abs=1e-9)
        assert sigma == pytest.approx(e.sigma[[0, -1]], rel=1e-6)


@pytest.mark.parametrize("method", BASELINES, ids=lambda m: m.name)
def test_every_baseline_answers_within_ten_percent_of_a_decay(method: Method, experiments: list[Experiment]) -> None:
    predictor = method.fit(experiments[:8], 0)
    for e in experiments[8:]:
        mean, sigma = predictor(e.query())
        assert np.abs(mean - e.polarization[1:-1]).max() < 0.1
        assert (sigma > 0).all()


def test_a_query_without_times_has_an_empty_answer(experiments: list[Experiment]) -> None:
    for method in BASELINES:
        assert method.fit(experiments[:8], 0)(experiments[9].query(np.array([]))).mean.size == 0


def test_physics_without_noise_is_the_truth() -> None:
    for s in simulate_with_truth("amorphous", 5, np.random.default_rng(1)):
        e = s.experiment
        exact = Experiment(
            e.name, e.material, e.polarizer, e.analyser, e.reflection, e.start, e.time_s, s.truth, e.sigma
        )
        assert physics(exact.query(), s.optics).mean == pytest.approx(s.truth[1:-1], rel=1e-6)


def test_an_anchor_that_the_amplitude_forbids_falls_back_on_the_line(experiments: list[Experiment]) -> None:
    query = experiments[0].query()
    assert physics(query, Optics(query.initial.polarization)).mean.tolist() == line(query).mean.tolist()


def test_a_weakly_absorbing_cell_decays_as_an_exponential(experiments: list[Experiment]) -> None:
    """tanh(phi) = phi for small phi: with a huge amplitude physics becomes the two-point exponential."""
    query = experiments[0].query()
    assert physics(query, Optics(50.0)).mean == pytest.approx(exponential(query).mean, rel=1e-3)


def test_methods_with_other_settings_have_other_keys() -> None:
    assert len({method_key(m) for m in BASELINES}) == len(BASELINES)
