"""Facts of the inverse-variance mean."""

from __future__ import annotations

import numpy as np
import pytest

from app.polarization.ensemble import inverse_variance_mean


def test_equal_members_are_averaged_and_sigma_falls_with_the_square_root() -> None:
    curve = inverse_variance_mean(np.array([[0.5], [0.7]]), np.array([[0.02], [0.02]]))
    assert curve.mean == pytest.approx([0.6])
    assert curve.sigma == pytest.approx([0.02 / np.sqrt(2)])


def test_one_member_is_itself() -> None:
    curve = inverse_variance_mean(np.array([[0.5, 0.4]]), np.array([[0.02, 0.03]]))
    assert curve.mean.tolist() == [0.5, 0.4]
    assert curve.sigma == pytest.approx([0.02, 0.03])


def test_the_order_of_the_members_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    means, sigmas = rng.uniform(0, 1, (4, 6)), rng.uniform(0.01, 0.1, (4, 6))
    a, b = inverse_variance_mean(means, sigmas), inverse_variance_mean(means[::-1], sigmas[::-1])
    assert a.mean == pytest.approx(b.mean)
    assert a.sigma == pytest.approx(b.sigma)
