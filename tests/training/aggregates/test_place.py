import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidInput
from training.aggregates.place import Growth, place

RADIUS = 5.0


def _distances(centres: np.ndarray) -> np.ndarray:
    """Distance of every pair of one aggregate, upper triangle; centres without NaN."""
    first, second = np.triu_indices(len(centres), 1)
    return np.linalg.norm(centres[first] - centres[second], axis=1)


def _placed(growth: Growth, dimensions: int, radius: float = RADIUS) -> tuple[np.ndarray, np.ndarray]:
    number = np.arange(200) % 5 + 1
    radii = np.full((200, 5), radius)
    return number, place(number, radii, growth, dimensions, np.random.default_rng(4))


@pytest.mark.parametrize(("least", "dimensions"), [(1.0, 2), (2.0, 2), (2.0, 3)])
def test_particles_keep_their_distance_and_stay_inside(least: float, dimensions: int) -> None:
    number, centres = _placed(Growth(least), dimensions)
    assert np.array_equal(np.isfinite(centres).all(axis=2).sum(axis=1), number)
    for n, those in zip(number, centres, strict=True):
        here = those[:n]
        assert np.all(_distances(here) >= least * RADIUS * (1 - 1e-9))
        assert np.all((here[:, :2] >= RADIUS) & (here[:, :2] <= 63 - RADIUS))
        assert np.all((here[0, :2] >= 16) & (here[0, :2] <= 48))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_tangent_aggregate_hangs_together_by_contacts_of_two_radii(dimensions: int) -> None:
    number, centres = _placed(Growth(2.0), dimensions)
    for n, those in zip(number, centres, strict=True):
        contacts = np.isclose(_distances(those[:n]), 2 * RADIUS)
        assert contacts.sum() >= n - 1


def test_pairwise_contact_is_contact_of_every_pair() -> None:
    number, centres = _placed(Growth(contact="pairwise"), 2)
    for n, those in zip(number, centres, strict=True):
        assert np.all(_distances(those[:n]) <= 2 * RADIUS * (1 + 1e-9))


def test_directions_in_space_favour_none() -> None:
    number = np.full(3000, 2)
    centres = place(number, np.full((3000, 5), 3.0), Growth(2.0), 3, np.random.default_rng(5))
    direction = (centres[:, 1] - centres[:, 0]) / 6.0
    assert np.allclose(np.mean(direction**2, axis=0), 1 / 3, atol=0.03)


def test_unequal_particles_touch_at_the_sum_of_their_radii() -> None:
    radii = np.tile([3.0, 6.0, 1.0, 1.0, 1.0], (50, 1))
    centres = place(np.full(50, 2), radii, Growth(2.0), 2, np.random.default_rng(6))
    assert np.linalg.norm(centres[:, 1] - centres[:, 0], axis=1) == pytest.approx(9.0)


@pytest.mark.parametrize("radius", [16.1, 0.0, -1.0, np.nan])
def test_radii_that_do_not_fit_the_object_are_refused(radius: float) -> None:
    with pytest.raises(InvalidInput, match=r"above 0 and at most .* 16 px"):
        _placed(Growth(), 2, radius)


def test_five_large_tangent_discs_are_said_not_to_fit() -> None:
    with pytest.raises(InvalidInput, match="found no room"):
        place(np.array([5]), np.full((1, 5), 16.0), Growth(2.0), 2, np.random.default_rng(0))


def test_five_discs_cannot_all_touch_without_overlap() -> None:
    with pytest.raises(InvalidInput, match="cannot all touch"):
        _placed(Growth(2.0, "pairwise"), 2)


def test_overlapping_neighbours_lie_evenly_over_the_ring() -> None:
    centres = place(np.full(1000, 2), np.full((1000, 5), 4.0), Growth(), 2, np.random.default_rng(7))
    squared = np.sum((centres[:, 1] - centres[:, 0]) ** 2, axis=1)
    assert stats.kstest(squared, stats.uniform(16, 48).cdf).pvalue > 1e-3
