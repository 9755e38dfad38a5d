"""Fitting the probability of a ranked cell: the loss and its slope, splits, and the way into the store and back."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad
from typer.testing import CliRunner

from app.errors import ModelRefused
from app.indexing.learned.probability import ScoredProbability, apart_with_none, from_model, softmax_with_none
from app.indexing.learned.probability_features import FEATURES
from app.model_registry.loading import LoadedModel, load_version
from app.model_registry.manifest import Feature, ModelDraft
from app.model_registry.store import ModelStore
from tests import indexing_results
from training.indexing.__main__ import cli
from training.indexing.outcomes.answers import Case, Outcome, content_of
from training.indexing.outcomes.conditions import Conditions
from training.indexing.outcomes.sources import Truth
from training.indexing.probability.card import comparison_table, evidence_table
from training.indexing.probability.commands import unlike
from training.indexing.probability.data import NO_ANSWER, Answers, folds_of
from training.indexing.probability.fit import (
    chosen_method,
    compared,
    cross_validated,
    fit_published,
    judged,
)
from training.indexing.probability.methods import (
    METHODS,
    SCORED,
    apart,
    fit_softmax,
    listwise_loss,
    shared,
    softmax,
    today,
)
from training.publish import publish

LOG_ODDS = FEATURES.index("log_odds")


def made(count: int = 200, seed: int = 0) -> Answers:
    """Answers of five cells, some of none; the right one has more evidence and more of a telling feature."""
    rng = np.random.default_rng(seed)
    cells = np.where(np.arange(count) % 20 == 7, 0, 5)
    answer = np.repeat(np.arange(count), cells)
    right = np.zeros(len(answer), bool)
    for i in np.flatnonzero((cells > 0) & (np.arange(count) % 5 != 0)):
        right[np.flatnonzero(answer == i)[rng.integers(3)]] = True
    features = rng.normal(size=(len(answer), len(FEATURES)))
    features[:, LOG_ODDS] = 10 + 4 * rng.normal(size=len(answer)) + 6 * right
    features[:, FEATURES.index("log_m20")] += 2 * right
    return Answers(features, right, answer, np.arange(count) // 2, tuple(str(i) for i in range(count)))


ANSWERS = made()


def test_cells_of_an_answer_share_as_the_service_does() -> None:
    scores = ANSWERS.features[:, 3]
    found = softmax(scores, 0.4, ANSWERS)
    for i in (0, 7, 11):
        own = ANSWERS.answer == i
        assert found[own] == pytest.approx(softmax_with_none(scores[own], 0.4)[:-1])


def test_cells_apart_share_as_the_service_does() -> None:
    scores = ANSWERS.features[:, 3]
    found = apart(scores, 0.4, ANSWERS)
    for i in (0, 7, 11):
        assert found[ANSWERS.answer == i] == pytest.approx(apart_with_none(scores[ANSWERS.answer == i], 0.4)[:-1])


def test_slope_of_the_loss() -> None:
    start = np.random.default_rng(1).normal(size=len(ANSWERS.right))

    def loss(parameters: np.ndarray) -> float:
        return listwise_loss(parameters[0] * start + parameters[1] * ANSWERS.features[:, 5], parameters[2], ANSWERS)[0]

    def slope(parameters: np.ndarray) -> np.ndarray:
        scores = parameters[0] * start + parameters[1] * ANSWERS.features[:, 5]
        _, by_score, by_none = listwise_loss(scores, parameters[2], ANSWERS)
        return np.array([by_score @ start, by_score @ ANSWERS.features[:, 5], by_none])

    assert check_grad(loss, slope, np.array([0.3, -0.2, 0.5])) < 1e-5


def test_a_fit_recovers_the_weights_that_made_the_truth() -> None:
    rng = np.random.default_rng(3)
    count, weight, none = 6000, 1.5, 0.7
    columns = rng.normal(size=(3 * count, 1))
    draw = rng.gumbel(size=(count, 4)) + np.column_stack([weight * columns.reshape(count, 3), np.full(count, none)])
    right = (draw.argmax(axis=1)[:, None] == np.arange(3)).ravel()
    answers = Answers(np.empty((3 * count, 0)), right, np.repeat(np.arange(count), 3), np.arange(count))
    weights, found = fit_softmax(columns, answers, 0.0, np.zeros(1))
    assert (weights[0], found) == pytest.approx((weight, none), abs=0.1)


def test_groups_stay_on_one_side() -> None:
    fold = folds_of(ANSWERS.group, 5, np.random.default_rng(0))
    assert all(len(set(fold[ANSWERS.group == group])) == 1 for group in ANSWERS.group)
    assert np.bincount(fold).min() >= 30


def test_some_of_the_answers() -> None:
    which = np.arange(ANSWERS.count) % 3 == 0
    some = ANSWERS.of(which)
    assert some.count == which.sum()
    assert some.names == tuple(np.array(ANSWERS.names)[which])
    assert (some.found == ANSWERS.found[which]).all()


def test_first_cells() -> None:
    first = ANSWERS.first(ANSWERS.log_odds)
    assert first[7] == NO_ANSWER
    own = np.flatnonzero(ANSWERS.answer == 3)
    assert first[3] == own[np.argmax(ANSWERS.log_odds[own])]


def test_of_equal_cells_the_earlier_is_first() -> None:
    first = ANSWERS.first(np.zeros(len(ANSWERS.right)))
    assert first[3] == np.flatnonzero(ANSWERS.answer == 3)[0]


def test_a_telling_feature_beats_the_evidence_alone() -> None:
    methods = {name: METHODS[name] for name in ("evidence / 3", "temperature", "conditional softmax")}
    results = compared(ANSWERS, methods)
    assert results[0].method == "conditional softmax"
    assert results[0].right_by_probability > results[0].right_by_evidence
    assert results[0].first.brier < next(one for one in results if one.method == "evidence / 3").first.brier
    assert chosen_method(results) == "conditional softmax"
    assert "conditional softmax" in comparison_table(results)
    assert "held" in evidence_table({"held": results[0]})


@pytest.mark.parametrize("name", ["isotonic", "logistic", "boosting", "boosting softmax", "boosting apart"])
def test_methods_give_probabilities(name: str) -> None:
    found = cross_validated(METHODS[name], ANSWERS, folds=2)
    assert ((found >= 0) & (found <= 1)).all()
    scores = judged(name, found, ANSWERS)
    assert scores.cell_loss < judged("", np.full(len(found), 0.2), ANSWERS).cell_loss


def test_evidence_over_three_is_what_the_solver_says_without_a_model() -> None:
    found = today(ANSWERS, np.random.default_rng(0))(ANSWERS)
    own = np.flatnonzero(ANSWERS.answer == 1)
    share = np.exp(ANSWERS.log_odds[own] / 3)
    assert found[own] == pytest.approx(share / (1 + share.sum()))


def published(tmp_path: Path, part: ScoredProbability, **changed: Any) -> LoadedModel:
    draft = ModelDraft(
        name="indexing-probability",
        family="indexing/probability",
        description="test",
        features=tuple(
            Feature(name=name, unit="1", min=float(low), max=float(high))
            for name, low, high in zip(FEATURES, part.low, part.high, strict=True)
        ),
        parameters={
            "weights": dict(zip(SCORED["stacked softmax"].estimates, part.weights, strict=True)),
            "none": part.none,
            "reorders": part.reorders,
        },
    ).model_copy(update=changed)
    estimators = dict(zip(SCORED["stacked softmax"].estimates, part.estimators, strict=True))
    store = ModelStore(tmp_path / "store")
    manifest = publish(store, draft, card="# test", scalers=estimators)
    return load_version(store.read(manifest.name, manifest.version))


def test_what_is_published_answers_as_what_was_fitted(tmp_path: Path) -> None:
    part = fit_published(ANSWERS, "stacked softmax", reorders=True)
    served = from_model(published(tmp_path, part))
    assert served.reorders
    others = made(seed=9)
    assert shared(served, others) == pytest.approx(shared(part, others), abs=1e-9)


def test_a_model_of_other_features_is_refused(tmp_path: Path) -> None:
    part = fit_published(ANSWERS, "stacked softmax", reorders=False)
    with pytest.raises(ModelRefused, match="other features"):
        from_model(published(tmp_path / "1", part, features=(Feature(name="else", unit="1", min=0.0, max=1.0),)))
    with pytest.raises(ModelRefused, match="parameters"):
        from_model(published(tmp_path / "2", part, parameters={}))


def outcomes() -> list[Outcome]:
    """Forty answers of which the first cell of three in four is right."""
    found = []
    for number in range(40):
        result = indexing_results.result()
        odds = [20.0 + number % 4, 5.0 + number % 7]
        cells = tuple(replace(one, log_odds=own) for one, own in zip(result.solutions, odds, strict=True))
        truth = Truth(f"amcsd-{number}", f"amcsd-{number}", "cP", (5.0 + number, 60.0, 60.0, 90.0, 90.0, 90.0))
        case = Case(f"1-{number}", truth, Conditions(), indexing_results.peaks())
        found.append(Outcome(case, replace(result, solutions=cells), (number % 4 > 0, False), "digest"))
    return found


def test_from_kept_outcomes_to_a_published_version(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "part-1.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(content_of(one)) + "\n" for one in outcomes())
    method = ["--method", "conditional softmax", "--drawn", str(tmp_path)]
    files = ["--picture", str(tmp_path / "r.svg"), "--report", str(tmp_path / "r.json"), "--store", str(tmp_path / "s")]
    run = CliRunner().invoke(cli, ["publish-probability", *method, *files, "--promote"])
    assert run.exit_code == 0, run.output
    store = ModelStore(tmp_path / "s")
    part = from_model(load_version(store.read("indexing-probability", 1)))
    assert part.of(outcomes()[1].result).cells.sum() <= 1.0
    card = (tmp_path / "s" / "indexing-probability" / "1" / "CARD.md").read_text()
    assert "40 answers" in card
    assert "evidence / 3" in card
    assert (tmp_path / "r.svg").stat().st_size > 1000
    assert json.loads((tmp_path / "r.json").read_text())["method"] == "conditional softmax"


def test_structures_that_resemble_an_evaluated_one_are_left_out() -> None:
    several = outcomes()
    left = unlike(several, several[:1])
    assert several[0] not in left
    assert several[-1] in left
    assert unlike(several, []) == several
