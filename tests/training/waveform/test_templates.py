"""Facts of pulse shapes: moments of Gaussians, what two scatters add to a variance, and that a match finds its own."""

from __future__ import annotations

import numpy as np
import pytest

from app.waveform.detector import DETECTORS
from app.waveform.normalise import CENTRED_BINS
from training.waveform.args import DataArgs
from training.waveform.methods import Question
from training.waveform.sets import TestArgs, questions, training_set
from training.waveform.shapes import BIN_US, SHAPE_FEATURES, TIME_US, excess_us2, rms_us, shape_features
from training.waveform.templates import Grid, LeastSquares, Likelihood, library, templates

DETECTOR = DETECTORS["reference"]


def gaussian(sigma_us: float, *, rows: int = 1) -> Question:
    time_us = (np.arange(5000) + 0.5 - 2500) * 0.01
    pulse = 100 * np.exp(-0.5 * (time_us / sigma_us) ** 2).astype(np.float32)
    return Question(np.tile(pulse, (rows, 1)), DETECTOR, np.full(rows, 500.0))


def column(question: Question, name: str) -> float:
    return float(shape_features(question)[0, SHAPE_FEATURES.index(name)])


@pytest.mark.parametrize("sigma_us", [0.5, 1.0, 2.0])
def test_the_features_of_a_gaussian(sigma_us: float) -> None:
    """Kurtosis 3, sixth moment 15, no asymmetry; the central 90 % reach 1.645 sigma to both sides."""
    pulse = gaussian(sigma_us)
    assert shape_features(pulse).shape == (1, len(SHAPE_FEATURES))
    assert len(SHAPE_FEATURES) == 19
    assert column(pulse, "rms_us") == pytest.approx(np.hypot(sigma_us, BIN_US / np.sqrt(12)), rel=0.01)
    assert column(pulse, "moment_3") == pytest.approx(0, abs=0.02)
    assert column(pulse, "moment_4") == pytest.approx(3, rel=0.03)
    assert column(pulse, "moment_6") == pytest.approx(15, rel=0.1)
    assert column(pulse, "width_90%_us") == pytest.approx(2 * 1.645 * sigma_us, rel=0.02)
    assert column(pulse, "asymmetry_0.1") == pytest.approx(0, abs=0.01)
    assert column(pulse, "peak_per_us") == pytest.approx(1 / (np.sqrt(2 * np.pi) * sigma_us), rel=0.05)
    assert column(pulse, "half_width_us") == pytest.approx(2.355 * sigma_us, rel=0.1)


def test_an_empty_waveform_has_finite_features() -> None:
    empty = Question(np.zeros((1, 5000), np.float32), DETECTOR, np.array([500.0]))
    assert np.isfinite(shape_features(empty)).all()


def test_a_template_has_area_one_and_the_variance_of_its_parts() -> None:
    """Var = f s1^2 + (1-f) s2^2 + f (1-f) d^2 + gap^2/12 (and a bin's own), about a centroid of zero."""
    drift, d, f = np.array([100.0, 500.0, 900.0]), np.array([0.0, 3.0, 8.0]), np.array([0.5, 0.3, 0.7])
    shape = templates(DETECTOR, drift, d, f)
    np.testing.assert_allclose(shape.sum(axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(shape @ TIME_US, 0.0, atol=1e-4)
    early, late = DETECTOR.diffusion_us(drift) ** 2, DETECTOR.diffusion_us(drift + d) ** 2
    expected = f * early + (1 - f) * late + f * (1 - f) * d**2 + (DETECTOR.gas_gap_us**2 + BIN_US**2) / 12
    np.testing.assert_allclose(shape @ TIME_US**2, expected, rtol=5e-3)


def test_the_weights_of_drift_times_are_their_shares() -> None:
    found = library(DETECTOR, Grid(separations=3, drifts=5, shares=1))
    assert found.drift_weight.sum() == pytest.approx(1)
    assert found.shape.shape == (5, 3, 1, CENTRED_BINS)
    assert np.all(np.diff(DETECTOR.diffusion_us(found.drift_time_us)) > 0)


def test_the_excess_is_what_two_scatters_add() -> None:
    """Averaged over many pulses, variance less gap and diffusion is f (1 - f) d^2 to a few per cent."""
    part = questions(TestArgs(events=200)).two
    truth = part.truth
    added = truth.split * (1 - truth.split) * truth.d_us**2
    far = truth.d_us > 4
    assert np.mean(excess_us2(part.question)[far] / added[far]) == pytest.approx(1, abs=0.05)
    assert np.corrcoef(rms_us(part.question)[far], truth.d_us[far])[0, 1] > 0.5


@pytest.fixture(scope="module")
def asked() -> Question:
    return questions(TestArgs(events=60)).two.question


@pytest.mark.parametrize("drift", [False, True])
def test_matching_finds_the_separation_of_a_bright_pulse(drift: bool) -> None:
    part = questions(TestArgs(events=120)).two
    far = part.truth.d_us > 3.0
    found = LeastSquares(drift, Grid(drifts=12)).fit([], np.random.default_rng(0))(part.question).d_us
    assert found is not None
    assert np.sqrt(np.mean((found - part.truth.d_us)[far] ** 2)) < 0.25


def test_the_posterior_narrows_where_the_drift_time_is_known(asked: Question) -> None:
    training, rng, widths = training_set(DataArgs(events=100), singles=False), np.random.default_rng(0), {}
    for drift in (False, True):
        answer = Likelihood(drift, Grid(41, 8, 3), calibrated_on=60).fit(training, rng)(asked)
        assert answer.intervals_us is not None
        assert answer.p_two is not None
        assert ((answer.p_two >= 0) & (answer.p_two <= 1)).all()
        lower, upper = answer.intervals_us[:, 0], answer.intervals_us[:, 1]
        assert (lower[1] <= lower[0] + 1e-9).all()
        assert (upper[1] >= upper[0] - 1e-9).all()
        widths[drift] = float(np.mean(upper[0] - lower[0]))
    assert widths[True] < widths[False]
