"""What a model sees of a pattern: free of position, orientation, and size; nothing of what was not measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import j1

from app.aggregates.features import (
    CHANNELS,
    DISTANCE_STEP,
    HALF,
    PROFILES,
    STEP,
    bessel_j1,
    disc_intensity,
    features,
    grid,
    profiles,
    sphere_intensity,
    symmetric,
)
from app.aggregates.setting import Setting
from app.errors import InvalidInput

SPHERE = Setting(particle="sphere", background=0.0, beam_stop_px=0.0)
COUNTS, SEEN, STRUCTURE, AUTOCORRELATION = range(len(CHANNELS))


def spheres(positions_px: list[tuple[float, float]], radius_px: float, photons: float = 1e6) -> np.ndarray:
    """Noise-free pattern of spheres, one alone scattering `photons` into q = 0, straight from the definition."""
    q = (np.arange(64) - 32) / 128
    s = np.hypot(q[:, None], q[None, :]) * radius_px
    waves = sum(np.exp(-2j * np.pi * (q[:, None] * y + q[None, :] * x)) for y, x in positions_px)
    return (photons * sphere_intensity(s) * np.abs(waves) ** 2)[None]


def noisy(rng: np.random.Generator, n: int = 3) -> np.ndarray:
    positions = [(0.0, 0.0), (7.0, 6.0), (-3.0, 9.0)]
    patterns = rng.poisson(np.repeat(spheres(positions, 5.0, 2e3), n, axis=0)).astype(float)
    patterns[:, 0], patterns[:, :, 0] = np.nan, np.nan  # the row and the column that have no mirror image
    return patterns


def turned(patterns: np.ndarray) -> np.ndarray:
    """By 90 degrees around pixel (32, 32)."""
    whole = np.full_like(patterns, np.nan)
    whole[:, 1:, 1:] = np.rot90(patterns[:, 1:, 1:], axes=(1, 2))
    return whole


def mirrored(patterns: np.ndarray) -> np.ndarray:
    whole = np.full_like(patterns, np.nan)
    whole[:, 1:, 1:] = patterns[:, 1:, 1:][:, ::-1]
    return whole


def test_the_bessel_function_is_that_of_scipy() -> None:
    x = np.linspace(0, 30, 301)
    np.testing.assert_allclose(bessel_j1(x), j1(x), atol=1e-13)


@pytest.mark.parametrize(("intensity", "first_zero"), [(disc_intensity, 3.8317), (sphere_intensity, 4.4934)])
def test_form_factors_are_one_at_the_beam_and_vanish_where_the_first_ring_is_dark(
    intensity: Callable[[np.ndarray], np.ndarray], first_zero: float
) -> None:
    s = np.array([0.0, 1e-4, first_zero / (2 * np.pi)])
    np.testing.assert_allclose(intensity(s), [1, 1, 0], atol=1e-6)


def test_a_half_turn_changes_nothing() -> None:
    patterns = noisy(np.random.default_rng(0))
    found, again = features(patterns, None, None, SPHERE), features(turned(turned(patterns)), None, None, SPHERE)
    np.testing.assert_allclose(again.maps, found.maps, atol=2e-6)


@pytest.mark.parametrize(("move", "symmetry"), [(mirrored, 1), (lambda p: mirrored(turned(p)), 2), (turned, 3)])
def test_a_turned_pattern_gives_the_turned_maps_and_the_same_profiles(
    move: Callable[[np.ndarray], np.ndarray], symmetry: int
) -> None:
    patterns = noisy(np.random.default_rng(0))
    found, moved = features(patterns, None, None, SPHERE), features(move(patterns), None, None, SPHERE)
    candidates = (
        [symmetric(found.maps, symmetry ^ k) for k in (0, 1)] if symmetry & 2 else [symmetric(found.maps, symmetry)]
    )
    assert min(float(np.abs(moved.maps - each).max()) for each in candidates) < 2e-6
    np.testing.assert_allclose(moved.profiles, found.profiles, atol=2e-5)
    np.testing.assert_allclose(moved.numbers, found.numbers, atol=1e-6)


def test_the_four_symmetries_are_those_of_a_pattern_and_differ() -> None:
    maps = features(noisy(np.random.default_rng(1)), None, None, SPHERE).maps
    all_four = [symmetric(maps, k) for k in range(4)]
    assert all(np.abs(all_four[i] - all_four[j]).max() > 0.1 for i in range(4) for j in range(i))
    for k in (1, 2):
        np.testing.assert_array_equal(symmetric(symmetric(maps, k), k), maps)


def test_no_pattern_depends_on_the_others_or_their_order() -> None:
    patterns, rng = noisy(np.random.default_rng(2), 6), np.random.default_rng(3)
    settings = [Setting(radius_px=float(r), particle="sphere") for r in rng.uniform(3, 7, 6)]
    together, order = features(patterns, None, None, settings), rng.permutation(6)
    shuffled = features(patterns[order], None, None, [settings[i] for i in order])
    np.testing.assert_allclose(shuffled.maps, together.maps[order], atol=2e-6)
    for i in range(6):
        alone = features(patterns[i : i + 1], None, None, settings[i])
        np.testing.assert_allclose(alone.maps[0], together.maps[i], atol=2e-6)
        np.testing.assert_allclose(alone.profiles[0], together.profiles[i], rtol=1e-4, atol=2e-5)


def test_what_the_mask_hides_may_hold_anything() -> None:
    patterns, rng = np.nan_to_num(noisy(np.random.default_rng(4))), np.random.default_rng(5)
    mask = rng.random((64, 64)) > 0.1
    soiled = np.where(mask, patterns, rng.choice([np.nan, np.inf, -5.0, 1e9], (64, 64)))
    found, again = features(patterns, mask, None, SPHERE), features(soiled, mask, None, SPHERE)
    np.testing.assert_array_equal(again.maps, found.maps)


def test_what_lies_behind_the_declared_beam_stop_is_not_seen() -> None:
    patterns = np.nan_to_num(noisy(np.random.default_rng(6)))
    setting, soiled = Setting(particle="sphere", beam_stop_px=5.0), patterns.copy()
    soiled[:, 28:37, 32] = 1e6
    np.testing.assert_array_equal(
        features(soiled, None, None, setting).maps, features(patterns, None, None, setting).maps
    )


@pytest.mark.parametrize("radius_px", [3.0, 5.0, 6.7])
def test_one_sphere_has_a_structure_factor_of_one_whatever_its_size_and_light(radius_px: float) -> None:
    for photons in (1e5, 1e7):
        setting = Setting(radius_px, 0.0, "sphere", None, 0.0)
        found = features(spheres([(0, 0)], radius_px, photons), None, None, setting)
        bright = (grid() < 0.55) & (grid() > 0.05)
        np.testing.assert_allclose(found.maps[0, ..., STRUCTURE][bright], 1.0, atol=0.12)


@pytest.mark.parametrize("centre_px", [(32.0, 32.0), (30.0, 33.0), (31.4, 32.7)])
def test_a_flat_pattern_stays_flat_on_any_grid(centre_px: tuple[float, float]) -> None:
    for radius_px in (3.0, 5.0, 7.0):
        setting = Setting(radius_px, 0.0, "disc", None, 0.0)
        found = features(np.full((1, 64, 64), 6.0), None, np.array([centre_px]), setting)
        seen = found.maps[0, ..., SEEN] > 0.1
        np.testing.assert_allclose(found.maps[0, ..., COUNTS][seen], np.log(7.0) / 5, atol=1e-5)


def test_a_declared_beam_centre_undoes_its_shift() -> None:
    whole = spheres([(0, 0), (6, 8)], 5.0)
    shifted = np.roll(whole, (2, -3), axis=(1, 2))
    mask = np.zeros((64, 64), bool)
    mask[8:57, 8:57] = True
    found = features(whole, mask, None, SPHERE)
    again = features(shifted, np.roll(mask, (2, -3), axis=(0, 1)), np.array([[34.0, 29.0]]), SPHERE)
    np.testing.assert_allclose(again.maps, found.maps, atol=1e-5)


@pytest.mark.parametrize(("n", "places"), [(2, [(0, 0), (0, 10)]), (3, [(0, 0), (0, 10), (14, 3)])])
def test_each_pair_of_spheres_is_a_spot_of_one_over_n_in_the_autocorrelation(n: int, places: list) -> None:
    found = features(spheres(places, 5.0), None, None, SPHERE).maps[0, ..., AUTOCORRELATION]
    assert found[HALF, 0] == pytest.approx(1.0, abs=1e-5)
    step_px = DISTANCE_STEP * 5.0
    column = round(10 / step_px)
    spot = found[HALF - 1 : HALF + 2, column - 1 : column + 2].max()
    assert spot == pytest.approx(1 / n, abs=0.08)


def test_the_axes_are_those_of_the_particle_not_of_the_detector() -> None:
    """Twice the size at half the scale of q is the same picture, but for the detector's edge and pixels."""
    small = features(spheres([(0, 0), (0, 7)], 3.5), None, None, Setting(3.5, 0.0, "sphere", None, 0.0)).maps[0]
    large = features(spheres([(0, 0), (0, 14)], 7.0), None, None, Setting(7.0, 0.0, "sphere", None, 0.0)).maps[0]
    inside = (grid() < 0.6) & (grid() > STEP)
    np.testing.assert_allclose(small[..., STRUCTURE][inside], large[..., STRUCTURE][inside], atol=0.15)


def test_an_empty_batch_and_an_empty_picture_are_answered() -> None:
    assert features(np.zeros((0, 64, 64)), None, None, Setting()).profiles.shape == (0, PROFILES)
    found = features(np.zeros((1, 64, 64)), None, None, Setting())
    assert np.isfinite(found.maps).all()
    assert np.isfinite(found.numbers).all()
    assert np.isfinite(profiles(found.maps)).all()


def test_nothing_measured_gives_finite_numbers() -> None:
    found = features(np.ones((1, 64, 64)), np.zeros((64, 64), bool), None, Setting())
    assert all(np.isfinite(each).all() for each in (found.maps, found.numbers, found.profiles))


def test_patterns_of_another_shape_and_too_few_settings_are_refused() -> None:
    with pytest.raises(InvalidInput, match="64, 64"):
        features(np.zeros((1, 32, 32)), None, None, Setting())
    with pytest.raises(InvalidInput, match="2 settings do not fit 1"):
        features(np.zeros((1, 64, 64)), None, None, [Setting()] * 2)
