"""Facts of an evaluation: tests are unseen, results are kept, and a published model is what was tried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.errors import InvalidInput, NotFound
from app.model_registry.store import ModelStore
from training.waveform.__main__ import cli
from training.waveform.args import DataArgs
from training.waveform.baselines import Boosting, Mean, Moments, Width
from training.waveform.curves import CurveArgs, learning_curve
from training.waveform.evaluate import Plan, bounds_us, evaluate, in_chunks
from training.waveform.figures import learning_curves, save, save_all
from training.waveform.methods import Answer, Labelled, Predictor, Question
from training.waveform.posterior_method import posterior_methods
from training.waveform.posterior_network import PosteriorArgs, train
from training.waveform.publish import publish_run
from training.waveform.sets import (
    MEASURED_NOISE,
    TEST_SEED,
    TestArgs,
    fingerprint,
    measured_noise,
    questions,
    training_set,
)
from training.waveform.tables import report

LEARNED = DataArgs(events=120)
ASKED = TestArgs(events=50)


@dataclass(frozen=True)
class Once:
    """The truth's mean, and a file that says it was fitted."""

    mark: Path
    name: str = "once"
    drift: bool = False
    learns: bool = True

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        self.mark.touch(exist_ok=False)
        return lambda question: Answer(np.full(len(question), 4.0), np.full(len(question), 0.5))


def test_test_seeds_are_refused_for_training() -> None:
    with pytest.raises(ValueError, match="kept for tests"):
        training_set(replace(LEARNED, seed=TEST_SEED), singles=True)


def test_the_same_seed_gives_the_same_set_and_another_another() -> None:
    sets = [training_set(replace(LEARNED, seed=seed), singles=True) for seed in (1, 1, 2)]
    prints = [fingerprint(one) for one in sets]
    assert prints[0] == prints[1] != prints[2]
    assert [len(part.question) for part in sets[0]] == [120, 120]
    assert [set(part.truth.scatters) for part in sets[0]] == [{2}, {1}]


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    small, large = (training_set(DataArgs(events=n), singles=False)[0] for n in (20, 300))
    np.testing.assert_array_equal(small.question.waveforms, large.question.waveforms[:20])


def test_mixed_detectors_differ_between_blocks() -> None:
    parts = training_set(DataArgs("mixed", 40), singles=False)
    assert [len(part.question) for part in parts] == [32, 8]
    assert parts[0].question.detector != parts[1].question.detector


def test_detectors_do_not_tell_one_scatter_from_two() -> None:
    parts = training_set(DataArgs("mixed", 40), singles=True)
    assert [part.question.detector for part in parts[:2]] == [part.question.detector for part in parts[2:]]
    assert not np.array_equal(parts[0].truth.electrons, parts[2].truth.electrons)


def test_an_unknown_setting_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="lz-ws2024"):
        questions(TestArgs("lux"))
    with pytest.raises(ValueError, match="measured noise"):
        questions(TestArgs(MEASURED_NOISE))


def test_measured_noise_has_the_references_size(shared_data: Path) -> None:
    noise = measured_noise(shared_data)
    if noise is None:
        pytest.skip("no measured noise on this machine")
    found = questions(replace(ASKED, setting=MEASURED_NOISE), noise)
    edge = found.two.question.waveforms[:, :800]
    assert edge.std() == pytest.approx(found.settings.electronics.noise_phd, rel=0.1)
    lag = np.mean(edge[:, 1:] * edge[:, :-1]) / np.mean(edge**2)
    assert lag == pytest.approx(np.mean(noise[1:] * noise[:-1]) / np.mean(noise**2), abs=0.1)


def test_results_are_kept_and_read_again(tmp_path: Path) -> None:
    plan = Plan([Once(tmp_path / "fitted"), Mean()], LEARNED, [ASKED], tmp_path / "results")
    first = evaluate(plan, progress=False)
    assert evaluate(plan, progress=False) == first
    assert [result.method for result in first] == ["once", "mean"]
    assert first[0].training_fingerprint == fingerprint(training_set(LEARNED, singles=True))


def test_another_training_set_is_another_result(tmp_path: Path) -> None:
    for number, learned in enumerate((LEARNED, replace(LEARNED, seed=2))):
        evaluate(Plan([Once(tmp_path / str(number), "once")], learned, [ASKED], tmp_path / "r"), progress=False)
    assert len(list((tmp_path / "r" / "reference").iterdir())) == 2


