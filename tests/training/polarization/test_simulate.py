"""Facts of the simulator: the refit gives back what went in, and the noise is that of counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import least_squares

from app.polarization.decay import counts_from_sigma, fit_anchors, neutron_polarization, t1_sigma_s
from app.polarization.experiment import Material
from app.polarization.segments import survey
from training.polarization.simulate import (
    LEAST_COUNTS,
    MOST_COUNTS,
    SETUPS,
    Simulated,
    SimulationArgs,
    count,
    fli_text,
    simulate,
    simulate_with_truth,
)

MATERIALS = pytest.mark.parametrize("material", ["crystalline", "amorphous"])


def _rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def _refit_pull(s: Simulated) -> float:
    """Fit ln(phi0) and ln(rate) to all points by least squares; (found - true)/error of ln(T1)."""
    e = s.experiment

    def deviations(x: np.ndarray) -> np.ndarray:
        phi = np.exp(x[0] - np.exp(x[1]) * e.time_s)
        return (neutron_polarization(phi, s.optics) - e.polarization) / e.sigma

    fit = least_squares(deviations, [np.log(s.phi_initial) + 0.1, -np.log(s.t1_s) + 0.2], x_scale=[0.1, 0.1])
    return float((-fit.x[1] - np.log(s.t1_s)) / np.sqrt(np.linalg.inv(fit.jac.T @ fit.jac)[1, 1]))


@MATERIALS
def test_a_refit_gives_back_t1_within_its_error(material: Material) -> None:
    pulls = np.array([_refit_pull(s) for s in simulate_with_truth(material, 60, _rng())])
    assert abs(pulls.mean()) < 0.4
    assert 0.75 < pulls.std() < 1.25


@MATERIALS
def test_the_anchors_alone_give_back_t1_within_their_propagated_error(material: Material) -> None:
    pulls = []
    for s in simulate_with_truth(material, 100, _rng(), SimulationArgs(counts=3e5)):
        e = s.experiment
        fit = fit_anchors(
            initial_s=0.0,
            p_initial=e.polarization[0],
            final_s=e.time_s[-1],
            p_final=e.polarization[-1],
            optics=s.optics,
        )
        pulls.append((1 / fit.t1_s - 1 / s.t1_s) * fit.t1_s**2 / t1_sigma_s(fit, e.sigma[0], e.sigma[-1]))
    assert abs(np.mean(pulls)) < 0.35
    assert 0.75 < np.std(pulls) < 1.25


def test_the_scatter_is_that_of_counting() -> None:
    truth = np.full(20_000, 0.7)
    measured, sigma = count(truth, 4e4, _rng())
    assert np.std((measured - truth) / sigma) == pytest.approx(1, abs=0.03)
    assert (counts_from_sigma(measured, sigma) > 0.9 * LEAST_COUNTS).all()
    assert (counts_from_sigma(measured, sigma) < 1.1 * MOST_COUNTS).all()


def test_excess_scatter_comes_on_top_of_counting() -> None:
    simulated = simulate_with_truth("crystalline", 150, _rng(), SimulationArgs(excess_sigma=0.02, counts=2e5))
    scatter = np.concatenate([s.experiment.polarization - s.truth for s in simulated])
    counting = np.concatenate([s.experiment.sigma for s in simulated])
    assert np.std(scatter) == pytest.approx(np.sqrt(0.02**2 + np.mean(counting**2)), rel=0.08)


@MATERIALS
def test_a_campaign_is_one_cell_after_the_other(material: Material) -> None:
    experiments = simulate(material, 12, _rng())
    assert len({e.name for e in experiments}) == 12
    for before, after in itertools.pairwise(experiments):
        assert before.start.timestamp() + before.time_s[-1] < after.polarizer.lab_time.timestamp()
        assert after.polarizer.lab_time < after.start
        assert (np.diff(after.time_s) > 0).all()


@MATERIALS
def test_first_polarizations_are_those_of_d3(material: Material) -> None:
    """Median first polarization in D3's runs: 0.85 crystalline, 0.54 amorphous."""
    first = np.median([e.polarization[0] for e in simulate(material, 200, _rng())])
    assert first == pytest.approx({"crystalline": 0.85, "amorphous": 0.54}[material], abs=0.04)
    assert set(SETUPS[material].median_t1_h) == {e.polarizer.cell_id for e in simulate(material, 60, _rng())}


def test_several_reflections_share_a_cell_and_its_decay() -> None:
    a, b = simulate_with_truth("crystalline", 1, _rng(), SimulationArgs(reflections=2, amplitude_spread=0.02))
    assert a.experiment.polarizer == b.experiment.polarizer
    assert a.t1_s == b.t1_s
    assert a.experiment.reflection != b.experiment.reflection
    assert a.optics.amplitude != b.optics.amplitude


def test_the_same_seed_gives_the_same_campaign() -> None:
    a, b = (simulate("amorphous", 3, _rng(8)) for _ in range(2))
    assert [e.polarization.tolist() for e in a] == [e.polarization.tolist() for e in b]


@MATERIALS
def test_the_reader_finds_the_simulated_experiments_in_their_fli_text(material: Material) -> None:
    simulated = simulate(material, 5, _rng(), SimulationArgs(counts=1e5))
    read = survey({"simulated.fli": fli_text(simulated)}).experiments
    assert len(read) == len(simulated)
    for found, wanted in zip(read, simulated, strict=True):
        assert found.material == material
        assert found.polarizer == wanted.polarizer
        assert found.analyser == wanted.analyser
        assert found.start == wanted.start
        assert found.time_s == pytest.approx(wanted.time_s)
        assert found.polarization == pytest.approx(wanted.polarization, abs=6e-5)
        assert found.sigma == pytest.approx(wanted.sigma, abs=6e-5)
