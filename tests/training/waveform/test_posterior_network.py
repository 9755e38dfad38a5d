"""The posterior network's data and training, at a small size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.waveform.features import NUMBERS, SHAPE_BINS
from training.waveform import posterior_network
from training.waveform.posterior_network import CELLS, PosteriorArgs, joined, train, training_blocks

SMALL = PosteriorArgs(events=1024, layers=(16,), epochs=3, batch_size=128, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posterior")
    train(SMALL, folder)
    return folder


def test_rows_hold_every_event_with_and_without_its_drift_time() -> None:
    rows = joined(training_blocks(SMALL))
    assert rows.shape.shape == (2 * SMALL.events, SHAPE_BINS)
    known = rows.numbers[:, NUMBERS.index("drift_known")]
    assert known.mean() == 0.5
    singles = (rows.cell == 0).mean()
    assert (rows.cell == 0).tolist() == np.isnan(rows.d_us).tolist()
    # 1024 draws with probability 0.4 lie within 0.05 of it, but for one case in a thousand.
    assert singles == pytest.approx(1.0 - SMALL.two_share, abs=0.05)
    assert rows.cell.max() <= CELLS
    assert np.isfinite(rows.numbers).all()


def test_the_same_arguments_give_the_same_rows() -> None:
    one, other = (joined(training_blocks(PosteriorArgs(events=512, seed=7))) for _ in range(2))
    np.testing.assert_array_equal(one.numbers, other.numbers)
    assert not np.array_equal(one.numbers, joined(training_blocks(PosteriorArgs(events=512, seed=8))).numbers)


def test_a_run_leaves_network_record_and_rows(folder: Path) -> None:
    record = json.loads((folder / "record.json").read_text())
    assert record["args"]["events"] == SMALL.events
    assert len(record["lowest"]) == len(record["highest"]) == len(NUMBERS)
    assert len(record["history"]["val_loss"]) == SMALL.epochs
    assert record["history"]["loss"][-1] < record["history"]["loss"][0]


def test_the_network_answers_with_a_law(folder: Path) -> None:
    import keras

    network = keras.saving.load_model(folder / "model.keras", compile=False)
    rows = joined(training_blocks(PosteriorArgs(events=256, seed=9)))
    found = network.predict({"shape": rows.shape, "numbers": rows.numbers}, verbose=0)["probability"]
    assert found.shape == (512, CELLS + 1)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-4)


def test_kept_rows_are_taken_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: PosteriorArgs) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr(posterior_network, "training_blocks", refuse)
    _, record = train(PosteriorArgs(events=1024, layers=(8,), epochs=1, batch_size=128, seed=3), folder)
    assert record.args.layers == (8,)
