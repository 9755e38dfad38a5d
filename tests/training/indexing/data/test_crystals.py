"""Synthetic crystals keep their symmetry, their distances and the conventions of their lattice."""

from __future__ import annotations

from collections.abc import Iterator

import gemmi
import numpy as np
import pytest

from app.crystallography import metric
from app.crystallography.lattice import LATTICES
from app.indexing.problem import BRAVAIS
from tests.training.indexing.distributions import some_distributions
from training.indexing.data.cells import Distributions, cells_from_features, features
from training.indexing.data.conventions import is_conventional
from training.indexing.data.crystals import KINDS, Crystal, draw_crystal, kind_shares, setting_shares
from training.indexing.data.space_groups import settings


@pytest.fixture(scope="module")
def crystals() -> dict[str, list[Crystal]]:
    distributions = some_distributions()
    rng = np.random.default_rng(7)
    return {bravais: [draw_crystal(bravais, distributions, rng) for _ in range(8)] for bravais in BRAVAIS}


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_cells_are_conventional_and_within_bounds(bravais: str, crystals: dict[str, list[Crystal]]) -> None:
    cells = np.array([crystal.cell for crystal in crystals[bravais]])
    lattice = LATTICES[bravais]
    assert is_conventional(bravais, cells).all()
    assert cells[:, :3].min() >= 2.0
    assert cells[:, :3].max() <= 50.0
    np.testing.assert_allclose(
        metric.constants_from_x(lattice, metric.x_from_constants(lattice, cells)), cells, rtol=1e-9
    )


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_atoms_keep_their_distance_and_fill_the_cell(bravais: str, crystals: dict[str, list[Crystal]]) -> None:
    """By gemmi's search over the images of every site."""
    for crystal in crystals[bravais]:
        least = KINDS[crystal.kind].least_ang[0]
        assert min(_distances(crystal), default=least) >= least - 1e-6
        primitive = float(metric.volume_from_form(metric.form_from_constants(crystal.cell)))
        primitive /= LATTICES[bravais].centring.multiplicity
        assert 4.0 < primitive / crystal.amounts.sum() < 100.0


def _distances(crystal: Crystal) -> Iterator[float]:
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*crystal.cell)
    small.symops = [operation.triplet() for operation in crystal.setting.operations]
    small.determine_and_set_spacegroup("S")
    small.setup_cell_images()
    for index, fract in enumerate(crystal.atoms.fract):
        for other in crystal.atoms.fract[: index + 1]:
            image = small.cell.find_nearest_image(
                small.cell.orthogonalize(gemmi.Fractional(*fract)),
                small.cell.orthogonalize(gemmi.Fractional(*other)),
                gemmi.Asu.Any,
            )
            if image.dist() > 1e-3:
                yield image.dist()


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_weights_count_each_atom_of_the_cell_once(bravais: str, crystals: dict[str, list[Crystal]]) -> None:
    """The images of each site, gathered in a set, are as many as its weight says."""
    for crystal in crystals[bravais][:4]:
        operations = [np.array(op.float_seitz()) for op in crystal.setting.operations]
        for fract, weight in zip(crystal.atoms.fract, crystal.atoms.weight, strict=True):
            images = np.array([op[:3, :3] @ fract + op[:3, 3] for op in operations]) % 1.0
            step = images[:, None] - images[None]
            same = np.abs(step - np.round(step)).max(axis=2) < 1e-3
            assert len(operations) / same.sum(axis=1)[0] == pytest.approx(weight * len(operations))


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_features_are_reversible(bravais: str, crystals: dict[str, list[Crystal]]) -> None:
    cells = np.array([crystal.cell for crystal in crystals[bravais]])
    lattice = LATTICES[bravais]
    np.testing.assert_allclose(cells_from_features(lattice, features(lattice, cells)), cells, rtol=1e-12)


@pytest.mark.parametrize("bravais", BRAVAIS)
def test_frequencies_are_shares_and_every_setting_can_come(bravais: str) -> None:
    assert sum(kind_shares(bravais)) == pytest.approx(1.0)
    for kind in KINDS:
        shares = setting_shares(bravais, kind)
        assert len(shares) == len(settings(bravais))
        assert sum(shares) == pytest.approx(1.0)
        assert min(shares) > 0.0


def test_molecular_crystals_are_mostly_in_few_groups() -> None:
    """P 21/c and P 21 21 21 are favourites of their lattices; diamond's group is not of molecules."""
    share = {
        setting.number: value
        for bravais in ("mP", "oP", "cF")
        for setting, value in zip(settings(bravais), setting_shares(bravais, "molecular"), strict=True)
    }
    assert 3 * share[14] > 0.7  # three cell choices
    assert share[19] > 0.3
    assert kind_shares("mP")[list(KINDS).index("molecular")] > 0.5 > kind_shares("cF")[list(KINDS).index("molecular")]


def test_the_same_seed_draws_the_same_crystal() -> None:
    distributions = some_distributions()
    one, other = (draw_crystal("oP", distributions, np.random.default_rng(4)) for _ in range(2))
    assert one.setting.symbol == other.setting.symbol
    np.testing.assert_array_equal(one.atoms.fract, other.atoms.fract)


def test_distributions_survive_their_file() -> None:
    distributions = some_distributions()
    read = Distributions.from_json(distributions.to_json())
    one, other = (draw_crystal("mC", given, np.random.default_rng(9)) for given in (distributions, read))
    np.testing.assert_allclose(one.cell, other.cell, rtol=1e-6)
