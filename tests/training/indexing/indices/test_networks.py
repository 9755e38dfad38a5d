"""Training of index networks, and the comparison with assignments that need none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import InvalidInput
from app.indexing.learned.indices import INPUT, OUTPUT, from_model
from app.model_registry.loading import load_version
from app.model_registry.store import ModelStore
from training.indexing.indices.evaluate import (
    compared,
    fitted_width,
    nearest_answer,
    scores,
    seen_shares,
    width_answer,
)
from training.indexing.indices.networks import (
    LEVELS,
    IndexArgs,
    Lesson,
    School,
    build,
    finished_levels,
    make_school,
    plain_from_keras,
    read_network,
    read_school,
    train,
)
from training.indexing.indices.publish import publish_level
from training.indexing.indices.rows import IndexRows, random_rows

ARGS = IndexArgs("cubic", layers=(12, 8), epochs=1, batch_size=32, foreign=0.0, sigma_deg=0.0)


def rows(seed: int, count: int = 80) -> IndexRows:
    return random_rows("cubic", count, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def school() -> School:
    return make_school(ARGS, rows(1), rows(2))


@pytest.fixture(scope="module")
def run(school: School, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indices")
    train(school, folder, ("0.01",))
    return folder


def exact(school: School) -> Lesson:
    """The true cells and the lines as they are."""
    lesson = school.lesson("0.01", validation=True)
    return replace(lesson, level=replace(LEVELS["0.01"], noise=0.0))


def test_the_plain_form_answers_as_keras_does() -> None:
    network = build(ARGS, 10, 30)
    given = np.random.default_rng(0).random((5, 10, 30)).astype(np.float32)
    expected = np.asarray(network(given, training=False)[OUTPUT])
    np.testing.assert_allclose(plain_from_keras(network)({INPUT: given})[OUTPUT], expected, rtol=1e-4, atol=1e-5)


def test_the_network_has_the_sources_size() -> None:
    network = build(IndexArgs("cubic"), 20, 500)
    shared = 500 * 200 + 2 * 200 * 200 + 200 * 100 + 3 * (3 * 200 + 100)
    assert network.count_params() == shared + 20 * (100 + 1) * 501


def test_with_the_true_cell_the_nearest_reflection_is_always_right(school: School) -> None:
    found = scores(exact(school), nearest_answer)
    assert found.accuracy > 0.995
    assert found.calibration_error < 0.01


def test_errors_of_the_cell_make_the_nearest_reflection_wrong_more_and_more(school: School) -> None:
    accuracy = [
        scores(school.lesson(level, validation=True), nearest_answer).accuracy for level in ("0.10", "0.025", "0.01")
    ]
    assert accuracy[0] < accuracy[1] < accuracy[2]


def test_a_width_gives_probabilities(school: School) -> None:
    lesson = school.lesson("0.05", validation=True)
    x, q2 = lesson.seen(np.arange(4), np.random.default_rng(0))
    found = width_answer(0.02, 0.1)(q2[:, :, None] - (x @ lesson.design.T)[:, None, :], q2)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found[:, :, -1], 0.1, rtol=1e-6)


def test_knowing_which_reflections_are_seen_helps(school: School) -> None:
    learned, asked = school.lesson("0.05"), school.lesson("0.05", validation=True)
    seen, width = seen_shares(learned), fitted_width(learned)
    assert np.all((seen > 0) & (seen < 1))
    # 111 is a line of F and P lattices, 210 of P alone.
    index = {int(n): i for i, n in enumerate((school.hkl**2).sum(axis=1))}
    assert seen[index[3]] > seen[index[5]]
    better, plain = (scores(asked, width_answer(*width, share)).log_loss for share in (seen, 1.0))
    assert better < plain


def test_a_run_is_read_as_it_was_written_and_not_trained_again(run: Path, school: School) -> None:
    assert finished_levels(run) == ("0.01",)
    before = {file: file.stat().st_mtime_ns for file in run.glob("*.npz")}
    plain = train(school, run, ("0.01",))["0.01"]
    assert {file: file.stat().st_mtime_ns for file in run.glob("*.npz")} == before
    network = read_network(run / "0.01.npz", "cubic")
    given = {INPUT: np.random.default_rng(0).random((2, 10, 100)).astype(np.float32)}
    np.testing.assert_array_equal(network.run(given)[OUTPUT], plain(given)[OUTPUT])
    np.testing.assert_array_equal(network.hkl, school.hkl)


def test_a_run_tells_what_it_was(run: Path, school: School) -> None:
    found = read_school(run, rows(1), rows(2))
    assert found.args == ARGS
    np.testing.assert_array_equal(found.hkl, school.hkl)
    asked = compared(found, run, rows(4, 40))
    assert {level for level, _ in asked} == {"0.01"}
    assert asked["0.01", "nearest"].accuracy > 0.8


@pytest.mark.slow
def test_each_level_goes_on_from_the_one_before(school: School, tmp_path: Path) -> None:
    found = train(school, tmp_path, ("0.05", "0.01"))
    fresh = plain_from_keras(build(ARGS, 10, len(school.hkl)))
    moved = [np.abs(one.heads - found["0.05"].heads).mean() for one in (found["0.01"], fresh)]
    assert 0 < moved[0] < moved[1]


@pytest.mark.slow
def test_a_published_network_answers_as_its_run_does(run: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    done = publish_level(store, run, "0.01", "train")
    loaded = from_model(load_version(store.read(done.name, done.version)))
    here, cells = read_network(run / "0.01.npz", "cubic"), np.array([[0.04], [0.05]])
    q2 = np.sort(np.random.default_rng(0).random((2, 10)), axis=1)
    np.testing.assert_allclose(
        loaded.probabilities("cF", cells, q2), here.probabilities("cF", cells, q2), rtol=1e-3, atol=1e-6
    )
    with pytest.raises(InvalidInput, match=r"finished: 0\.01"):
        publish_level(store, run, "0.05", "train")


def test_a_system_without_patterns_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 training"):
        make_school(ARGS, rows(1).take(slice(0)), rows(2))
