"""Lines are found where they were put, with errors that are true, and none are found in noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from app.crystallography import bragg
from app.errors import InvalidInput
from app.indexing.patterns.pattern import Doublet, Pattern, make_pattern
from app.indexing.patterns.peak_search import PeakOptions, PeakSearch, peak_list_from_search, search_peaks
from app.indexing.patterns.radiation import alpha2_from_alpha1, doublet_of_tube
from tests.indexing.patterns.pattern_maker import COPPER, Instrument, counted, expected, matched, random_lines, sloping

LAB = Instrument(wavelength_ang=1.3)
COPPER_LAB = Instrument(doublet=COPPER)
SYNCHROTRON = Instrument(low=3, high=40, step=0.004, fwhm=0.012, growth=0.0003, eta=0.7, wavelength_ang=0.8)
STATISTICS = PeakOptions(shape_error=0)


def simulated(
    seed: int, instrument: Instrument, *, apart: float = 0.3, level: float = 100, weak: float = 20, strong: float = 1e4
) -> tuple[np.ndarray, np.ndarray, Pattern]:
    rng = np.random.default_rng(seed)
    lines, heights = random_lines(rng, instrument, 40, apart, weak, strong)
    return lines, heights, counted(rng, instrument, expected(instrument, lines, heights, sloping(instrument, level)))


@pytest.mark.parametrize(
    ("instrument", "apart", "strong", "p95_deg"),
    [(LAB, 0.3, 1e4, 0.012), (COPPER_LAB, 0.3, 1e4, 0.012), (SYNCHROTRON, 0.08, 1e5, 0.002)],
)
def test_lines_are_found_where_they_are_with_true_errors(
    instrument: Instrument, apart: float, strong: float, p95_deg: float
) -> None:
    pulls, errors, missed, clear, phantoms = [], [], 0, 0, 0
    for seed in range(4):
        lines, heights, pattern = simulated(seed, instrument, apart=apart, strong=strong)
        found = search_peaks(pattern, STATISTICS)
        index, extra = matched(found.two_theta_deg, lines, 0.06)
        phantoms += len(extra)
        missed += np.count_nonzero((index < 0) & (heights > 200))
        clear += np.count_nonzero(heights > 200)
        error = found.two_theta_deg[index[index >= 0]] - lines[index >= 0]
        errors.extend(error)
        pulls.extend(error / found.sigma_deg[index[index >= 0]])
    assert phantoms == 0
    assert missed <= 0.02 * clear
    assert np.quantile(np.abs(errors), 0.95) < p95_deg
    assert abs(np.mean(pulls)) < 0.35
    assert 0.8 < np.std(pulls) < 1.25


@pytest.mark.parametrize("level", [0.02, 1.0, 100.0, 1e5])
def test_a_background_has_no_lines(level: float) -> None:
    for seed in range(5):
        found = search_peaks(counted(np.random.default_rng(seed), LAB, sloping(LAB, level)))
        assert len(found.two_theta_deg) == 0
        assert "no line" in found.warnings[-1]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "counts per second": lambda y: y / 7.3,
    "normalised": lambda y: y / y.max(),
    "background subtracted": lambda y: y - sloping(LAB),
    "smoothed": lambda y: gaussian_filter1d(y, 2.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_scales_and_treated_data(name: str) -> None:
    lines, heights, pattern = simulated(1, LAB)
    found = search_peaks(make_pattern(pattern.two_theta_deg, CHANGES[name](pattern.counts)), STATISTICS)
    index, extra = matched(found.two_theta_deg, lines, 0.06)
    assert np.all(index[heights > 250] >= 0)
    assert len(extra) <= 1
    pull = (found.two_theta_deg[index[index >= 0]] - lines[index >= 0]) / found.sigma_deg[index[index >= 0]]
    assert 0.5 < np.std(pull) < 1.4


def test_the_scale_of_the_counts_changes_no_position() -> None:
    pattern = simulated(2, LAB)[2]
    sigma = np.sqrt(np.maximum(pattern.counts, 1))
    one, two = (
        search_peaks(make_pattern(pattern.two_theta_deg, scale * pattern.counts, scale * sigma)) for scale in (1, 1e-4)
    )
    assert one.two_theta_deg == pytest.approx(two.two_theta_deg, abs=1e-6)
    assert two.intensity == pytest.approx(1e-4 * one.intensity, rel=1e-3)


def test_a_zero_shift_moves_all_lines() -> None:
    pattern = simulated(3, LAB)[2]
    moved = replace(pattern, two_theta_deg=pattern.two_theta_deg + 0.1)
    assert search_peaks(moved).two_theta_deg == pytest.approx(search_peaks(pattern).two_theta_deg + 0.1, abs=2e-4)


def test_few_counts_give_few_lines_and_no_false_ones() -> None:
    lines, heights, pattern = simulated(0, LAB, level=0.3, weak=2, strong=100)
    found = search_peaks(pattern, STATISTICS)
    index, extra = matched(found.two_theta_deg, lines, 0.06)
    assert len(extra) == 0
    assert np.all(index[heights > 20] >= 0)


def test_spikes_are_no_lines() -> None:
    lines, _, pattern = simulated(4, LAB)
    counts = pattern.counts.copy()
    counts[200::400] += 500
    extra = matched(search_peaks(replace(pattern, counts=counts)).two_theta_deg, lines, 0.06)[1]
    assert len(extra) == 0


def test_humps_are_no_lines() -> None:
    x = LAB.points()
    hump = 3000 * np.exp(-0.5 * ((x - 22) / 2.0) ** 2)
    rng = np.random.default_rng(0)
    lines = np.array([15.0, 30.0, 45.0])
    mean = expected(LAB, lines, np.full(3, 2000.0), sloping(LAB)) + hump
    assert search_peaks(counted(rng, LAB, mean)).two_theta_deg == pytest.approx(lines, abs=0.01)


def test_a_line_on_the_edge_is_left_out_and_one_just_inside_is_found() -> None:
    rng = np.random.default_rng(0)
    lines = np.array([LAB.low + 0.005, LAB.low + 1.0, 30.0, LAB.high - 0.25, LAB.high - 0.005])
    mean = expected(LAB, lines, np.full(5, 3000.0), sloping(LAB))
    found = search_peaks(counted(rng, LAB, mean)).two_theta_deg
    assert found == pytest.approx(lines[1:4], abs=0.01)


def test_neighbours_are_taken_apart_and_marked() -> None:
    rng = np.random.default_rng(1)
    lines = np.array([20.0, 30.0, 30.1, 40.0])
    mean = expected(LAB, lines, np.full(4, 5000.0), sloping(LAB))
    found = search_peaks(counted(rng, LAB, mean))
    assert found.two_theta_deg == pytest.approx(lines, abs=0.005)
    assert found.overlapped.tolist() == [False, True, True, False]


def copper(seed: int = 0, *, both: bool = True) -> tuple[np.ndarray, Pattern]:
    instrument = COPPER_LAB if both else replace(COPPER_LAB, doublet=None)
    lines = np.array([12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 60.0, 68.0, 76.0])
    mean = expected(instrument, lines, np.full(9, 4000.0), sloping(instrument))
    return lines, counted(np.random.default_rng(seed), instrument, mean)


def test_a_doublet_is_one_line_at_alpha1_and_the_data_say_whether_there_is_one() -> None:
    lines, pattern = copper()
    found = search_peaks(pattern)
    assert found.doublet is not None
    assert found.two_theta_deg == pytest.approx(lines, abs=0.003)
    lines, single = copper(both=False)
    found = search_peaks(single)
    assert found.doublet is None
    assert found.two_theta_deg == pytest.approx(lines, abs=0.003)


def test_without_stripping_alpha2_is_a_line_of_its_own() -> None:
    lines, pattern = copper()
    plain = search_peaks(pattern, PeakOptions(k_alpha2="no"))
    assert len(plain.two_theta_deg) > len(lines) + 3
    assert plain.doublet is None


def test_the_mean_wavelength_becomes_that_of_alpha1() -> None:
    lines, pattern = copper()
    found = search_peaks(replace(pattern, wavelength_ang=1.5418))
    assert found.wavelength_ang == pytest.approx(COPPER.alpha1_ang, rel=1e-5)
    assert "mean of K-alpha1 and K-alpha2" in found.warnings[-1]
    assert found.two_theta_deg == pytest.approx(lines, abs=0.003)


def test_the_files_word_on_the_doublet_is_taken() -> None:
    lines, pattern = copper()
    assert search_peaks(replace(pattern, monochromatic=True)).doublet is None
    given = Doublet(1.5406, 1.54439, 0.5)
    assert search_peaks(replace(pattern, wavelength_ang=1.5406, doublet=given)).doublet == given
    assert len(lines) == 9


def test_alpha2_obeys_bragg() -> None:
    first = np.array([20.0, 90.0, 140.0])
    second, slope = alpha2_from_alpha1(two_theta_deg=first, doublet=COPPER)
    q2 = bragg.q2_from_two_theta(two_theta_deg=first, wavelength_ang=COPPER.alpha1_ang)
    assert second == pytest.approx(bragg.two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=COPPER.alpha2_ang))
    ahead, _ = alpha2_from_alpha1(two_theta_deg=first + 1e-5, doublet=COPPER)
    assert slope == pytest.approx((ahead - second) / 1e-5, rel=1e-4)


@pytest.mark.parametrize(("wavelength_ang", "tube"), [(1.5406, True), (1.5418, True), (1.54, False), (0.7093, True)])
def test_tubes_are_known_by_their_wavelength(wavelength_ang: float, tube: bool) -> None:
    assert (doublet_of_tube(wavelength_ang) is not None) is tube


def test_intensity_is_the_area() -> None:
    rng = np.random.default_rng(2)
    lines, height = np.array([20.0, 40.0, 60.0]), 20000.0
    found = search_peaks(counted(rng, LAB, expected(LAB, lines, np.full(3, height), sloping(LAB))))
    fwhm = LAB.fwhm + LAB.growth * (lines - LAB.low)
    area = height * fwhm * (0.5 * np.pi / 2 + 0.5 * np.sqrt(np.pi / (4 * np.log(2))))
    assert found.fwhm_deg == pytest.approx(fwhm, rel=0.04)
    assert found.intensity == pytest.approx(area, rel=0.06)
    assert np.all(np.abs(found.intensity - area) < 5 * found.sigma_intensity)


def test_the_background_goes_below_the_lines() -> None:
    found = search_peaks(simulated(5, LAB)[2])
    assert np.median(np.abs(found.background / sloping(LAB) - 1)) < 0.05
    assert found.calculated.shape == found.background.shape == found.pattern.counts.shape


def searched() -> PeakSearch:
    return search_peaks(copper()[1])


def test_the_peak_list_holds_what_bragg_says() -> None:
    found = searched()
    peaks = peak_list_from_search(found)
    expected_q2 = (2 * np.sin(np.radians(found.two_theta_deg / 2)) / COPPER.alpha1_ang) ** 2
    assert peaks.q2_inv_ang2 == pytest.approx(expected_q2)
    assert peaks.sigma_q2_inv_ang2 is not None
    ahead = (2 * np.sin(np.radians((found.two_theta_deg + found.sigma_deg) / 2)) / COPPER.alpha1_ang) ** 2
    assert peaks.sigma_q2_inv_ang2 == pytest.approx(ahead - expected_q2, rel=1e-3)
    assert peaks.wavelength_ang == COPPER.alpha1_ang


def test_a_pattern_over_q_gives_the_same_q2_and_no_wavelength() -> None:
    lines, pattern = copper(both=False)
    q = 2 * np.sin(np.radians(pattern.two_theta_deg / 2)) / COPPER.alpha1_ang
    peaks = peak_list_from_search(search_peaks(make_pattern(q, pattern.counts, axis="q_inv_ang")))
    assert peaks.wavelength_ang is None
    assert np.sqrt(peaks.q2_inv_ang2) == pytest.approx(2 * np.sin(np.radians(lines / 2)) / COPPER.alpha1_ang, rel=2e-4)


def test_misuse_is_said() -> None:
    lines, pattern = copper()
    with pytest.raises(InvalidInput, match="wavelength_ang"):
        peak_list_from_search(search_peaks(replace(pattern, wavelength_ang=None)))
    with pytest.raises(InvalidInput, match="points lie between"):
        search_peaks(pattern, PeakOptions(two_theta_min_deg=200))
    with pytest.raises(InvalidInput, match="min_snr"):
        search_peaks(pattern, PeakOptions(min_snr=0.1))
    assert len(search_peaks(pattern, PeakOptions(max_peaks=3)).two_theta_deg) == 3
    inside = search_peaks(pattern, PeakOptions(two_theta_min_deg=18, two_theta_max_deg=48)).two_theta_deg
    assert inside == pytest.approx(lines[1:5], abs=0.005)