def test_names_must_differ(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must differ"):
        evaluate(Plan([Mean(), Mean()], LEARNED, [ASKED], tmp_path), progress=False)


def test_each_baseline_is_ahead_of_the_one_before(tmp_path: Path) -> None:
    """The mean, the width, and the width where diffusion is known: each knows more."""
    plan = Plan([Mean(), Width(), Moments()], DataArgs(events=400), [TestArgs(events=200)], tmp_path)
    errors = [r.scores.separation.mse for r in evaluate(plan, progress=False) if r.scores.separation]
    areas = [r.scores.two.auc for r in evaluate(plan, progress=False) if r.scores.two]
    assert errors == sorted(errors, reverse=True)
    assert areas == sorted(areas)


def test_boosting_learns(tmp_path: Path) -> None:
    plan = Plan([Width(), Boosting(drift=True, iterations=60)], DataArgs(events=400), [TestArgs(events=200)], tmp_path)
    width, boosting = (r.scores.separation for r in evaluate(plan, progress=False))
    assert width is not None
    assert boosting is not None
    assert boosting.mse < width.mse


def test_a_known_drift_time_never_loosens_the_bound() -> None:
    found = questions(ASKED)
    assert (bounds_us(found, drift=True) <= bounds_us(found, drift=False) * (1 + 1e-6)).all()


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    question = questions(ASKED).two.question
    predict: Predictor = lambda asked: Answer(asked.drift_time_us, intervals_us=np.ones((2, 2, len(asked))))  # noqa: E731
    monkeypatch.setattr("training.waveform.evaluate.CHUNK", 7)
    answer = in_chunks(predict, question)
    np.testing.assert_array_equal(answer.d_us, question.drift_time_us)
    assert answer.intervals_us is not None
    assert answer.intervals_us.shape == (2, 2, 50)
    assert answer.p_two is None


def test_pictures_and_tables_show_every_method(tmp_path: Path) -> None:
    results = evaluate(Plan([Width(), Moments()], LEARNED, [ASKED], tmp_path / "r"), progress=False)
    files = save_all(results, tmp_path / "one")
    again = save_all(results, tmp_path / "two")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]
    text = report(results)
    assert text.count("| moments + drift time |") >= 3
    points = learning_curve(Mean(), CurveArgs(sizes=(20, 40), questions=ASKED), tmp_path / "r")
    assert set(points) == {20, 40}
    assert save(learning_curves({"mean": points}), tmp_path / "curve.svg").stat().st_size > 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posterior")
    train(PosteriorArgs(events=512, layers=(8,), epochs=1, batch_size=256), folder)
    return folder


def test_a_published_network_answers_as_its_run(run: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    plan = Plan([Width(), *posterior_methods(str(run))], LEARNED, [ASKED], tmp_path / "r")
    results = evaluate(plan, progress=False)
    manifest = publish_run(store, run, results, promote=True)
    figures = manifest.metrics["reference"]
    assert isinstance(figures, dict)
    assert set(figures) == {"rms width", "posterior network", "posterior network + drift time"}
    card = store.card(manifest.name, manifest.version)
    for heading in ("Data sources", "Data cleaning", "representation", "Model choice", "validation", "reproducibility"):
        assert heading in card
    folder = store.root / manifest.name / str(manifest.version)
    question: Question = questions(ASKED).two.question
    fresh = posterior_methods(str(run))[1]
    mine = fresh.fit([], np.random.default_rng(0))(question).d_us
    for reference in (manifest.name, f"{manifest.name}/{manifest.version}", str(folder)):
        published = posterior_methods(reference, store.root)[1]
        np.testing.assert_allclose(published.fit([], np.random.default_rng(0))(question).d_us, mine, atol=1e-4)
        assert repr(fresh) == repr(published)


def test_what_is_no_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model in the store"):
        posterior_methods("nothing", tmp_path)


def test_an_unfinished_run_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="train-posterior"):
        publish_run(ModelStore(tmp_path / "store"), tmp_path, [])


def test_the_command_line_evaluates_and_says_what_is_wrong(tmp_path: Path) -> None:
    small = ["--events", "60", "--test-events", "40", "--questions", "reference", "--runs", str(tmp_path)]
    done = CliRunner().invoke(cli, ["evaluate", "--methods", "rms width", *small, "--pictures", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    assert "| reference | rms width |" in done.output
    assert len(list((tmp_path / "p").glob("*.svg"))) == 3
    kept = next((tmp_path / "evaluate" / "reference").glob("*.json"))
    assert json.loads(kept.read_text())["questions"]["seed"] == TEST_SEED
    wrong = CliRunner().invoke(cli, ["evaluate", "--methods", "tea leaves", *small])
    assert wrong.exit_code == 1
    assert "boosting + drift time" in wrong.output
