"""Facts of the networks and their training. Few epochs: what is tested does not depend on a good fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from typer.testing import CliRunner

from app.polarization.experiment import Experiment
from app.polarization.features import one_hot_columns, static_features
from training.polarization.args import DataArgs, LossArgs, TrainArgs
from training.polarization.networks import COMPLEXITIES, architecture, build
from training.polarization.rows import augmented, build_rows, names_of, training_rows
from training.polarization.simulate import simulate
from training.polarization.train import NetworkMethod, Trained, loss_terms, raw_curve, save, train

ARGS = TrainArgs("NaifTwiceDense824", DataArgs(2), epochs=40)

SOURCE_MODELS = (
    *("Naif", "Naif16108", "Naif8532", "Naif854", "Naif16532"),
    *("NaifTwiceDense24224", "NaifTwiceDense4224", "NaifTwiceDense424", "NaifTwiceDense8116", "NaifTwiceDense824"),
    *("SimpleNoDropout16168", "SimpleNoDropout1684", "SimpleNoDropout448", "SimpleNoDropout8164"),
    *("SimpleNoDropout844", "SimpleNoDropout1648", "SimpleNoDropout4164", "SimpleNoDropout848"),
)


@pytest.fixture(scope="module")
def experiments() -> list[Experiment]:
    return simulate("crystalline", 6, np.random.default_rng(7))


@pytest.fixture(scope="module")
def trained(experiments: list[Experiment]) -> Trained:
    return train(experiments, ARGS, seed=3)


def test_every_model_that_d3_uses_has_a_row() -> None:
    assert set(SOURCE_MODELS) <= set(COMPLEXITIES)
    assert len(COMPLEXITIES) == 1 + 36 + 48 + 27


def test_an_unknown_architecture_names_its_relatives() -> None:
    with pytest.raises(ValueError, match="Naif8532"):
        architecture("Naif8531")


def test_the_layers_are_those_of_the_shipped_models(shared_data: Path) -> None:
    """Weights of the same shapes: a `.keras` of D3 and a row of the table mean the same network."""
    import keras

    folders = sorted((shared_data / "polarization" / "upstream_models").glob("*/Model_*"))
    assert len(folders) == 20
    for folder in folders[::4]:
        theirs = keras.saving.load_model(folder / f"{folder.name}.keras", compile=False)
        ours = build(architecture(folder.name.split("_")[1]), theirs.inputs[0].shape[-1], seed=0)
        assert _sorted_shapes(ours) == _sorted_shapes(theirs)


def _sorted_shapes(network: Any) -> list[tuple[int, ...]]:
    return sorted(w.shape for w in network.get_weights())


def test_augmented_copies_scatter_by_each_points_own_sigma(experiments: list[Experiment]) -> None:
    copies = augmented(experiments[:1], 4_000, np.random.default_rng(0))[1:]
    scatter = np.stack([c.polarization for c in copies]).std(axis=0)
    assert scatter == pytest.approx(experiments[0].sigma, rel=0.06)


def test_rows_leave_the_anchors_out_and_repeat_the_static_features(experiments: list[Experiment]) -> None:
    names = names_of(experiments)
    rows = build_rows(experiments, names, 0.0, np.random.default_rng(0))
    assert len(rows.target) == sum(len(e.time_s) - 2 for e in experiments)
    first = len(experiments[0].time_s) - 2
    assert rows.static[0].tolist() == static_features(experiments[0].query(), names).values.tolist()
    assert (rows.static[:first] == rows.static[0]).all()
    assert rows.target[:first].tolist() == experiments[0].polarization[1:-1].tolist()


def test_a_dropped_cell_looks_like_an_unknown_one(experiments: list[Experiment]) -> None:
    names = names_of(experiments)
    rows = build_rows(experiments, names, 1.0, np.random.default_rng(0))
    assert (rows.static[:, list(one_hot_columns(names))] == 0).all()
    assert (rows.static[:, 0] > 0).all()


def test_scalers_know_the_training_side_only(experiments: list[Experiment]) -> None:
    names = names_of(experiments)
    rows, scalers = training_rows(experiments, names, DataArgs(3), np.random.default_rng(0))
    assert scalers.static.data_max_ == pytest.approx(rows.static.max(axis=0))
    assert scalers.time.data_max_ == max(e.time_s[-1] for e in experiments)
    assert len(rows.target) == 4 * sum(len(e.time_s) - 2 for e in experiments)


def test_the_loss_is_the_sources_formula() -> None:
    rng = np.random.default_rng(0)
    target, heads, args = rng.normal(size=32), rng.normal(size=(32, 2)), LossArgs()
    variance = np.exp(heads[:, 1]) + args.variance_floor
    ratio = np.log(variance) - np.log(np.mean((heads[:, 0] - heads[:, 0].mean()) ** 2) + args.variance_floor)
    expected = 0.5 * np.log(variance) + (target - heads[:, 0]) ** 2 / (2 * variance)
    expected += 1e-2 * ratio**2 + 5e-3 * np.maximum(0, ratio)
    assert np.asarray(loss_terms(target, heads, args)) == pytest.approx(expected)


def test_training_lowers_the_loss_and_is_the_same_for_the_same_seed(
    trained: Trained, experiments: list[Experiment]
) -> None:
    history = trained.record.loss_history
    assert history[-1] < history[0] - 0.2
    assert train(experiments, ARGS, seed=3).record.loss_history == history
    assert train(experiments, ARGS, seed=4).record.loss_history != history


def test_a_batch_of_times_equals_its_members(trained: Trained, experiments: list[Experiment]) -> None:
    e = experiments[0]
    together, _ = raw_curve(trained, e.query())
    alone = [raw_curve(trained, e.query(e.time_s[[i]]))[0].mean[0] for i in (1, 2)]
    assert together.mean[:2] == pytest.approx(alone, abs=1e-6)


def test_the_corrected_method_passes_through_both_anchors(experiments: list[Experiment]) -> None:
    predictor = NetworkMethod(ARGS).fit(experiments[:5], 0)
    e = experiments[5]
    mean, sigma = predictor(e.query(e.time_s[[0, -1]]))
    assert mean == pytest.approx(e.polarization[[0, -1]], abs=1e-12)
    assert sigma == pytest.approx(e.sigma[[0, -1]], abs=1e-12)


def test_a_saved_run_has_the_layout_of_the_notebooks(trained: Trained, tmp_path: Path) -> None:
    import keras

    folder = save(trained, tmp_path)
    assert folder.name == "Model_NaifTwiceDense824_2"
    names = {"scaler_static_PolarizationD3.pkl", "scaler_time_PolarizationD3.pkl", "scaler_y_PolarizationD3.pkl"}
    assert {f.name for f in folder.iterdir()} == {*names, f"{folder.name}.keras", "record.json"}
    again = keras.saving.load_model(folder / f"{folder.name}.keras", compile=False)
    for ours, theirs in zip(trained.network.get_weights(), again.get_weights(), strict=True):
        assert ours.tolist() == theirs.tolist()
    record = json.loads((folder / "record.json").read_text("utf-8"))
    assert record["args"]["complexity"] == "NaifTwiceDense824"
    assert joblib.load(folder / "scaler_static_PolarizationD3.pkl").n_features_in_ == len(record["features"])


def test_the_commands_train_evaluate_and_rank(
    experiments: list[Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.polarization import commands
    from training.polarization.__main__ import cli

    def loaded(_: Path) -> list[Experiment]:
        return experiments

    monkeypatch.setattr(commands, "load_dataset", loaded)
    where = ["--material", "crystalline", "--runs", str(tmp_path)]
    done = CliRunner().invoke(cli, ["evaluate", *where, "--methods", "line", "--methods", "physics"])
    assert done.exit_code == 0, done.output
    ranked = CliRunner().invoke(cli, ["rank", *where])
    assert "| physics |" in ranked.output
    made = CliRunner().invoke(
        cli, ["train", *where, "--complexity", "Naif854", "--augment", "0", "--augment", "1", "--epochs", "1"]
    )
    assert made.exit_code == 0, made.output
    assert {f.name for f in (tmp_path / "models" / "crystalline").iterdir()} == {"Model_Naif854_0", "Model_Naif854_1"}
    assert CliRunner().invoke(cli, ["train", *where, "--complexity", "Nope", "--augment", "1"]).exit_code == 2
