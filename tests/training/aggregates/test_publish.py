"""From a run's folder to the store and back: the same answers, and a card that says what was found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.aggregates.features import features, profiles
from app.aggregates.models import aggregate_model
from app.errors import NotFound
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from training.aggregates.__main__ import cli
from training.aggregates.args import DataArgs
from training.aggregates.baselines import Majority
from training.aggregates.calibration import CalibrationArgs
from training.aggregates.count_commands import PARAMETERS_FILE, trained_rules
from training.aggregates.count_network import CountNetworkArgs
from training.aggregates.evaluate import evaluate
from training.aggregates.methods import sample
from training.aggregates.publish import evidence, fingerprint, publish_run, run_identity, taught_before, training_ranges
from training.aggregates.published import NAME, of_run, published

SMALL = replace(
    CountNetworkArgs(),
    images=250,
    validation_images=250,
    filters=(4, 4, 4, 4, 4),
    hidden=8,
    profile_hidden=8,
    epochs=1,
    batch_size=50,
)
CASES = ["reference-r5", "r6-told-5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("count-network")
    trained_rules(folder, SMALL, CalibrationArgs())
    return folder


@pytest.fixture(scope="module")
def staging(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staging")
    of_run(run, folder)
    return folder


def test_a_run_is_evaluated_published_and_found_again(run: Path, staging: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    data = DataArgs(CASES[0], images=50, validation_images=10)
    method = of_run(run, staging)
    assert len(list((staging / NAME).glob("*/manifest.json"))) == 1  # staged once
    own = evaluate([method, Majority()], data, CASES, results, images=20, progress=False)
    found = evidence(run, results)
    assert {(r.method, r.case) for r in found} == {(m, c) for m in (NAME, "majority") for c in CASES}

    store = ModelStore(tmp_path / "store")
    manifest = publish_run(store, run, found, promote=True)
    assert manifest.metrics[CASES[0]][NAME]["accuracy"] == own[0].scores.accuracy
    card = store.card(NAME, manifest.version)
    assert "r6-told-5" in card
    assert "majority" in card
    assert f"{own[0].scores.accuracy:.4f}" in card
    assert "250 simulated patterns" in card

    registry = Registry(store)
    registry.refresh()
    model = aggregate_model(registry.resolve(NAME))  # `stable`
    test = sample(CASES[0], "test", 5, 0).question
    said = model.classify(test.counts, test.mask, test.centre_px, test.settings)
    again = published(NAME, tmp_path / "store")
    assert again == method  # the same weights and parameters: results of the run are those of the version
    answer = again.fit(None, None, 0).predict_proba(test)
    np.testing.assert_allclose(answer.probability, said.probability)
    np.testing.assert_array_equal(answer.answered, ~said.abstain)


def test_a_published_network_answers_as_the_trained_one(run: Path, staging: Path) -> None:
    import keras

    method = of_run(run, staging)
    registry = Registry(ModelStore(staging))
    registry.refresh()
    test = sample(CASES[0], "test", 6, 0).question
    seen = features(test.counts, test.mask, test.centre_px, test.settings)
    network = keras.saving.load_model(run / "model.keras", compile=False)
    theirs = np.asarray(network([seen.maps, seen.numbers, profiles(seen.maps)]))
    ours = registry.resolve(NAME, method.version).run(
        {"maps": seen.maps, "numbers": seen.numbers, "profiles": profiles(seen.maps)}
    )["heads"]
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_other_parameters_are_another_model(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "model.keras", tmp_path)
    told = json.loads((run / PARAMETERS_FILE).read_text("utf-8"))
    (tmp_path / PARAMETERS_FILE).write_text(json.dumps(told), "utf-8")
    assert run_identity(tmp_path) == run_identity(run)
    (tmp_path / PARAMETERS_FILE).write_text(json.dumps(told | {"temperature": told["temperature"] * 2}), "utf-8")
    assert run_identity(tmp_path) != run_identity(run)


def test_ranges_are_those_of_the_training_patterns(run: Path) -> None:
    numbers = np.load(run / "lessons-train" / "numbers.npy")
    found = {f.name: f for f in training_ranges([run])}
    assert found["radius"].min == pytest.approx(numbers[:, list(found).index("radius")].min())
    assert 3 / 1.7 / 5 <= (found["radius"].min or 0) < (found["radius"].max or 9) <= 7 * 1.7 / 5


def test_a_review_goes_back_to_the_run_it_started_from(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "review")
    told = json.loads((run / PARAMETERS_FILE).read_text("utf-8"))
    told["arguments"]["start"] = str(run)
    (tmp_path / "review" / PARAMETERS_FILE).write_text(json.dumps(told), "utf-8")
    assert taught_before(told) == [run]
    assert taught_before(json.loads((run / PARAMETERS_FILE).read_text("utf-8"))) == []
    assert fingerprint([run, tmp_path / "review"]) != fingerprint([run])


def test_what_was_not_evaluated_is_not_published(run: Path, tmp_path: Path) -> None:
    told = ["publish", "--folder", str(run), "--runs", str(tmp_path), "--store", str(tmp_path / "store")]
    refused = CliRunner().invoke(cli, told)
    assert refused.exit_code == 1
    assert "was not evaluated" in refused.output
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_folder_without_a_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="count-network"):
        of_run(tmp_path, tmp_path / "staging")
