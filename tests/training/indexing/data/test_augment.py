"""Augmented patterns: lines drawn as those they were fitted to, cells perturbed within the convention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.indexing.problem import BRAVAIS
from tests.training.indexing.data.test_pattern_set import some_patterns
from tests.training.indexing.distributions import some_distributions
from training.indexing.data.augment import (
    METHODS,
    Acceptance,
    augmented,
    copies_wanted,
    covariance_steps,
    drawn_lines,
    fit_acceptance,
    random_steps,
    svd_steps,
    trials,
)
from training.indexing.data.conventions import is_conventional
from training.indexing.data.crystals import draw_crystal
from training.indexing.data.pattern_set import PatternSet, joined, pattern_set
from training.indexing.data.peak_lists import enough_reflections, peak_lists, q2_max
from training.indexing.data.scaling import fit_scalings, scalings_from_json, scalings_to_json
from training.indexing.data.space_groups import setting_of

FIRST = np.array([0.7, 0.2, 0.1, *[0.0] * 57])


@pytest.fixture(scope="module")
def orthorhombic() -> PatternSet:
    """Real lists of synthetic crystals of oP."""
    distributions, rng = some_distributions(), np.random.default_rng(1)
    rows = []
    for number in range(120):
        crystal = draw_crystal("oP", distributions, rng)
        lists = peak_lists("oP", crystal.setting, crystal.cell, crystal.atoms)
        blank = {name: getattr(one, name) for one in [some_patterns(1)] for name in vars(one)}
        columns = {
            "bravais": BRAVAIS.index("oP"),
            "setting": crystal.setting.symbol,
            "cell": crystal.cell,
            "identifier": number,
            "validation": number % 5 == 0,
            "q2_all": lists.q2_all,
            "hkl_all": lists.hkl_all,
            "q2": np.pad(lists.q2, (0, 60 - len(lists.q2)), constant_values=np.nan),
            "hkl": np.pad(lists.hkl, ((0, 60 - len(lists.q2)), (0, 0))),
        }
        rows.append(pattern_set({**blank, **columns}))
    return joined(rows)


def test_drawn_lines_follow_the_distribution_that_they_were_fitted_to(orthorhombic: PatternSet) -> None:
    """Fit to crystals, draw, and compare what came: separations of neighbours, lines seen, place of the first."""
    acceptance = fit_acceptance(orthorhombic)
    many = joined([orthorhombic] * 6)
    seen = drawn_lines(many.q2_all, acceptance, np.random.default_rng(2)) & (many.q2_all <= q2_max())
    copies = replace(many, q2=np.where(seen, many.q2_all, np.nan).astype(np.float32))
    drawn, original = (_separations(one) for one in (copies, orthorhombic))
    quantiles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(np.quantile(drawn, quantiles), np.quantile(original, quantiles), rtol=0.15)
    one, other = (trials(patterns)[1].mean() for patterns in (copies, orthorhombic))
    assert one == pytest.approx(other, abs=0.03)
    first_drawn, first = (np.mean(trials(patterns)[2] == 0) for patterns in (copies, orthorhombic))
    assert first_drawn == pytest.approx(first, abs=0.06)


def _separations(patterns: PatternSet) -> np.ndarray:
    found = []
    for full, shown in zip(patterns.q2_all, patterns.q2, strict=True):
        found.append(np.diff(full[np.isin(full, shown)]))
    return np.concatenate(found)


@pytest.mark.parametrize("ceiling", [1.0, 0.85])
def test_a_known_acceptance_is_found_again(ceiling: float) -> None:
    rng = np.random.default_rng(3)
    true = Acceptance(900.0, 1.4, ceiling, FIRST)
    full = np.cumsum(rng.exponential(0.002, (4000, 60)), axis=1).astype(np.float32)
    seen = drawn_lines(full, true, rng)
    patterns = replace(_blank(4000), q2_all=full, q2=np.where(seen, full, np.nan).astype(np.float32))
    found = fit_acceptance(patterns, with_ceiling=ceiling < 1.0)
    assert found.r0 == pytest.approx(true.r0, rel=0.08)
    assert found.r1 == pytest.approx(true.r1, rel=0.08)
    assert found.ceiling == pytest.approx(ceiling, abs=0.01)
    np.testing.assert_allclose(found.first[:4], FIRST[:4], atol=0.03)


def _blank(count: int) -> PatternSet:
    return some_patterns(1).take(np.zeros(count, int))


def test_the_acceptance_rises_from_nothing_to_its_ceiling() -> None:
    chance = Acceptance(1000.0, 1.5, 0.9, FIRST).probability(np.logspace(-6, 0, 50))
    assert chance[0] < 1e-4
    assert chance[-1] == pytest.approx(0.9)
    assert (np.diff(chance) >= 0).all()


@pytest.mark.parametrize("steps", [covariance_steps, svd_steps])
def test_steps_that_go_together_keep_the_correlation_of_training(steps: object) -> None:
    rng = np.random.default_rng(4)
    train = rng.multivariate_normal([0, 0], [[1.0, 0.9], [0.9, 1.0]], 3000)
    moved = steps(np.zeros((3000, 2)), train, rng)  # pyright: ignore[reportCallIssue]
    np.testing.assert_allclose(np.cov(moved, rowvar=False), 0.04 * np.cov(train, rowvar=False), rtol=0.1, atol=2e-3)
    alone = random_steps(np.zeros((3000, 2)), train, rng)
    assert abs(np.corrcoef(alone, rowvar=False)[0, 1]) < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_patterns_of_their_cell_on_the_side_of_the_original(method: str, orthorhombic: PatternSet) -> None:
    scaling = fit_scalings(orthorhombic)["orthorhombic"]
    acceptance = fit_acceptance(orthorhombic)
    copies = augmented(orthorhombic, scaling, acceptance, np.random.default_rng(5), wanted=3, method=method)
    assert len(copies) > 20
    owner = {int(one): row for row, one in enumerate(orthorhombic.identifier)}
    rows = [owner[int(one)] for one in copies.identifier]
    np.testing.assert_array_equal(copies.validation, orthorhombic.validation[rows])
    np.testing.assert_array_equal(copies.setting, orthorhombic.setting[rows])
    assert is_conventional("oP", copies.cell).all()
    lattice = LATTICES["oP"]
    for cell, symbol, full, shown, hkl in list(
        zip(copies.cell, copies.setting, copies.q2_all, copies.q2, copies.hkl, strict=True)
    )[:10]:
        lines = enough_reflections("oP", setting_of("oP", str(symbol)), cell)
        np.testing.assert_allclose(full, lines.q2_inv_ang2[lines.starts][:60], rtol=1e-6)
        n_seen = np.isfinite(shown).sum()
        assert np.isin(shown[:n_seen], full).all()
        q2 = lattice.design(hkl[:n_seen].astype(int)) @ cell[:3] ** -2.0
        np.testing.assert_allclose(q2, shown[:n_seen], rtol=1e-5)


def test_rare_symbols_are_copied_more_and_none_more_than_ten_times() -> None:
    symbols = np.array(["P n m a"] * 50 + ["P 2 2 2"] * 2 + ["P 21 21 21"] * 20)
    copies = copies_wanted(symbols, 30)
    assert copies[:50].sum() == 0
    assert copies[50:52].tolist() == [10, 10]
    assert copies[52:].sum() == 10


def test_scaling_is_standard_and_reversible(orthorhombic: PatternSet) -> None:
    scaling = fit_scalings(orthorhombic)["orthorhombic"]
    train = orthorhombic.take(~orthorhombic.validation)
    parameters = scaling.parameters(LATTICES["oP"], train.cell)
    assert parameters.mean() == pytest.approx(0.0, abs=1e-9)
    assert parameters.std() == pytest.approx(1.0)
    q2 = scaling.q2(train.q2[:, :20].astype(float))
    assert np.nanmean(q2) == pytest.approx(0.0, abs=1e-9)
    assert np.nanstd(q2) == pytest.approx(1.0)
    np.testing.assert_allclose(scaling.cells(LATTICES["oP"], parameters), train.cell, rtol=1e-12)
    assert scalings_from_json(scalings_to_json({"orthorhombic": scaling}))["orthorhombic"] == scaling


def test_a_right_angle_is_zero() -> None:
    patterns = replace(_blank(3), bravais=np.full(3, BRAVAIS.index("mP")), validation=np.zeros(3, bool))
    cells = np.array([[5, 6, 7, 90, 90.0, 90], [5, 6, 7, 90, 100, 90], [5, 6, 9, 90, 110, 90]])
    scaling = fit_scalings(replace(patterns, cell=cells))["monoclinic"]
    parameters = scaling.parameters(LATTICES["mP"], cells)
    assert parameters[0, 3] == 0.0
    assert parameters[1, 3] == pytest.approx(np.radians(10) / np.std(np.radians([10, 20])))
