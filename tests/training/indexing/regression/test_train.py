"""From patterns to a published model that draws cells for the solver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.errors import InvalidInput, ModelRefused
from app.indexing.learned.regression import first_lines, from_model
from app.model_registry.loading import LoadedModel
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from training.indexing.regression.commands import cli
from training.indexing.regression.evaluate import evaluate, save_scores, table
from training.indexing.regression.publish import model_name, publish_run
from training.indexing.regression.rows import Rows, synthetic_rows
from training.indexing.regression.scores import Scores, is_close
from training.indexing.regression.train import RegressionArgs, members_by_group, read_run, save, train_lattice
from training.indexing.regression.variance_network import VarianceArgs

NETWORK = VarianceArgs((24,), (16,), learning_rate=3e-3, batch_size=64, epochs=8, cycles=4)
ARGS = RegressionArgs(network=NETWORK, level="group", least_in_group=100)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Cubic patterns in three groups, the last one small."""
    drawn = synthetic_rows("cP", 900, seed=0)
    group = np.digitize(np.arange(900) % 20, [10, 19])
    return replace(drawn, group=group, groups=("first", "second", "third"))


@pytest.fixture(scope="module")
def published(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The run, published and loaded."""
    store = ModelStore(tmp_path_factory.mktemp("store"))
    manifest = publish_run(store, folder, "a command", promote=True)
    assert manifest.name == model_name("cP") == "indexing-regression-cp"
    assert manifest.plain.keys() == {"forest_0", "forest_1", "forest_2"}
    registry = Registry(store)
    registry.refresh()
    return registry.resolve(manifest.name)


@pytest.fixture(scope="module")
def folder(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished, scored run."""
    folder = tmp_path_factory.mktemp("regression") / "cP"
    save(train_lattice(rows, ARGS), folder)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path, rows: Rows) -> dict[str, dict[str, Scores]]:
    """Its scores on held-out patterns."""
    found = evaluate(read_run(folder), rows, walks=10)
    save_scores(found, folder)
    return found


def test_small_groups_share_a_model(rows: Rows) -> None:
    assert list(members_by_group(rows, ARGS)) == ["0", "1", "rest"]
    assert list(members_by_group(rows, replace(ARGS, level="lattice"))) == ["all"]
    assert list(members_by_group(rows, replace(ARGS, least_in_group=10_000))) == ["all"]


def test_it_predicts_better_than_the_trivial_predictor_and_draws_reach_the_cell(
    found: dict[str, dict[str, Scores]], rows: Rows
) -> None:
    clean = found["synthetic, clean"]
    assert clean["network"].patterns == rows.validation.sum()
    for name in ("network", "forest"):
        assert clean[name].length_error < 0.8 * clean["trivial"].length_error
        assert clean[name].nll < clean["trivial"].nll
    assert clean["network"].close > 1.3 * clean["trivial"].close
    assert clean["network"].any_refined >= 0.5
    assert len(table("cP", found)) == 3 * len(found)


def test_what_is_published_draws_as_what_was_trained(published: LoadedModel, folder: Path, rows: Rows) -> None:
    part = from_model(published)
    assert part.models["cP"].groups == ("0", "1", "rest")
    run, q2 = read_run(folder), rows.where(rows.validation).q2[0]
    drawn = part.draw("cP", q2, np.random.default_rng(0), 0, 80)
    answers = np.ravel([forest.estimators_[0].predict(run.scaling.inputs(q2[None])) for forest in run.forests])
    lengths = np.exp(answers * run.scaling.target_scale + run.scaling.target_mean)
    for length in lengths / np.sqrt(first_lines(q2[None], 10).mean()):
        assert np.abs(drawn[:, 0] / length - 1).min() < 1e-5
    assert part.draw("cP", q2, np.random.default_rng(0), 30, 0).shape == (90, 6)


def test_a_model_of_another_kind_is_refused(published: LoadedModel) -> None:
    for change in ({"groups": ["one"]}, {"bravais": "oP"}, {"bravais": "xx"}, {"scaling": {}}):
        manifest = published.manifest.model_copy(update={"parameters": {**published.parameters, **change}})
        with pytest.raises(ModelRefused):
            from_model(replace(published, manifest=manifest))


def test_close_is_a_share_of_each_length_and_of_a_radian() -> None:
    true = np.array([[5.0, 6.0, 7.0, 90.0, 100.0, 90.0]])
    drawn = true[:, None] + np.array(
        [[0, 0, 0, 0, 0, 0], [0.26, 0, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0, 2.5, 0], [0, 0, 0, 0, 3, 0]]
    )
    np.testing.assert_array_equal(is_close(drawn, true), [[True, False, True, False]])


@pytest.mark.slow
def test_the_commands_train_evaluate_and_publish(tmp_path: Path) -> None:
    runs, store = tmp_path / "runs", tmp_path / "store"
    common = ["--lattice", "cP", "--count", "200", "--runs", str(runs)]
    short = ["--epochs", "1", "--cycles", "1"]
    for arguments in (["train", *common, *short], ["evaluate", *common, "--walks", "2"]):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        assert "cP" in result.output
    result = CliRunner().invoke(cli, ["publish", "--lattice", "cP", "--runs", str(runs), "--store", str(store)])
    assert "indexing-regression-cp version 1" in result.output


def test_a_run_that_is_not_there_and_a_level_that_is_not_are_told(tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(InvalidInput, match="no finished training run"):
        read_run(tmp_path)
    with pytest.raises(InvalidInput, match="level"):
        train_lattice(rows, replace(ARGS, level="atom"))
