from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from app.errors import InvalidInput
from training.aggregates import discs
from training.aggregates.detector import Detector, read_out
from training.aggregates.place import Growth
from training.aggregates.settings import REFERENCE, SHIFTS, SIMULATIONS, SPHERES, TANGENT
from training.aggregates.simulate import (
    Patterns,
    Simulation,
    batches,
    drawn,
    expected_counts,
    hidden_share,
    objects,
    simulate,
)

DARK = Detector(background=0.0, full_well_photons=np.inf, beam_stop_px=(-1.0, -1.0))


def _some(settings: Simulation, n: int = 25, seed: int = 1) -> Patterns:
    return simulate(settings, n, np.random.default_rng(seed))


def _padded_intensity(images: np.ndarray) -> np.ndarray:
    """|FFT|^2/128^2 of images padded to 128 x 128, direct beam at (64, 64)."""
    spectrum = np.fft.fftshift(np.fft.fft2(images, s=(128, 128)), axes=(1, 2))
    return np.abs(spectrum) ** 2 / 128**2


@pytest.mark.parametrize("name", SIMULATIONS)
def test_every_named_simulation_gives_each_number_equally_often(name: str) -> None:
    patterns = _some(SIMULATIONS[name], 10)
    assert sorted(patterns.number) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert patterns.counts.shape == patterns.mask.shape == (10, 64, 64)
    assert patterns.counts.dtype == np.float32
    assert np.all(np.isfinite(patterns.counts))
    assert np.all(patterns.counts == np.round(patterns.counts))


@pytest.mark.parametrize("settings", [REFERENCE, SPHERES, SHIFTS["size-spread-15"]])
def test_the_particles_of_one_aggregate_form_one_connected_component(settings: Simulation) -> None:
    for image in objects(_some(settings, 50)):
        _, components = ndimage.label(image > 0, structure=np.ones((3, 3)))
        assert components == 1


def test_tangent_discs_cover_their_number_times_the_area_of_one() -> None:
    patterns = _some(replace(REFERENCE, growth=TANGENT))
    area = objects(patterns).sum(axis=(1, 2)) / (np.pi * 25)
    assert area == pytest.approx(patterns.number, rel=0.01)
    assert np.all(patterns.overlap == 0)


def test_the_hidden_share_of_two_discs_is_that_of_their_lens() -> None:
    apart = np.linspace(5.0, 10.0, 11)
    centres = np.stack([np.full((11, 2), 30.0), np.stack([30 + apart, np.full(11, 30.0)], axis=1)], axis=1)
    lens = 2 * 25 * np.arccos(apart / 10) - apart / 2 * np.sqrt(100 - apart**2)
    share = hidden_share(centres, np.full((11, 2), 5.0), np.full(11, 2))
    assert share == pytest.approx(lens / (2 * np.pi * 25), abs=0.006)


@pytest.mark.parametrize("jitter", [0.0, 0.7])
def test_patterns_of_discs_are_the_padded_transform_of_the_object(jitter: float) -> None:
    patterns = _some(replace(REFERENCE, detector=Detector(jitter_px=jitter)))
    ramp = np.arange(64) / 128
    row, col = (patterns.centre_px[:, axis, None] - 32 for axis in (0, 1))
    turned = (
        objects(patterns) * np.exp(2j * np.pi * (row * ramp)[:, :, None]) * np.exp(2j * np.pi * (col * ramp))[:, None]
    )
    whole = _padded_intensity(turned)[:, 32:96, 32:96]
    share = expected_counts(patterns) / patterns.photons[:, None, None] * discs.self_energy(np.array(5.0))
    assert np.allclose(share, whole, atol=1e-5 * whole.max(), rtol=1e-4)


