"""The loss of the network that scores assignments, and what training on a few patterns does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from app.indexing.learned.template_features import N_FEATURES
from app.indexing.learned.templates import INPUT, pairs_of
from training.indexing.templates.data import draw_templates
from training.indexing.templates.evaluate import NEVER, places, solved
from training.indexing.templates.network import BETA, NetworkArgs, build, loss_and_slope
from training.indexing.templates.train import MODEL_FILE, TrainArgs, read_network, rows_for_all, train

RNG = np.random.default_rng(6)
ROWS = np.array([[0, 1, 2, 3, 0], [4, 4, 5, 5, 5]], dtype=np.uint16)
PRIOR = np.log(np.array([0.5, 0.2, 0.1, 0.1, 0.1], dtype=np.float32))


def _loss(value: np.ndarray, right: list[int], k: float = 2.0) -> tuple[float, np.ndarray]:
    loss, slope = np.empty(1, np.float32), np.empty((1, 6), np.float32)
    rows = np.array([right + [-1] * (3 - len(right))], np.int32)
    quality = np.where(rows >= 0, 0.9, 0.0).astype(np.float32)
    every, one = np.arange(5), np.ones(5, np.float32)
    loss_and_slope(value[None].astype(np.float32), ROWS, PRIOR, every, one, rows, quality, np.log(k), BETA, loss, slope)
    return float(loss[0]), slope[0].astype(float)


def test_the_loss_is_that_of_the_share_of_the_right_row() -> None:
    score = PRIOR + RNG.normal(size=6)[ROWS].sum(axis=0) * 0
    share = 0.9 * np.exp(score[1]) / np.exp(score).sum()
    assert _loss(np.zeros(6), [1])[0] == pytest.approx(np.log1p(1 / (2.0 * share)), rel=1e-5)


def test_the_slope_is_the_change_of_the_loss() -> None:
    value, step = RNG.normal(size=6), 1e-2
    _, slope = _loss(value, [1, 3])
    moved = [
        (_loss(value + step * unit, [1, 3])[0] - _loss(value - step * unit, [1, 3])[0]) / (2 * step)
        for unit in np.eye(6)
    ]
    np.testing.assert_allclose(slope, moved, atol=2e-4)


def test_a_pattern_without_a_right_row_teaches_nothing() -> None:
    loss, slope = _loss(RNG.normal(size=6), [])
    assert loss == 0.0
    assert not slope.any()


def test_once_a_row_is_among_the_first_little_is_left_to_gain() -> None:
    sure, unsure = np.zeros(6), np.zeros(6)
    sure[2] = 6.0
    steep = [np.abs(_loss(value, [2], k=100.0)[1]).sum() for value in (sure, unsure)]
    assert steep[0] < 0.1 * steep[1]


@pytest.mark.parametrize("n_rows", [300, 1000, 1001, 40_000])
def test_some_rows_stand_for_all(n_rows: int) -> None:
    some, weight = rows_for_all(n_rows, 5000, RNG)
    assert weight.sum() == pytest.approx(n_rows, rel=1e-5)
    assert len(np.unique(some)) == len(some) < 6100
    assert some.max() < n_rows


def test_an_untrained_network_keeps_the_order_of_the_list() -> None:
    model = build(("tP",), NetworkArgs(trunk=(4,), head=4))
    assert not model(np.ones((1, N_FEATURES), np.float32))["tP"].numpy().any()


def test_a_little_training_already_orders_better_than_the_list(tmp_path: Path) -> None:
    sets = {"tP": draw_templates("tP", 600, seed=5)}
    said: list[str] = []
    args = TrainArgs(patterns={"tP": 600}, epochs=6, batch=30, rows=2000, rate=0.01, network=NetworkArgs((32,), 16))
    train(sets, args, tmp_path, said.append)
    network, lattices = read_network(tmp_path / MODEL_FILE)
    assert lattices == ("tP",)
    assert len(said) == 6
    assert network({INPUT: np.zeros((2, N_FEATURES), np.float32)})["tP"].shape == (2, len(pairs_of("tP").line))
    found = places("tP", draw_templates("tP", 150, seed=6), network, seed=1)
    place = {order: np.log(np.minimum(one, 10**4) + 1.0).mean() for order, one in found.items()}
    assert place["network"] < place["list"] - 0.2
    assert solved(found["network"], [NEVER])[0] == solved(found["list"], [NEVER])[0]
