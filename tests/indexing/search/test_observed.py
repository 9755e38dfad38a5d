"""What the search makes of a peak list."""

from __future__ import annotations

import numpy as np
import pytest

from app.crystallography.bragg import q2_from_two_theta, two_theta_from_q2
from app.indexing.problem import PeakList
from app.indexing.search.observed import observed_from
from tests.indexing.synthetic import WAVELENGTH_ANG, pattern

PEAKS = pattern("oP")


def test_a_small_zero_shift_moves_lines_along_their_slope() -> None:
    observed = observed_from(PEAKS, max_peaks=40)
    angles = two_theta_from_q2(q2_inv_ang2=PEAKS.q2_inv_ang2, wavelength_ang=WAVELENGTH_ANG)
    shifted = q2_from_two_theta(two_theta_deg=angles + 0.001, wavelength_ang=WAVELENGTH_ANG)
    np.testing.assert_allclose((shifted - PEAKS.q2_inv_ang2) / 0.001, observed.slope, rtol=1e-4)
    np.testing.assert_allclose(observed.shifted(0.02).q2, observed.q2 - 0.02 * observed.slope)


def test_without_a_wavelength_no_shift_is_fitted() -> None:
    observed = observed_from(PeakList(PEAKS.q2_inv_ang2), max_peaks=40)
    assert not observed.slope.any()
    assert (observed.per_degree > 0).all()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_without_a_wavelength_lines_of_any_size_have_an_error(scale: float) -> None:
    observed = observed_from(PeakList(PEAKS.q2_inv_ang2 * scale), max_peaks=40)
    assert np.isfinite(observed.per_degree).all()
    assert (observed.per_degree > 0).all()


def test_only_the_relation_of_the_given_errors_counts() -> None:
    slope = observed_from(PEAKS, max_peaks=40).slope
    sigma = np.where(np.arange(20) % 2, 0.01, 0.02) * slope
    one, other = (
        observed_from(PeakList(PEAKS.q2_inv_ang2, sigma * factor, None, WAVELENGTH_ANG), max_peaks=40).per_degree
        for factor in (1.0, 50.0)
    )
    np.testing.assert_allclose(one, other)
    ratio = (one / slope)[::2] / (one / slope)[1::2]
    np.testing.assert_allclose(ratio, ratio[0])
    assert 1.3 < ratio[0] <= 2.0


def test_an_absurd_error_does_not_silence_a_line() -> None:
    slope = observed_from(PEAKS, max_peaks=40).slope
    sigma = 0.01 * slope
    sigma[3], sigma[7] = 1e6, 1e-12
    observed = observed_from(PeakList(PEAKS.q2_inv_ang2, sigma, None, WAVELENGTH_ANG), max_peaks=40)
    assert (observed.per_degree / slope).max() < 10
    assert (observed.per_degree / slope).min() > 0.1


def test_lines_at_180_degrees_have_an_error() -> None:
    q2 = np.append(PEAKS.q2_inv_ang2, (2 / WAVELENGTH_ANG) ** 2)
    observed = observed_from(PeakList(q2, np.full(21, 1e-5), None, WAVELENGTH_ANG), max_peaks=40)
    assert (observed.per_degree > 0).all()
    assert np.isfinite(observed.per_degree).all()


def test_the_lowest_lines_are_taken() -> None:
    assert observed_from(PEAKS, max_peaks=7).q2.tolist() == PEAKS.q2_inv_ang2[:7].tolist()
    observed = observed_from(PEAKS, max_peaks=40)
    assert observed.first(5).slope.tolist() == observed.slope[:5].tolist()
    assert observed.without(2).q2.tolist() == [*observed.q2[:2], *observed.q2[3:]]


def test_arrays_are_fit_for_compiled_code_and_the_callers_stay_as_they_are() -> None:
    frozen = np.repeat(PEAKS.q2_inv_ang2, 2)[::2]
    frozen.setflags(write=False)
    observed = observed_from(PeakList(frozen, wavelength_ang=WAVELENGTH_ANG), max_peaks=40)
    assert observed.q2.flags.c_contiguous
    assert observed.q2.flags.writeable
    assert not np.shares_memory(observed.q2, frozen)
