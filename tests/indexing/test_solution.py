"""What an answer says of a cell follows from the cell and the lines."""

from __future__ import annotations

from dataclasses import replace

import gemmi
import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.bragg import dq2_d_two_theta, two_theta_from_q2
from app.crystallography.lattice import LATTICES
from app.crystallography.reduction import niggli
from app.indexing.problem import PeakList, Solution
from app.indexing.ranking import Found, ranked
from app.indexing.search.hypotheses import grown_and_weighed
from app.indexing.search.observed import observed_from
from app.indexing.solution import n_unindexed, solutions_from
from tests.indexing.synthetic import CELLS, LIMITS, WAVELENGTH_ANG, pattern, terms_of

lattices = pytest.mark.parametrize("bravais", LATTICES)


def _found(bravais: str, peaks: PeakList, zero_sigma_deg: float = 0.03) -> Found:
    observed = observed_from(peaks, max_peaks=100)
    batch = grown_and_weighed(
        bravais, terms_of(bravais)[None], observed, LIMITS, generator="test", zero_sigma_deg=zero_sigma_deg
    )
    return ranked([batch], observed, count=1)[0]


def _solution(bravais: str, peaks: PeakList, zero_sigma_deg: float = 0.03) -> Solution:
    return solutions_from(
        [_found(bravais, peaks, zero_sigma_deg)],
        observed_from(peaks, max_peaks=100),
        peaks.wavelength_ang,
        temperature=1.0,
        zero_sigma_deg=zero_sigma_deg,
    )[0]


@lattices
def test_the_cell_its_volume_and_its_reduced_cell_agree(bravais: str) -> None:
    solution = _solution(bravais, pattern(bravais))
    cell = gemmi.UnitCell(*solution.cell.constants)
    assert solution.volume_ang3 == pytest.approx(cell.volume)
    centring = LATTICES[bravais].centring
    np.testing.assert_allclose(solution.niggli.constants, niggli(solution.cell, centring.symbol).constants, rtol=1e-5)
    assert metric.volume(solution.niggli) * centring.multiplicity == pytest.approx(cell.volume, rel=1e-5)
    if bravais != "aP":
        np.testing.assert_allclose(solution.cell.constants, CELLS[bravais].constants, rtol=3e-3)


@lattices
def test_every_line_is_where_its_indices_say(bravais: str) -> None:
    peaks = pattern(bravais, foreign=1, zero_deg=0.03, seed=2)
    solution = _solution(bravais, peaks)
    cell = gemmi.UnitCell(*solution.cell.constants)
    assert [line.q2_observed_inv_ang2 for line in solution.lines] == peaks.q2_inv_ang2.tolist()
    assert solution.n_lines == len(solution.lines) == 21
    assert solution.n_indexed == sum(line.hkl is not None for line in solution.lines) >= 20
    for line in solution.lines:
        if line.hkl is None:
            assert line.q2_calculated_inv_ang2 is line.delta_two_theta_deg is None
            continue
        assert LATTICES[bravais].allowed(np.array(line.hkl))
        assert line.q2_calculated_inv_ang2 == pytest.approx(cell.calculate_1_d2(line.hkl), rel=1e-6)
        observed, calculated = (
            float(two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=WAVELENGTH_ANG))
            for q2 in (line.q2_observed_inv_ang2, line.q2_calculated_inv_ang2)
        )
        delta = observed - solution.zero_shift_deg - calculated
        assert line.delta_two_theta_deg == pytest.approx(delta, abs=2e-4)


@lattices
def test_m20_is_de_wolffs(bravais: str) -> None:
    peaks = pattern(bravais, count=24, noise_deg=0.008)
    solution = _solution(bravais, peaks)
    slope = dq2_d_two_theta(q2_inv_ang2=peaks.q2_inv_ang2, wavelength_ang=WAVELENGTH_ANG)
    q2 = peaks.q2_inv_ang2 - solution.zero_shift_deg * slope
    indexed = [i for i, line in enumerate(solution.lines) if line.hkl is not None][:20]
    calculated = np.array([solution.lines[i].q2_calculated_inv_ang2 for i in indexed], dtype=float)
    box = np.stack(np.meshgrid(*[np.arange(-14, 15)] * 3, indexing="ij"), -1).reshape(-1, 3)
    box = box[box.any(axis=1) & LATTICES[bravais].allowed(box)]
    every = np.unique((LATTICES[bravais].design(box) @ terms_of(bravais, solution.cell)).round(9))
    n_possible = (every <= max(q2[indexed[-1]], calculated[-1]) + 1e-8).sum()
    m20 = q2[indexed[-1]] / (2 * np.abs(q2[indexed] - calculated).mean() * n_possible)
    assert solution.m20 == pytest.approx(m20, rel=1e-3)
    assert solution.f20_n_possible == n_possible
    delta = np.mean([abs(solution.lines[i].delta_two_theta_deg or 0.0) for i in indexed])
    assert solution.f20_mean_delta_deg == pytest.approx(delta)
    assert solution.f20 == pytest.approx(20 / (delta * n_possible))


