"""The numbers that describe lines for scoring assignments: free of scale, exact relations told from near ones."""

from __future__ import annotations

import numpy as np

from app.crystallography.bragg import dq2_d_two_theta
from app.indexing.learned import template_features as features_of
from app.indexing.learned.template_features import N_FEATURES, N_LINES, template_features

RNG = np.random.default_rng(3)


def _lines(q2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return q2, dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=1.5406)


def _random(count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return _lines(np.sort(RNG.uniform(0.01, 0.4, (count, N_LINES)), axis=1))


def _sums(q2: np.ndarray) -> dict[tuple[int, int, int], float]:
    """The features that answer q^2[i] + q^2[j] = q^2[k]."""
    found = template_features(*(values[None] for values in _lines(q2)))[0, 3 * N_LINES :]
    return dict(zip(zip(*(one.tolist() for one in features_of._SUMS), strict=True), found, strict=False))


def test_a_pattern_of_another_scale_is_the_same_pattern() -> None:
    q2, per_degree = _random()
    np.testing.assert_allclose(
        template_features(3.7 * q2, 3.7 * per_degree), template_features(q2, per_degree), rtol=1e-4, atol=1e-5
    )


def test_each_pattern_is_described_by_itself() -> None:
    q2, per_degree = _random()
    together = template_features(q2, per_degree)
    assert together.shape == (5, N_FEATURES)
    np.testing.assert_array_equal(template_features(q2[3:4], per_degree[3:4])[0], together[3])


def test_a_right_angle_shows_as_a_sum() -> None:
    # (100), (010), (110), (200) of a plane with a right angle, among lines that belong to nothing.
    a, b = 0.0211, 0.0334
    q2 = np.sort([a, b, a + b, 4 * a, 0.0712, 0.0913, 0.1007, 0.1203])
    first, second, third = np.searchsorted(q2, [a, b, a + b])
    found = _sums(q2)
    assert found[first, second, third] > 0.999
    others = [value for (i, j, k), value in found.items() if i == first and j == second and k != third]
    assert max(others) < 0.1


def test_a_line_that_is_not_there_meets_no_relation() -> None:
    q2, per_degree = (values[:, :7] for values in _random())
    found = template_features(q2, per_degree)
    assert np.isfinite(found).all()
    assert found.shape == (5, N_FEATURES)
    assert not found[:, 7:N_LINES].any()
    padded = [np.pad(values, ((0, 0), (0, 30)), constant_values=np.nan) for values in (q2, per_degree)]
    np.testing.assert_array_equal(template_features(*padded), found)


def test_lines_beyond_the_last_are_not_looked_at() -> None:
    q2, per_degree = _random()
    more = [np.hstack((values, values[:, -1:] * 1.1)) for values in (q2, per_degree)]
    np.testing.assert_array_equal(template_features(*more), template_features(q2, per_degree))