def test_one_particle_scatters_its_photons_and_tangent_ones_theirs() -> None:
    """Parseval: summed over the whole padded grid."""
    patterns = _some(replace(REFERENCE, growth=TANGENT))
    total = _padded_intensity(objects(patterns)).sum(axis=(1, 2)) / discs.self_energy(np.array(5.0))
    assert total == pytest.approx(patterns.number, rel=0.01)


@pytest.mark.parametrize("settings", [REFERENCE, SPHERES])
def test_the_detector_sees_most_of_the_photons_and_never_more(settings: Simulation) -> None:
    patterns = _some(replace(settings, growth=TANGENT))
    seen = expected_counts(patterns).sum(axis=(1, 2), dtype=float) / patterns.photons
    assert np.all(seen > 0.8 * patterns.number)
    fewest = patterns.number if settings.particle == "disc" else patterns.number**2
    assert np.all(seen < 1.01 * fewest)


@pytest.mark.parametrize("settings", [REFERENCE, SPHERES])
def test_expected_patterns_are_friedel_symmetric(settings: Simulation) -> None:
    expected = expected_counts(_some(settings))[:, 1:, 1:]
    assert np.allclose(expected, expected[:, ::-1, ::-1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", [REFERENCE, SPHERES])
@pytest.mark.parametrize("shift", [(2, -3), (0.0, 0.37)])
def test_a_pattern_does_not_change_when_the_aggregate_moves(settings: Simulation, shift: tuple[float, float]) -> None:
    patterns = _some(replace(settings, radius_px=(4.0, 4.0)))
    moved = replace(patterns, positions_px=patterns.positions_px + np.array([*shift, 0.0]))
    whole = settings.particle == "sphere" or shift[1] == int(shift[1])
    before, after = expected_counts(patterns), expected_counts(moved)
    assert np.allclose(before, after, rtol=1e-3, atol=(1e-5 if whole else 0.02) * before.max())


def test_the_pattern_moves_with_the_direct_beam() -> None:
    patterns = _some(REFERENCE)
    moved = expected_counts(replace(patterns, centre_px=patterns.centre_px + np.array([3, -2])))
    still = expected_counts(patterns)
    assert np.allclose(moved[:, 3:, :-2], still[:, :-3, 2:], rtol=1e-3, atol=1e-5 * still.max())


def test_the_autocorrelation_of_a_tangent_pair_peaks_at_two_radii() -> None:
    positions = np.full((1, 5, 3), np.nan)
    positions[0, :2] = [[32, 25, 0], [32, 35, 0]]
    one = simulate(SPHERES, 1, np.random.default_rng(0), numbers=np.array([2]))
    expected = expected_counts(replace(one, positions_px=positions))[0]
    autocorrelation = np.fft.fftshift(np.abs(np.fft.ifft2(np.fft.ifftshift(expected))))
    beyond = autocorrelation[32, 32 + 3 :]
    assert 2 * (3 + int(np.argmax(beyond))) == 10


def test_counts_are_poisson_around_expectation_and_background() -> None:
    detector = replace(DARK, background=2.0)
    settings = replace(REFERENCE, photons=(3e4, 3e4), detector=detector)
    one = simulate(settings, 1, np.random.default_rng(3), numbers=np.array([3]))
    mean = expected_counts(one)[0] + 2.0
    again = np.repeat(mean[None] - 2.0, 400, axis=0)
    counts = read_out(again, np.ones(again.shape, bool), detector, np.random.default_rng(8))
    chi2 = np.sum((counts.sum(axis=0) - 400 * mean) ** 2 / (400 * mean))
    assert stats.chi2(mean.size).sf(chi2) > 1e-3
    assert np.mean(counts.var(axis=0) / mean) == pytest.approx(1.0, abs=0.01)


def test_brighter_than_the_full_well_reads_the_full_well() -> None:
    settings = replace(REFERENCE, detector=Detector(full_well_photons=500.0))
    counts = _some(settings).counts
    assert counts.max() == 500
    assert np.all(counts.max(axis=(1, 2)) <= 500)


def test_beam_stop_gaps_and_bad_pixels_read_nothing_and_are_masked() -> None:
    detector = Detector(
        background=50.0, beam_stop_px=(3.0, 8.0), gap_rows=((40, 2),), gap_columns=((5, 1),), bad_fraction=0.02
    )
    patterns = _some(replace(REFERENCE, detector=detector), 40)
    rows, cols = np.indices((64, 64)) - 32
    behind = np.hypot(rows, cols) <= patterns.beam_stop_px[:, None, None]
    assert not patterns.mask[behind].any()
    assert not patterns.mask[:, 40:42].any()
    assert not patterns.mask[:, :, 5].any()
    assert np.all(patterns.counts[~patterns.mask] == 0)
    assert np.all(patterns.counts[patterns.mask] > 0)
    assert np.unique(patterns.beam_stop_px).size == 40
    rest = np.ones((64, 64), bool)
    rest[40:42] = rest[:, 5] = rest[20:45, 20:45] = False
    assert patterns.mask[0][rest].mean() == pytest.approx(0.98, abs=0.01)


def test_fluence_is_even_in_its_logarithm() -> None:
    photons = _some(REFERENCE, 400).photons
    even = stats.uniform(np.log(1e5), np.log(30))
    assert stats.kstest(np.log(photons), even.cdf).pvalue > 1e-3


def test_radii_spread_as_asked() -> None:
    patterns = _some(replace(REFERENCE, radius_px=(4.0, 6.0), size_spread=0.1), 500)
    assert np.std(patterns.radii_px / patterns.radius_px[:, None]) == pytest.approx(0.1, rel=0.05)
    assert np.abs(patterns.radii_px / patterns.radius_px[:, None] - 1).max() <= 0.3


@pytest.mark.parametrize("size", [1, 77, 1000])
def test_a_seed_names_a_set_whatever_its_batches(size: int) -> None:
    settings = replace(REFERENCE, radius_px=(3.0, 5.0))
    whole = drawn(settings, 270, 9)
    parts = list(batches(settings, 270, 9, size=size))
    assert all(len(part) == size for part in parts[:-1])
    assert np.array_equal(np.concatenate([part.counts for part in parts]), whole.counts)
    assert np.array_equal(drawn(settings, 20, 9).counts, whole.counts[:20])


def test_other_seeds_name_other_sets() -> None:
    assert not np.array_equal(drawn(REFERENCE, 10, 1).photons, drawn(REFERENCE, 10, 2).photons)


def test_nothing_asked_for_is_nothing_drawn() -> None:
    assert list(batches(REFERENCE, 0, 1)) == []


@pytest.mark.parametrize("numbers", [[0, 1], [5, 6], [1, 2, 3]])
def test_numbers_beyond_one_to_five_are_refused(numbers: list[int]) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 5"):
        simulate(REFERENCE, 2, np.random.default_rng(0), numbers=np.array(numbers))


def test_a_radius_above_a_quarter_of_the_object_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at most a quarter"):
        _some(replace(REFERENCE, radius_px=(17.0, 17.0)))


def test_overlapping_discs_at_a_given_least_distance() -> None:
    patterns = _some(replace(REFERENCE, growth=Growth(1.6)), 50)
    assert 0 < patterns.overlap.mean() < _some(REFERENCE, 50).overlap.mean()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Simulation, {"radius_px": (6.0, 5.0)}),
        (Simulation, {"photons": (0.0, 1e5)}),
        (Simulation, {"size_spread": 0.4}),
        (Growth, {"least_distance": 2.1}),
        (Detector, {"background": -0.1}),
        (Detector, {"full_well_photons": 0.0}),
        (Detector, {"beam_stop_px": (3.0, 2.0)}),
        (Detector, {"jitter_px": -1.0}),
        (Detector, {"bad_fraction": 1.0}),
        (Detector, {"gap_rows": ((64, 1),)}),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: type, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        kind(**wrong)
