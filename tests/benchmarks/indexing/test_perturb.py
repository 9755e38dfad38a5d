"""Perturbed lists hold what was asked for, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.indexing.cases import Case
from benchmarks.indexing.perturb import Perturbation, parse_perturbation, perturb

CASE = Case(
    id="made-up",
    bravais="cP",
    niggli=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0),
    wavelength_ang=1.5406,
    two_theta_deg=np.linspace(20.0, 60.0, 20),
    intensity=np.arange(1.0, 21.0),
    sigma_deg=0.01,
)


def test_nothing_asked_changes_nothing() -> None:
    same = perturb(CASE, parse_perturbation("none"))
    np.testing.assert_array_equal(same.two_theta_deg, CASE.two_theta_deg)
    np.testing.assert_array_equal(same.intensity, CASE.intensity)


def test_impurities_are_added_apart_from_the_lines_and_inside_the_range() -> None:
    dirty = perturb(CASE, Perturbation(impurities=5))
    added = np.setdiff1d(dirty.two_theta_deg, CASE.two_theta_deg)
    assert added.size == 5
    assert np.all((added > 20.0) & (added < 60.0))
    assert np.min(np.diff(dirty.two_theta_deg)) >= 0.1
    assert dirty.intensity is not None
    assert set(dirty.intensity) <= set(range(1, 21))
    kept = np.isin(dirty.two_theta_deg, CASE.two_theta_deg)
    np.testing.assert_array_equal(dirty.intensity[kept], CASE.intensity)


def test_the_seed_and_the_case_decide_where_impurities_fall() -> None:
    how = Perturbation(impurities=2)
    np.testing.assert_array_equal(perturb(CASE, how).two_theta_deg, perturb(CASE, how).two_theta_deg)
    for other in (perturb(CASE, replace(how, seed=2)), perturb(replace(CASE, id="other"), how)):
        assert np.any(other.two_theta_deg != perturb(CASE, how).two_theta_deg)


def test_a_zero_shift_moves_every_line() -> None:
    shifted = perturb(CASE, parse_perturbation("zero-shift=0.05"))
    np.testing.assert_allclose(shifted.two_theta_deg - CASE.two_theta_deg, 0.05)


def test_noise_is_filled_up_to_the_sigma_asked_for() -> None:
    errors = [
        perturb(replace(CASE, id=str(n)), Perturbation(sigma=0.03)).two_theta_deg - CASE.two_theta_deg
        for n in range(100)
    ]
    assert np.std(errors) == pytest.approx(np.sqrt(0.03**2 - 0.01**2), rel=0.05)
    calm = perturb(CASE, Perturbation(sigma=0.005))
    np.testing.assert_array_equal(calm.two_theta_deg, CASE.two_theta_deg)


def test_lines_are_dropped_and_shortened() -> None:
    fewer = perturb(CASE, parse_perturbation("drop=3,n-lines=10"))
    assert fewer.two_theta_deg.size == 10
    assert np.isin(fewer.two_theta_deg, CASE.two_theta_deg).all()
    assert fewer.two_theta_deg[-1] <= CASE.two_theta_deg[12]


@pytest.mark.parametrize("text", ["impurity=2", "impurities=two", "zero-shift"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown|invalid literal|could not convert"):
        parse_perturbation(text)


def test_names_tell_the_scenario() -> None:
    assert parse_perturbation("impurities=2,zero-shift=0.05").name == "impurities=2,zero-shift=0.05"
    assert parse_perturbation("none").name == "none"
