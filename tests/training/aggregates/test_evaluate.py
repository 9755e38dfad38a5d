"""Facts of the evaluation: unseen patterns, results that are kept, and declarations that are wrong on purpose."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from training.aggregates import evaluate as evaluation
from training.aggregates import methods
from training.aggregates.args import DataArgs
from training.aggregates.baselines import FeatureMethod, Majority, boosting, total_intensity
from training.aggregates.cases import CASES, case_named, unseen_sample
from training.aggregates.curves import curve_table, learning_curves
from training.aggregates.evaluate import EDGES, case_table, comparable, evaluate, shift_table, slice_table, stored
from training.aggregates.methods import Answer, Classifier, Question, Sample, answer_all, method_key, sample
from training.aggregates.pictures import draw_curves, draw_report
from training.aggregates.settings import SIMULATIONS

DATA = DataArgs("reference-r5", images=60, validation_images=10)


@dataclass(frozen=True)
class Knowing:
    """Fits by remembering how often it was asked to, and answers 2 for all; abstains from every other pattern."""

    name: str = "knowing"
    fits: list[int] = field(default_factory=list, hash=False, compare=False, repr=False)

    def fit(self, train: Sample, validation: Sample, seed: int) -> Classifier:
        self.fits.append(len(train))
        return self

    def predict_proba(self, question: Question) -> Answer:
        probability = np.tile([0.1, 0.6, 0.1, 0.1, 0.1], (len(question), 1))
        return Answer(probability, np.arange(len(question)) % 2 == 0)


def test_no_test_pattern_is_among_those_to_learn_from() -> None:
    parts = [sample("reference-r5", part, 30, 0).truth.counts for part in ("train", "validation", "test")]
    parts.append(unseen_sample(CASES["r6-told-5"], 30, 0).truth.counts)
    digests = [{c.tobytes() for c in part} for part in parts]
    assert len(set.union(*digests)) == 4 * 30


def test_a_larger_training_set_begins_with_the_smaller_one() -> None:
    small, large = (sample("reference-r5", "train", n, 4) for n in (20, 50))
    np.testing.assert_array_equal(large.first(20).truth.counts, small.truth.counts)
    assert large.first(20).question.settings == small.question.settings


def test_every_simulation_is_a_case_that_is_declared_as_it_is() -> None:
    assert set(SIMULATIONS) <= set(CASES)
    for name in ("reference-r3-7", "beam-stop-8", "spheres"):
        drawn = unseen_sample(case_named(name), 12, 0)
        said = drawn.question.settings
        np.testing.assert_allclose([s.radius_px for s in said], drawn.truth.radius_px)
        np.testing.assert_allclose([s.beam_stop_px for s in said], drawn.truth.beam_stop_px)
        assert {s.particle for s in said} == {SIMULATIONS[name].particle}
        np.testing.assert_array_equal(drawn.question.mask, drawn.truth.mask)


def test_wrong_declarations_differ_in_what_they_name_alone() -> None:
    told, true = (unseen_sample(CASES[name], 12, 0) for name in ("r6-told-5", "r6"))
    np.testing.assert_array_equal(told.truth.counts, true.truth.counts)
    assert {s.radius_px for s in told.question.settings} == {5.0}
    assert {s.radius_px for s in true.question.settings} == {6.0}
    stop = unseen_sample(CASES["beam-stop-8-told-3"], 3, 0)
    seen_but_empty = stop.question.mask & ~stop.truth.mask
    assert seen_but_empty.any()
    assert (stop.question.counts[seen_but_empty] == 0).all()
    assert unseen_sample(CASES["jitter-untold"], 3, 0).question.centre_px is None


def test_an_unknown_case_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="spheres-told-discs"):
        case_named("spheres-told-disks")


def test_what_is_done_is_read_and_not_done_again(tmp_path: Path) -> None:
    method = Knowing()
    first = evaluate([method], DATA, ["reference-r5"], tmp_path, images=20, progress=False)
    both = evaluate([method], DATA, ["reference-r5", "r6"], tmp_path, images=20, progress=False)
    again = evaluate([method], DATA, ["reference-r5", "r6"], tmp_path, images=20, progress=False)
    assert method.fits == [60, 60]
    assert first[0].scores == both[0].scores
    assert [r.scores for r in again] == [r.scores for r in both]
    assert sorted(r.case for r in stored(tmp_path)) == ["r6", "reference-r5"]


def test_what_another_simulator_gave_is_not_taken_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Knowing()
    evaluate([method], DATA, ["r6"], tmp_path, images=20, progress=False)
    brighter = {**SIMULATIONS, "r6": replace(SIMULATIONS["r6"], photons=(1e6, 3e6))}
    for module in (methods, evaluation):
        monkeypatch.setattr(module, "SIMULATIONS", brighter)
    methods.fingerprint.cache_clear()
    assert stored(tmp_path) == []
    evaluate([method], DATA, ["r6"], tmp_path, images=20, progress=False)
    assert len(method.fits) == 2
    assert [r.case for r in stored(tmp_path)] == ["r6"]
    methods.fingerprint.cache_clear()


def test_a_result_tells_its_scores_without_the_code_that_made_it(tmp_path: Path) -> None:
    (found,) = evaluate([Knowing()], DATA, ["reference-r5"], tmp_path, images=250, progress=False)
    file = next(tmp_path.rglob("*.json"))
    said = json.loads(file.read_text("utf-8"))
    assert said["scores"]["accuracy"] == pytest.approx(0.2)  # each number is equally frequent
    assert said["scores"]["answered"] == 0.5
    assert np.array(said["confusion"])[:, 1].tolist() == [50] * 5
    assert sum(s["images"] for s in said["slices"]["photons"]) == 250
    assert found.scores.accuracy == said["scores"]["accuracy"]


def test_interrupted_and_whole_evaluations_agree(tmp_path: Path) -> None:
    method = FeatureMethod("total", total_intensity, boosting)
    cases = ["reference-r5", "photons-3e3-3e4"]
    whole = evaluate([method, Majority()], DATA, cases, tmp_path / "whole", images=20, progress=False)
    evaluate([method], DATA, cases[:1], tmp_path / "parts", images=20, progress=False)
    parts = evaluate([method, Majority()], DATA, cases, tmp_path / "parts", images=20, progress=False)
    for one, other in zip(whole, parts, strict=True):
        assert (one.method, one.case) == (other.method, other.case)
        np.testing.assert_array_equal(one.outcome.probability, other.outcome.probability)


def test_a_changed_setting_of_a_method_is_another_result() -> None:
    def other(seed: int) -> object:
        return boosting(seed).set_params(max_iter=7)

    assert method_key(FeatureMethod("a", total_intensity, boosting)) != method_key(
        FeatureMethod("a", total_intensity, other)
    )


def test_methods_are_compared_on_what_they_were_trained_for(tmp_path: Path) -> None:
    """On a shift those trained on the reference stand beside each other; of several sizes the largest."""
    for setting, images in (("reference-r5", 20), ("reference-r5", 60), ("spheres", 60)):
        data = DataArgs(setting, images=images, validation_images=10)
        evaluate([Majority()], data, ["reference-r5", "spheres", "r6"], tmp_path, images=10, progress=False)
    found = {(r.case, r.training.rsplit("-", 1)[0]) for r in comparable(stored(tmp_path))}
    assert found == {
        ("reference-r5", "reference-r5-60-seed0"),
        ("r6", "reference-r5-60-seed0"),
        ("spheres", "spheres-60-seed0"),
    }


def test_two_methods_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must differ"):
        evaluate([Majority(), Majority()], DATA, ["r6"], tmp_path, images=5)


def test_tables_and_pictures_hold_every_method(tmp_path: Path) -> None:
    results = evaluate([Majority(), Knowing()], DATA, ["reference-r5", "r6"], tmp_path, images=25, progress=False)
    one = [r for r in results if r.case == "reference-r5"]
    for table in (case_table(one), shift_table(results), *(slice_table(one, by) for by in EDGES)):
        assert "majority" in table
        assert "knowing" in table
        assert len({line.count(" | ") for line in table.splitlines()}) == 1
    assert "answers 0.520" in shift_table(results)
    draw_report(one, "knowing", tmp_path / "report.svg")
    svg = (tmp_path / "report.svg").read_text("utf-8")
    assert "knowing" in svg
    draw_report(one, "knowing", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text("utf-8") == svg


def test_a_learning_curve_has_a_point_for_each_size(tmp_path: Path) -> None:
    curves = learning_curves([Majority()], DATA, [20, 10], tmp_path, images=250, progress=False)
    assert list(curves["majority"]) == [10, 20]
    assert all(accuracy == pytest.approx(0.2) for accuracy, _ in curves["majority"].values())
    assert "| majority | 0.2000 | 0.2000 |" in curve_table(curves)
    draw_curves(curves, "a title", tmp_path / "curve.svg")
    assert "a title" in (tmp_path / "curve.svg").read_text("utf-8")


def test_who_never_abstains_answers_all() -> None:
    assert answer_all(np.full((3, 5), 0.2)).answered.all()