def test_without_a_wavelength_nothing_is_said_in_degrees() -> None:
    solution = _solution("oP", PeakList(pattern("oP").q2_inv_ang2))
    assert solution.f20 is solution.f20_mean_delta_deg is solution.f20_n_possible is None
    assert all(line.delta_two_theta_deg is None for line in solution.lines)
    assert solution.zero_shift_deg == 0.0
    assert solution.m20 > 20


FREE = {
    bravais: [value for value in dict.fromkeys(LATTICES[bravais].form.setting) if isinstance(value, str)]
    for bravais in ("cI", "hP", "oP", "mP")
}


@pytest.mark.parametrize("bravais", FREE)
@pytest.mark.parametrize(("zero_deg", "zero_sigma_deg"), [(0.0, 1e-5), (None, 0.015)])
def test_the_true_cell_lies_within_the_errors(bravais: str, zero_deg: float | None, zero_sigma_deg: float) -> None:
    """Over many patterns, (found - true)/sigma is normal with a standard deviation near 1."""
    rng = np.random.default_rng(8)
    pulls = []
    for seed in range(50):
        zero = 0.015 * rng.standard_normal() if zero_deg is None else zero_deg
        peaks = pattern(bravais, noise_deg=0.01, zero_deg=zero, seed=seed)
        solution = _solution(bravais, peaks, zero_sigma_deg)
        pulls.append(
            [
                (getattr(solution.cell, name) - getattr(CELLS[bravais], name)) / getattr(solution.cell_sigma, name)
                for name in FREE[bravais]
            ]
        )
    spread = np.sqrt(np.mean(np.square(np.clip(pulls, -5, 5)), axis=0))
    assert (spread > 0.7).all(), spread
    assert (spread < 1.45).all(), spread


@lattices
def test_constants_that_symmetry_fixes_have_no_error(bravais: str) -> None:
    solution = _solution(bravais, pattern(bravais))
    fixed = ~np.isnan(LATTICES[bravais].fixed_constants)
    sigma = np.array(solution.cell_sigma.constants)
    assert (sigma[fixed] == 0).all()
    assert (sigma[~fixed] > 0).all()


def test_exact_lines_have_hardly_an_error() -> None:
    solution = _solution("oP", pattern("oP", noise_deg=0.0))
    assert max(solution.cell_sigma.constants) < 1e-3
    assert np.isfinite(solution.m20)
    assert solution.m20 > 500


def test_weights_are_shares() -> None:
    peaks = pattern("oP")
    found = _found("oP", peaks)
    observed = observed_from(peaks, max_peaks=40)
    for odds in ([50.0, 47.0, -3.0], [-900.0, -901.0], [1e4, 1.0], [2.0]):
        weights = [
            one.weight
            for one in solutions_from(
                [replace(found, log_odds=value) for value in odds], observed, WAVELENGTH_ANG, temperature=2.0
            )
        ]
        assert sum(weights) == pytest.approx(1.0)
        expected = np.exp((odds[-1] - odds[0]) / 2.0)
        assert weights[-1] / weights[0] == pytest.approx(expected if len(odds) > 1 else 1.0)
    assert solutions_from([], observed, WAVELENGTH_ANG, temperature=2.0) == ()


def test_relatives_are_those_whose_volumes_are_in_the_ratio_of_small_numbers() -> None:
    peaks = pattern("oP")
    found = _found("oP", peaks)
    volumes = (1.0, 2.0, 3.01, 1.5, 0.5, 1.001, 7.0)
    solutions = solutions_from(
        [replace(found, volume=found.volume * ratio) for ratio in volumes],
        observed_from(peaks, max_peaks=40),
        WAVELENGTH_ANG,
        temperature=1.0,
    )
    assert solutions[0].relatives == (1, 2, 4, 5)
    for i, one in enumerate(solutions):
        assert i not in one.relatives
        assert all(i in solutions[j].relatives for j in one.relatives)


@pytest.mark.parametrize(
    ("bravais", "space_group", "symbol"),
    [("mP", "P 1 21/c 1", "P 1 21/c 1"), ("oP", "P b c a", "P b c a"), ("cI", "I a -3 d", "I a - d")],
)
def test_the_absences_name_their_symbol(bravais: str, space_group: str, symbol: str) -> None:
    extinctions = _solution(bravais, pattern(bravais, count=30, space_group=space_group, noise_deg=0.005)).extinctions
    assert extinctions[0].symbol == symbol
    assert extinctions[0].n_forbidden == 0
    assert extinctions[0].n_absent > 0


def test_unindexed_lines_are_counted_among_the_first() -> None:
    peaks = pattern("oP", count=30, noise_deg=0.003, foreign=3, seed=5)
    solution = _solution("oP", peaks)
    found, observed = _found("oP", peaks), observed_from(peaks, max_peaks=100)
    for first in (5, 20, 33, 90):
        assert n_unindexed(found, observed, first=first) == sum(line.hkl is None for line in solution.lines[:first])


def test_a_line_at_180_degrees_can_be_answered() -> None:
    peaks = pattern("cP")
    q2 = np.append(peaks.q2_inv_ang2, [(2 / WAVELENGTH_ANG) ** 2])
    solution = _solution("cP", PeakList(q2, wavelength_ang=WAVELENGTH_ANG))
    assert solution.n_lines == 21
    assert solution.n_indexed >= 19
