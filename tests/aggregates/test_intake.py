"""Any detector's image reaches the grid with its photons, its mask and its beam."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.aggregates.centre import centres, self_likeness
from app.aggregates.intake import asymmetry, measures, photons, prepare, shadows
from app.aggregates.measurement import Measurement, binning_for, radius_in_image_px, wavelength_ang
from app.aggregates.setting import DETECTOR_PX
from app.errors import InvalidInput
from training.aggregates.detector import Detector
from training.aggregates.simulate import Simulation, simulate

DECLARED = Measurement(radius_px=5.0, beam_stop_px=3.0)
GRID = np.arange(DETECTOR_PX)
RNG = np.random.default_rng(3)
COUNTS = RNG.poisson(2.0, (4, 64, 64)).astype(np.uint16)


def codes(prepared: Any, number: int = 0) -> set[str]:
    return {note.code for note in prepared.notes[number]}


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_an_image_of_the_grids_size_passes_as_it_is() -> None:
    found = prepare(COUNTS, None, np.array([32.0, 32.0]), DECLARED)
    assert np.array_equal(found.patterns, COUNTS)
    assert found.mask.all()
    assert np.array_equal(found.centre_px, np.full((4, 2), 32.0))
    assert found.binning == 1
    assert found.settings[0].radius_px == 5.0
    assert codes(found) == set()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_binning_keeps_the_photons(binning: int, row: int, column: int, seed: int) -> None:
    image = np.random.default_rng(seed).poisson(1.0, (1, 64 * binning + row, 64 * binning + column)).astype(np.uint16)
    beam = np.array([32 * binning + (binning - 1) / 2] * 2)
    found = prepare(image, None, beam, replace(DECLARED, binning=binning))
    whole = image[0, : 64 * binning, : 64 * binning]
    assert found.patterns.sum() == whole.sum()
    assert found.patterns[0, 5, 7] == whole[5 * binning : 6 * binning, 7 * binning : 8 * binning].sum()
    assert np.array_equal(found.centre_px, [[32.0, 32.0]])


@pytest.mark.parametrize("beam", [(70.0, 61.0), (0.0, 0.0), (99.4, 119.4), (32.4, 100.6)])
def test_the_beam_lands_in_the_middle_of_the_grid(beam: tuple[float, float]) -> None:
    image = np.zeros((1, 100, 120), np.float32)
    image[0, round(beam[0]), round(beam[1])] = 9.0
    found = prepare(image, None, np.array(beam), DECLARED)
    assert found.patterns[0, 32, 32] == 9.0
    assert found.centre_px[0] == pytest.approx(32.0 + np.array(beam) - np.rint(beam))
    beyond = ~found.mask[0]
    assert beyond.any() == ("padded" in codes(found))
    assert not beyond[32, 32]


def test_blocks_that_measure_in_part_are_scaled_and_those_that_hardly_do_are_masked() -> None:
    image = np.full((1, 128, 128), 3, np.uint16)
    good = np.ones((128, 128), bool)
    good[0, 0] = False  # a quarter of the first block
    good[0:2, 2] = good[1, 3] = False  # three quarters of the second
    found = prepare(image, good, np.array([64.5, 64.5]), replace(DECLARED, binning=2))
    assert found.patterns[0, 0, 0] == 12.0
    assert not found.mask[0, 0, 1]
    assert found.patterns[0, 0, 1] == 0.0
    assert found.mask.sum() == 64 * 64 - 1


def test_lengths_follow_the_binning() -> None:
    declared = Measurement(radius_px=1.25, beam_stop_px=8.0, full_well=1000.0, background=0.1)
    found = prepare(np.ones((1, 256, 256), np.uint16), None, np.array([129.5, 129.5]), declared)
    (setting,) = found.settings
    assert found.binning == 4
    assert (setting.radius_px, setting.beam_stop_px) == (5.0, 2.0)
    assert (setting.full_well, setting.background) == pytest.approx((16_000.0, 1.6))
    assert "binned" in codes(found)


@pytest.mark.parametrize(
    ("radius", "rows", "expected"),
    [(5.0, 64, 1), (2.5, 64, 1), (2.5, 128, 2), (0.3, 1024, 16), (1.7, 1024, 3), (9.0, 1024, 1), (0.001, 640, 10)],
)
def test_the_binning_that_is_chosen(radius: float, rows: int, expected: int) -> None:
    assert binning_for(radius, rows, rows) == expected


def test_a_batch_is_its_members() -> None:
    pattern = simulate(Simulation(detector=Detector(jitter_px=2.0)), 6, np.random.default_rng(4))
    declared = Measurement(radius_px=5.0)
    whole = prepare(pattern.counts, pattern.mask, None, declared)
    for number in range(6):
        one = slice(number, number + 1)
        alone = prepare(pattern.counts[one], pattern.mask[one], None, declared)
        assert np.array_equal(alone.patterns, whole.patterns[one])
        assert np.array_equal(alone.mask, whole.mask[one])
        assert alone.centre_px == pytest.approx(whole.centre_px[one])
        assert alone.settings == whole.settings[one]
        assert [note.code for note in alone.notes[0]] == [note.code for note in whole.notes[number]]


# --- photons ----------------------------------------------------------------------------------------------------------


def test_values_that_are_no_measurement() -> None:
    marked = {
        "u2": [65_535],
        "u4": [65_535, 2**32 - 1],
        "i2": [-1, -(2**15)],
        "i4": [-1, -2, 2**31 - 1],
        "f2": [np.nan, np.inf, -1.0],
        "f4": [np.nan, np.inf, -np.inf, -1.0, 65_535.0, 2.0**32],
        "f8": [np.nan, -1e300, 2.0**32 - 1],
    }
    for dtype, values in marked.items():
        image = np.ones(8, dtype)
        image[: len(values)] = values
        expected = np.arange(8) >= len(values)
        assert np.array_equal(measures(image, None), expected), dtype


def test_detector_units_become_whole_photons() -> None:
    rng = np.random.default_rng(8)
    true = rng.poisson(2.0, (1, 64, 64))
    adu = (31.5 * true + rng.normal(0.0, 2.0, true.shape)).astype(np.float32)
    counts, seen = photons(adu, np.ones(adu.shape, bool), 31.5)
    assert seen.all()
    assert np.array_equal(counts, true)
    assert "not-counts" in codes(prepare(adu, None, np.array([32.0, 32.0]), DECLARED))
    assert "not-counts" not in codes(prepare(adu, None, np.array([32.0, 32.0]), replace(DECLARED, adu_per_photon=31.5)))


def test_every_type_of_number_gives_the_same_grid() -> None:
    whole = [prepare(COUNTS.astype(t), None, np.array([32.0, 32.0]), DECLARED) for t in ("u2", "u4", "i4", "f4", "f8")]
    assert all(np.array_equal(one.patterns, whole[0].patterns) for one in whole)


# --- the beam ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particle", ["disc", "sphere"])
def test_the_beam_is_found_in_simulated_patterns(particle: Any) -> None:
    detector = Detector(jitter_px=3.0, gap_rows=((20, 2),), bad_fraction=0.01)
    found = simulate(Simulation(particle=particle, detector=detector), 60, np.random.default_rng(5))
    beam, likeness = centres(found.counts, found.mask)
    assert np.abs(beam - found.centre_px).max() < 0.5
    assert likeness.min() > 0.8


def test_the_beam_is_found_on_a_large_detector() -> None:
    small = simulate(Simulation(), 4, np.random.default_rng(6))
    large = np.zeros((4, 600, 500), np.float32)
    large[:, 100:420, 120:440] = np.repeat(np.repeat(small.counts, 5, axis=1), 5, axis=2) / 25.0
    mask = np.zeros(large.shape, bool)
    mask[:, 100:420, 120:440] = np.repeat(np.repeat(small.mask, 5, axis=1), 5, axis=2)
    beam, _ = centres(large, mask)
    expected = np.array([100, 120]) + 5 * small.centre_px + 2.0
    assert np.abs(beam - expected).max() < 2.5, "half a pixel of the grid"


def test_the_likeness_is_a_correlation_coefficient() -> None:
    rng = np.random.default_rng(2)
    image, seen = rng.random((12, 14)), (rng.random((12, 14)) > 0.2).astype(float)
    found = self_likeness(image[None], seen[None])[0]
    for row, column in ((11, 13), (8, 15), (14, 10)):
        pairs = [
            (image[r, c], image[row - r, column - c])
            for r in range(12)
            for c in range(14)
            if 0 <= row - r < 12 and 0 <= column - c < 14 and seen[r, c] and seen[row - r, column - c]
        ]
        assert found[row, column] == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])


def test_nothing_to_find_gives_the_middle_and_says_so() -> None:
    found = prepare(np.zeros((1, 64, 64), np.uint8), None, None, Measurement(radius_px=5.0))
    assert found.beam_px[0] == pytest.approx([31.5, 31.5])
    assert {"centre-estimated", "few-photons", "beam-stop-estimated"} <= codes(found)


def test_mates_of_a_symmetric_pattern_differ_by_counting_alone() -> None:
    found = simulate(Simulation(detector=Detector(background=0.0)), 20, np.random.default_rng(9))
    even = asymmetry(found.counts, found.mask, found.centre_px)
    odd = asymmetry(found.counts, found.mask, found.centre_px + 4.0)
    assert even.max() < 0.05
    assert odd.min() > 0.3


def test_the_beam_stop_is_seen_in_mask_or_pattern() -> None:
    found = simulate(Simulation(detector=Detector(beam_stop_px=(1.5, 6.0))), 30, np.random.default_rng(10))
    for mask in (found.mask, np.ones_like(found.mask)):
        seen = shadows(found.counts, mask, found.centre_px)
        assert np.abs(seen - found.beam_stop_px).max() <= 1.0
    open_beam = simulate(Simulation(detector=Detector(beam_stop_px=(0.0, 0.0))), 10, np.random.default_rng(11))
    assert (shadows(open_beam.counts, np.ones_like(open_beam.mask), open_beam.centre_px) == 0.0).all()


# --- geometry ---------------------------------------------------------------------------------------------------------

GEOMETRY = Measurement(particle_radius_nm=35.0, wavelength_ang=10.332, detector_distance_mm=738.0, pixel_um=75.0)


def test_the_geometry_gives_the_ring_where_the_airy_pattern_has_it() -> None:
    radius_px = radius_in_image_px(GEOMETRY)
    first_dark = 1.21967 / (2 * 35e-9)  # sin(theta)/wavelength of Airy's first dark ring, for the diameter
    ring_px = 10.332e-10 * first_dark * 0.738 / 75e-6
    assert 0.609835 * DETECTOR_PX * 2 / radius_px == pytest.approx(ring_px, rel=1e-5)


def test_photon_energy_or_wavelength() -> None:
    by_energy = replace(GEOMETRY, wavelength_ang=None, photon_energy_ev=1200.0)
    assert wavelength_ang(by_energy) == pytest.approx(10.332, abs=1e-3)
    assert radius_in_image_px(by_energy) == pytest.approx(radius_in_image_px(GEOMETRY), rel=1e-4)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (Measurement(), "give radius_px, or"),
        (replace(GEOMETRY, pixel_um=None), "missing are pixel_um"),
        (replace(GEOMETRY, radius_px=5.0), "radius_px, or particle_radius_nm"),
        (replace(GEOMETRY, photon_energy_ev=1200.0), "not both"),
    ],
)
def test_a_size_that_is_not_known(declared: Measurement, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        radius_in_image_px(declared)


@pytest.mark.parametrize(
    ("mask", "centre", "words"),
    [
        (np.ones((64, 63), bool), None, "mask has the shape"),
        (np.ones((3, 64, 64), bool), None, "mask has the shape"),
        (np.zeros((64, 64), bool), (32.0, 32.0), "mask_marks"),
        (None, (64.0, 32.0), "outside of the image"),
        (None, (np.nan, 32.0), "outside of the image"),
        (None, (32.0, 32.0, 32.0), "expected .row, column."),
    ],
)
def test_what_does_not_fit_is_told(mask: Any, centre: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        prepare(COUNTS, mask, None if centre is None else np.array(centre), DECLARED)


def test_warnings() -> None:
    image = np.full((1, 64, 64), 200, np.uint8)
    image[:, :30] = 255
    image[:, 40:, :20] = 0
    good = np.ones((64, 64), bool)
    good[:, 40:] = False
    found = prepare(image, good, np.array([32.0, 28.0]), replace(DECLARED, pixel_um=500.0, detector_distance_mm=50.0))
    assert {"saturated", "masked", "padded", "wide-angle"} <= codes(found)
    lopsided = np.zeros((1, 64, 64), np.uint16)
    lopsided[0, :20] = 100
    assert "asymmetric" in codes(prepare(lopsided, None, np.array([32.0, 32.0]), DECLARED))
