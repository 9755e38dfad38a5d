import numpy as np
import pytest
from scipy import integrate, special

from training.aggregates import spheres

BEAM = np.array([[32.0, 32.0]])


def _intensity(centres: list[list[float]], radius: float) -> np.ndarray:
    positions = np.array([centres])
    return spheres.intensity(positions, np.full((1, len(centres)), radius), np.array([len(centres)]), BEAM)[0]


@pytest.mark.parametrize("qr", [0.0, 0.05, 0.1999, 0.2001, 1.0, 4.4934, 12.0])
def test_the_form_factor_is_the_transform_of_a_ball(qr: float) -> None:
    """3 times the integral of x^2 sin(q r x)/(q r x) over 0 to 1; also 3 j_1(x)/x."""
    integral, _ = integrate.quad(lambda x: 3 * x**2 * np.sinc(qr * x / np.pi), 0, 1)
    assert spheres.form_factor(np.array(qr)) == pytest.approx(integral, abs=1e-8)
    if qr:
        assert spheres.form_factor(np.array(qr)) == pytest.approx(3 * special.spherical_jn(1, qr) / qr, abs=1e-8)


def test_single_precision_holds_where_the_series_takes_over() -> None:
    qr = np.linspace(0.0, 20, 4001)
    single = spheres.form_factor(qr.astype(np.float32))
    assert np.allclose(single, spheres.form_factor(qr), atol=1e-4)


def test_intensity_matches_the_transform_of_the_projected_thickness() -> None:
    centres = [[30.2, 28.9, 0.0], [30.2, 44.9, 0.0], [38.0, 34.0, 13.0]]
    radius, fine = 8.0, 8
    grid = (np.arange(64 * fine) + 0.5) / fine - 0.5
    image = np.zeros((64 * fine, 64 * fine))
    for row, col, _ in centres:
        squared = (grid[:, None] - row) ** 2 + (grid[None, :] - col) ** 2
        image += 2 * np.sqrt(np.maximum(radius**2 - squared, 0))
    spectrum = np.fft.fftshift(np.fft.fft2(image / fine**2, s=(128 * fine, 128 * fine)))
    middle = 64 * fine
    brute = np.abs(spectrum[middle - 32 : middle + 32, middle - 32 : middle + 32]) ** 2 / 128**2
    assert np.allclose(_intensity(centres, radius), brute, rtol=2e-3, atol=2e-5 * brute.max())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_forward_scattering_grows_with_the_square_of_the_number(n: int) -> None:
    centres = [[32.0, 32.0 + 8 * k, 0.0] for k in range(n)]
    alone = _intensity([[20.0, 20.0, 0.0]], 4.0)[32, 32]
    assert _intensity(centres, 4.0)[32, 32] == pytest.approx(n**2 * alone, rel=1e-5)


def test_depth_does_not_matter_at_small_angles() -> None:
    flat = _intensity([[30.0, 30.0, 0.0], [30.0, 36.0, 0.0]], 4.0)
    deep = _intensity([[30.0, 30.0, 0.0], [30.0, 36.0, 5.3]], 4.0)
    assert np.array_equal(flat, deep)


def test_a_pair_gives_fringes_of_its_separation() -> None:
    """I = 2 I_1 (1 + cos q d)."""
    pair = _intensity([[32.0, 26.0, 0.0], [32.0, 38.0, 0.0]], 5.0)
    alone = _intensity([[32.0, 32.0, 0.0]], 5.0)
    q = 2 * np.pi / 128 * (np.arange(64) - 32)
    assert np.allclose(pair, 2 * alone * (1 + np.cos(12 * q)), atol=1e-5 * pair.max())


def test_one_sphere_scatters_its_squared_thickness() -> None:
    """Parseval, over a pattern wide enough for a sphere of 8 px: 2 pi r^4 within 2%."""
    total = _intensity([[32.0, 32.0, 0.0]], 8.0).sum(dtype=float)
    assert total == pytest.approx(spheres.self_energy(np.array(8.0)), rel=0.02)
