"""What a model sees and says, and the cells that are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.errors import ModelRefused
from app.indexing.learned.regression import (
    ALPHA,
    BETA,
    FRAMES,
    INPUT,
    MEAN,
    LatticeModel,
    Regression,
    Scaling,
    first_lines,
    joined,
    normal_draws,
    scaling_from_json,
    scaling_to_json,
)
from tests.indexing import synthetic
from tests.indexing.synthetic import CELLS


def constants_of(bravais: str) -> np.ndarray:
    return np.array([CELLS[bravais].constants])


def lines_of(bravais: str) -> np.ndarray:
    return synthetic.first_lines(bravais, CELLS[bravais], 20)[None]


def scaling_of(bravais: str, frame: str, n_lines: int = 20) -> Scaling:
    features = FRAMES[frame].inputs(np.ones((1, n_lines))).shape[1]
    size, rng = LATTICES[bravais].n_params, np.random.default_rng(0)
    inputs = rng.normal(size=features), rng.uniform(0.5, 2.0, features)
    rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
    return Scaling(frame, n_lines, *inputs, rng.normal(size=size), rng.uniform(0.5, 2.0, size), rotation)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("bravais", LATTICES)
def test_a_cell_comes_back_from_its_targets(bravais: str, frame: str) -> None:
    lattice, scaling, lines = LATTICES[bravais], scaling_of(bravais, frame), lines_of(bravais)
    targets = scaling.targets(lattice, constants_of(bravais), lines)
    assert targets.shape == (1, lattice.n_params)
    np.testing.assert_allclose(scaling.constants(lattice, targets, lines[0]), constants_of(bravais), rtol=1e-9)


def test_a_magnified_pattern_is_the_same_question_but_for_its_unit() -> None:
    lattice, scaling, lines = LATTICES["mP"], scaling_of("mP", "relative"), lines_of("mP")
    larger = constants_of("mP") * [[2.0, 2.0, 2.0, 1.0, 1.0, 1.0]]
    one, other = scaling.inputs(lines), scaling.inputs(lines / 4)
    np.testing.assert_allclose(one[:, :-1], other[:, :-1], rtol=1e-6)
    assert one[0, -1] != other[0, -1]
    np.testing.assert_allclose(
        scaling.targets(lattice, constants_of("mP"), lines), scaling.targets(lattice, larger, lines / 4), rtol=1e-12
    )


def test_a_short_list_is_filled_with_its_last_line() -> None:
    lines = np.array([[1.0, 2.0, np.nan, np.nan], [1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(first_lines(lines, 3), [[1, 2, 2], [1, 2, 3]])
    np.testing.assert_array_equal(first_lines(lines[:, :2], 3), [[1, 2, 2], [1, 2, 2]])


def test_draws_have_the_mean_variance_of_the_inverse_gamma_distribution() -> None:
    alpha, beta = np.array([[3.0, 5.0]]), np.array([[4.0, 1.0]])
    drawn = normal_draws(np.array([[1.0, -2.0]]), alpha, beta, 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, -2.0], atol=0.03)
    np.testing.assert_allclose(drawn.var(axis=0), [4.0 / 2.0, 1.0 / 4.0], rtol=0.04)


class Trees:
    """Tree t answers t / 10 more than the middle one, in every constant."""

    def __init__(self, n_params: int) -> None:
        self.n_params = n_params

    def by_tree(self, x: np.ndarray) -> np.ndarray:
        return np.tile(np.arange(5)[None, :, None] / 10.0, (len(x), 1, self.n_params))


def certain(bravais: str, scaling: Scaling, groups: int = 1) -> LatticeModel:
    """Networks that know the cell to a ten thousandth."""
    target = scaling.targets(LATTICES[bravais], constants_of(bravais), lines_of(bravais))

    def network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs[INPUT].dtype == np.float32
        mean = np.repeat(target[:, None], groups, axis=1)
        return {MEAN: mean, ALPHA: np.full_like(mean, 2.0), BETA: np.full_like(mean, 1e-8)}

    names = tuple(map(str, range(groups)))
    return LatticeModel(bravais, scaling, names, network, (Trees(target.shape[1]),) * groups)


@pytest.mark.parametrize("bravais", ["cF", "hR", "oC", "mC", "aP"])
def test_cells_are_drawn_from_every_group(bravais: str) -> None:
    model = certain(bravais, scaling_of(bravais, "relative"), groups=2)
    drawn = model.draw(lines_of(bravais)[0], np.random.default_rng(0), 3, 0)
    assert drawn.shape == (6, 6)
    np.testing.assert_allclose(drawn, np.repeat(constants_of(bravais), 6, axis=0), rtol=1e-2)


def test_trees_are_drawn_without_repetition() -> None:
    scaling = replace(scaling_of("cP", "absolute"), target_mean=np.array([5.0]))
    model = replace(certain("cP", scaling), network=None)
    drawn = model.draw(lines_of("cP")[0], np.random.default_rng(0), 30, 3)
    assert len(np.unique(drawn[:, 0])) == len(drawn) == 3
    assert len(model.draw(lines_of("cP")[0], np.random.default_rng(0), 30, 30)) == 5


def test_cells_that_do_not_exist_are_left_out() -> None:
    scaling = replace(
        scaling_of("cP", "absolute"), target_mean=np.zeros(1), target_scale=np.ones(1), rotation=np.eye(1)
    )
    said = {MEAN: np.array([[[-3.0], [3.0]]]), ALPHA: np.full((1, 2, 1), 2.0), BETA: np.full((1, 2, 1), 1e-8)}
    model = LatticeModel("cP", scaling, ("one", "two"), lambda inputs: said)
    drawn = model.draw(lines_of("cP")[0], np.random.default_rng(0), 10, 0)
    np.testing.assert_allclose(drawn, np.tile([3.0, 3.0, 3.0, 90.0, 90.0, 90.0], (10, 1)), rtol=1e-3)


def test_parts_of_several_lattices_are_one() -> None:
    models = {name: certain(name, scaling_of(name, "relative")) for name in ("cF", "mP")}
    whole = joined(Regression({name: model}) for name, model in models.items())
    assert whole.lattices == {"cF", "mP"}
    assert len(whole.draw("mP", lines_of("mP")[0], np.random.default_rng(0), 2, 0)) == 2
    assert Regression().lattices == frozenset()


def test_a_scaling_survives_the_manifest_and_an_unsound_one_is_refused() -> None:
    entry = scaling_to_json(scaling_of("oP", "relative"))
    again = scaling_to_json(scaling_from_json(entry))
    assert again == entry
    for change in (
        {"frame": "none"},
        {"n_lines": 0},
        {"input_scale": [0.0] * 21},
        {"target_mean": [float("nan")] * 3},
        {"rotation": [[1]]},
    ):
        with pytest.raises(ModelRefused, match="sound"):
            scaling_from_json({**entry, **change})
    with pytest.raises(ModelRefused, match="complete"):
        scaling_from_json({"frame": "relative"})
