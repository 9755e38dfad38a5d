"""Facts of the networks and their training. Few events: what is tested does not depend on a good fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from training.waveform.args import DataArgs, TrainArgs
from training.waveform.grid import GridArgs, ranking, search, trial_file, trials_of
from training.waveform.methods import Labelled, Question
from training.waveform.networks import architecture, build
from training.waveform.scores import UNIT_US, rounded_accuracy
from training.waveform.sets import training_set
from training.waveform.train import Trained, answer, arrays, negative_log_likelihood, save, train

ARGS = TrainArgs("strided", epochs=6, batch_size=16, optimizer="adam", patience=1)


@pytest.fixture(scope="module")
def data() -> list[Labelled]:
    return training_set(DataArgs(events=80), singles=True)


@pytest.fixture(scope="module")
def trained(data: list[Labelled]) -> Trained:
    return train(data, ARGS, progress=False)


def test_the_source_network_has_the_layers_of_the_source() -> None:
    """Conv1D(32, 3): 128 numbers; 4,998 steps pooled by 16 give 312 x 32 inputs of Dense(100); one output."""
    network = build(architecture("source"), "separation", seed=0)
    assert network.count_params() == (3 * 32 + 32) + (312 * 32 * 100 + 100) + (100 + 1)
    assert network.output_shape == (None, 1)


def test_a_point_of_the_grid_has_a_second_convolution() -> None:
    row = architecture("source-16-32-3")
    assert [layer.filters for layer in row.convolutions] == [16, 32]
    assert architecture("source-32-0-3") == architecture("source")


@pytest.mark.parametrize("name", ["sauce", "source-0-16-3", "source-16-32-0"])
def test_an_unknown_network_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="source-FILTERS-SECOND-KERNEL"):
        architecture(name)


def test_waveforms_keep_their_targets_through_the_shuffle(data: list[Labelled]) -> None:
    """Where the largest and the smallest sample are tells which waveform it was."""
    x, y = arrays(data, TrainArgs("source"))
    raw = data[0].question.waveforms
    places = {(int(row.argmax()), int(row.argmin())): d for row, d in zip(raw, data[0].truth.d_us, strict=True)}
    assert x.shape == (80, 5000, 1)
    assert y.shape == (80, 1)
    for row, target in zip(x[:, :, 0], y[:, 0], strict=True):
        assert places[int(row.argmax()), int(row.argmin())] / UNIT_US == pytest.approx(target)


def test_labels_are_zero_and_one_and_mixed(data: list[Labelled]) -> None:
    x, y = arrays(data, TrainArgs("strided", task="scatters"))
    assert len(x) == 160
    assert set(np.unique(y)) == {0.0, 1.0}
    assert 20 < y[:80].sum() < 60


def test_one_kind_of_event_cannot_be_told_apart(data: list[Labelled]) -> None:
    with pytest.raises(ValueError, match="one and with two"):
        arrays(data[:1], TrainArgs("strided", task="scatters"))


def test_the_loss_is_the_negative_logarithm_of_a_normal_density() -> None:
    rng = np.random.default_rng(0)
    target, heads = rng.random((9, 1)).astype(np.float32), rng.standard_normal((9, 2)).astype(np.float32)
    expected = -norm.logpdf(target[:, 0], heads[:, 0], np.exp(heads[:, 1] / 2)) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(np.asarray(negative_log_likelihood(target, heads)), expected, rtol=1e-4, atol=1e-5)


def test_the_weights_of_the_best_epoch_are_kept(data: list[Labelled], trained: Trained) -> None:
    x, y = arrays(data, ARGS)
    held = trained.record.events[1]
    heads = np.asarray(trained.network(x[-held:]))
    loss = float(np.mean(np.asarray(negative_log_likelihood(y[-held:], heads))))
    assert loss == pytest.approx(min(trained.record.history["val_loss"]), rel=1e-3, abs=1e-4)


def test_every_epoch_has_its_figures_on_both_parts(trained: Trained) -> None:
    history = trained.record.history
    assert {"loss", "val_loss", "mse", "val_mse", "mae", "val_mae", "accuracy", "val_accuracy"} <= set(history)
    assert len({len(values) for values in history.values()}) == 1


def test_the_accuracy_of_training_is_that_of_the_scores(data: list[Labelled], trained: Trained) -> None:
    """The metric that Keras shows, where (n,) against (n, 1) would compare all with all."""
    x, y = arrays(data, ARGS)
    held = trained.record.events[1]
    found = np.asarray(trained.network(x[-held:]), dtype=float)[:, 0]
    assert trained.record.best("val_accuracy") == pytest.approx(rounded_accuracy(y[-held:, 0], found), abs=1e-6)


def test_an_answer_does_not_depend_on_the_batch(data: list[Labelled], trained: Trained) -> None:
    question = data[0].question
    some = Question(question.waveforms[3:5], question.detector, question.drift_time_us[3:5])
    whole, part = answer(trained, question), answer(trained, some)
    assert whole.d_us is not None
    assert part.d_us is not None
    np.testing.assert_allclose(whole.d_us[3:5], part.d_us, atol=1e-5)
    assert part.intervals_us is not None
    assert part.intervals_us.shape == (2, 2, 2)


def test_a_classifier_answers_with_probabilities(data: list[Labelled]) -> None:
    args = TrainArgs("strided", task="scatters", epochs=1, batch_size=32, optimizer="adam")
    found = answer(train(data, args, progress=False), data[0].question)
    assert found.d_us is None
    assert found.p_two is not None
    assert ((found.p_two >= 0) & (found.p_two <= 1)).all()


def test_a_run_leaves_its_record_beside_the_weights(trained: Trained, tmp_path: Path) -> None:
    import keras

    folder = save(trained, tmp_path / "run")
    record = json.loads((folder / "record.json").read_text())
    assert record["args"]["network"] == "strided"
    assert len(record["history"]["val_loss"]) == len(record["history"]["loss"])
    again = keras.saving.load_model(folder / "model.keras", compile=False)
    assert again.count_params() == trained.record.parameters


SMALL = GridArgs((32,), (2,), (0, 2), (3,), ("adam",), epochs=1, data=DataArgs(events=24))


def test_the_grid_is_the_schools() -> None:
    listed = trials_of(GridArgs())
    assert len(set(listed)) == 3 * 3 * 2 * 1 * 3
    assert {trial.optimizer for trial in listed} == {"adam", "SGD", "RMSprop"}


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = search(SMALL, tmp_path, limit=1, progress=False)
    assert len(first) == 1
    kept = next(tmp_path.iterdir()).read_bytes()
    both = search(SMALL, tmp_path, progress=False)
    assert len(both) == 2
    assert trial_file(tmp_path, SMALL.data, first[0].args).read_bytes() == kept
    assert both[0].mse <= both[1].mse
    assert ranking(both).count("\n") == 3


def test_a_budget_that_is_spent_starts_nothing(tmp_path: Path) -> None:
    assert search(SMALL, tmp_path, budget_s=-1.0, progress=False) == []
