"""Facts of the networks and their training. Few patterns and epochs: what is tested does not depend on a good fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.aggregates.args import TrainArgs
from training.aggregates.methods import Sample, sample
from training.aggregates.networks import NETWORKS, architecture, build, pattern_input
from training.aggregates.train import History, NetworkMethod, fit_network, load, mirrored

ARGS = TrainArgs("strided-radius", epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def train() -> Sample:
    return sample("reference-r3-7", "train", 72, 0)


@pytest.fixture(scope="module")
def validation() -> Sample:
    return sample("reference-r3-7", "validation", 30, 0)


def test_the_source_network_has_the_weights_that_its_text_counts() -> None:
    """Conv 1 to 16 and 16 to 32 (3 x 3), dense 32 x 16 x 16 to 128, dense 128 to 5, each with a bias."""
    expected = (9 * 16 + 16) + (9 * 16 * 32 + 32) + (32 * 16 * 16 * 128 + 128) + (128 * 5 + 5)
    assert build(architecture("source"), 0).count_params() == expected


def test_an_unknown_network_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="source-radius"):
        architecture("sauce")


@pytest.mark.parametrize("name", NETWORKS)
def test_first_weights_come_from_the_seed(name: str) -> None:
    row = architecture(name)
    weights = [np.concatenate([w.ravel() for w in build(row, seed).get_weights()]) for seed in (1, 1, 2)]
    assert (weights[0] == weights[1]).all()
    assert (weights[0] != weights[2]).any()


def test_what_is_not_measured_is_not_seen() -> None:
    counts, mask = np.full((1, 64, 64), 7.0, np.float32), np.ones((1, 64, 64), dtype=bool)
    mask[0, 3, 4] = False
    other = counts.copy()
    other[0, 3, 4] = 1e9
    assert (pattern_input(counts, mask) == pattern_input(other, mask)).all()
    assert pattern_input(counts, mask)[0, 9, 9, 0] == np.float32(np.log(8.0))


def test_mirror_images_keep_the_beam_where_it_is() -> None:
    """A pattern that is Friedel-symmetric about (32, 32) stays so, and keeps its values at each distance."""
    rng = np.random.default_rng(0)
    half = rng.random((40, 63, 63))
    whole = np.zeros((40, 64, 64, 1), np.float32)
    whole[:, 1:, 1:, 0] = half + half[:, ::-1, ::-1]
    found = mirrored(whole, rng)[:, 1:, 1:, 0]
    np.testing.assert_allclose(found, found[:, ::-1, ::-1])
    np.testing.assert_allclose(np.sort(found.ravel()), np.sort(whole[:, 1:, 1:, 0].ravel()))
    kinds = {
        tuple(np.isclose(f, m).all() for m in (w, w[:, ::-1], w.T, w.T[:, ::-1]))
        for f, w in zip(found, whole[:, 1:, 1:, 0], strict=True)
    }
    assert len(kinds) == 4  # each of the four different images occurs, and is only one of them
    assert all(sum(kind) == 1 for kind in kinds)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, train: Sample, validation: Sample) -> None:
    straight = fit_network(train, validation, ARGS, 3)
    fit_network(train, validation, replace(ARGS, epochs=1), 3, folder=tmp_path)
    resumed = fit_network(train, validation, ARGS, 3, folder=tmp_path)
    assert resumed.record.history == straight.record.history
    for one, other in zip(resumed.network.get_weights(), straight.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    record = json.loads((tmp_path / "record.json").read_text("utf-8"))
    assert [len(values) for values in record["history"].values()] == [2, 2, 2, 2]
    assert record["args"]["network"] == ARGS.network
    again = load(tmp_path)
    assert again.record == resumed.record
    said = [t.predict_proba(validation.question).probability for t in (again, resumed)]
    np.testing.assert_array_equal(*said)

    with pytest.raises(ValueError, match="other arguments"):
        fit_network(train, validation, replace(ARGS, learning_rate=0.1), 3, folder=tmp_path)


def test_answers_do_not_depend_on_the_batch(train: Sample, validation: Sample) -> None:
    trained = fit_network(train, validation, replace(ARGS, epochs=1), 0)
    whole = trained.predict_proba(validation.question).probability
    alone = np.concatenate([trained.predict_proba(validation.question[i : i + 1]).probability for i in range(5)])
    np.testing.assert_allclose(whole[:5], alone, atol=1e-5)
    np.testing.assert_allclose(whole.sum(axis=1), 1)


def test_the_last_epoch_said_is_what_the_history_holds(tmp_path: Path, train: Sample, validation: Sample) -> None:
    said: list[str] = []
    method = NetworkMethod(replace(ARGS, epochs=2), tmp_path, said.append)
    method.fit(train, validation, 0)
    record = json.loads(next(tmp_path.glob("*/record.json")).read_text("utf-8"))
    losses = record["history"]["validation_loss"]
    assert all(f"validation loss {loss:.4f}" in line for loss, line in zip(losses, said, strict=True))
    method.fit(train, validation, 0)
    assert len(said) == 2  # finished before: nothing is trained again


def test_training_stops_when_it_gets_no_better_and_the_best_epoch_counts() -> None:
    losses = (0.9, 0.5, 0.6, 0.7, 0.8)
    history = History(losses, losses, losses, losses)
    assert history.best == 1
    assert history.stopped(TrainArgs("source", epochs=50, patience=3))
    assert not history.stopped(TrainArgs("source", epochs=50, patience=4))
    assert history.stopped(TrainArgs("source", epochs=5, patience=9))
    assert not History().stopped(TrainArgs("source"))
