"""Scores of low-order assignments: sums over pairs, an order that the search follows, misfits refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import pytest

from app.crystallography.lattice import LATTICES
from app.errors import ModelRefused
from app.indexing.learned.template_features import N_FEATURES
from app.indexing.learned.templates import FAMILY, INPUT, TemplateScores, from_model, lists_digest, pairs_of
from app.indexing.search.generator import Effort
from app.indexing.search.listed import Listed
from app.indexing.search.low_order import LowOrder, assignments_of
from app.indexing.search.observed import Observed, observed_from
from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import Manifest, TensorSpec
from tests.indexing.search.lattice_lines import has_cell
from tests.indexing.synthetic import LIMITS, pattern, terms_of

Values = Callable[[str], np.ndarray]


def _scores(values: Values, *lattices: str) -> TemplateScores:
    def network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs[INPUT].shape == (1, N_FEATURES)
        return {name: values(name)[None].astype(np.float32) for name in lattices}

    return TemplateScores(network, frozenset(lattices))


def _nothing(bravais: str) -> np.ndarray:
    return np.zeros(len(pairs_of(bravais).line))


def _random(bravais: str) -> np.ndarray:
    return np.random.default_rng(4).normal(size=len(pairs_of(bravais).line))


def _observed(bravais: str) -> Observed:
    return observed_from(pattern(bravais), max_peaks=40)


@pytest.mark.parametrize("bravais", LATTICES)
def test_pairs_are_the_rows_of_the_list(bravais: str) -> None:
    table, pairs = assignments_of(bravais), pairs_of(bravais)
    np.testing.assert_array_equal(pairs.line[pairs.rows].T, table.lines)
    np.testing.assert_array_equal(pairs.ref[pairs.rows].T, table.refs)


def test_a_network_that_says_nothing_leaves_the_list_as_it_is() -> None:
    rows, worth = _scores(_nothing, "mP").ranked("mP", _observed("mP"), 500)
    np.testing.assert_array_equal(rows, np.arange(500))
    assert (np.diff(worth) <= 0).all()
    taught, plain = (
        Listed(0, 800).propose("mP", _observed("mP"), LIMITS, Effort(templates=templates))
        for templates in (_scores(_nothing, "mP"), None)
    )
    np.testing.assert_array_equal(taught.x, plain.x)


def test_scores_are_sums_over_pairs() -> None:
    pairs, values = pairs_of("oP"), _random("oP")
    np.testing.assert_allclose(
        _scores(_random, "oP").scores("oP", _observed("oP")), values[pairs.rows].sum(axis=0) + pairs.prior, atol=1e-4
    )


@pytest.mark.parametrize("last", [1, 300, 10**9])
def test_the_best_come_first(last: int) -> None:
    templates, observed = _scores(_random, "oP"), _observed("oP")
    score = templates.scores("oP", observed)
    rows, worth = templates.ranked("oP", observed, last)
    np.testing.assert_array_equal(worth, np.sort(score)[::-1][:last])
    np.testing.assert_array_equal(score[rows], worth)


def test_what_the_network_is_sure_of_is_solved_first() -> None:
    pairs = pairs_of("mP")
    wanted = int(pairs.rows[2, 70_000])

    def sure(_: str) -> np.ndarray:
        return np.where(np.arange(len(pairs.line)) == wanted, 50.0, 0.0)

    rows, _ = _scores(sure, "mP").ranked("mP", _observed("mP"), 20)
    assert (pairs.rows[:, rows] == wanted).any(axis=0).all()


def test_parts_of_an_order_are_the_order() -> None:
    effort, observed = Effort(keep=10**6, templates=_scores(_random, "tP")), _observed("tP")
    parts = [
        Listed(first, last, keep=10**6).propose("tP", observed, LIMITS, effort)
        for first, last in ((0, 300), (300, 1000))
    ]
    whole = Listed(0, 1000, keep=10**6).propose("tP", observed, LIMITS, effort)
    assert sum(part.n_tried for part in parts) == whole.n_tried == 1000
    assert {tuple(x) for part in parts for x in part.x} == {tuple(x) for x in whole.x}


def test_lattices_are_found_whether_the_network_knows_them_or_not() -> None:
    effort = Effort(templates=_scores(_nothing, "mP"))
    found = {name: LowOrder().propose(name, _observed(name), LIMITS, effort) for name in ("mP", "tP")}
    for name, proposal in found.items():
        assert has_cell(name, proposal.x, terms_of(name))


def test_the_network_is_asked_once_for_a_pattern() -> None:
    asked = []

    def values(bravais: str) -> np.ndarray:
        asked.append(bravais)
        return _nothing(bravais)

    templates = _scores(values, "oP", "mP")
    for bravais in ("oP", "mP"):
        templates.scores(bravais, _observed("aP"))
    assert asked == ["oP", "mP"]
    templates.scores("oP", _observed("aP").shifted(0.05))
    assert len(asked) == 4


def _model(digest: str, n_pairs: int) -> LoadedModel:
    tensors = (TensorSpec(name=INPUT, shape=(None, N_FEATURES)),), (TensorSpec(name="oP", shape=(None, n_pairs)),)
    manifest = Manifest(
        name="indexing-templates",
        family=FAMILY,
        description="for a test",
        parameters={"lists_sha256": digest},
        inputs=tensors[0],
        outputs=tensors[1],
        version=1,
        created=datetime.now(UTC),
        files={},
    )

    def network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"oP": np.zeros((len(inputs[INPUT]), n_pairs), np.float32)}

    return LoadedModel(manifest, network, {})


def test_a_model_of_these_lists_is_taken() -> None:
    templates = from_model(_model(lists_digest(), len(pairs_of("oP").line)))
    assert templates.lattices == {"oP"}
    np.testing.assert_array_equal(templates.ranked("oP", _observed("oP"), 50)[0], np.arange(50))


@pytest.mark.parametrize(("digest", "more"), [("0" * 64, 0), (lists_digest(), 1)])
def test_a_model_of_other_lists_is_refused(digest: str, more: int) -> None:
    with pytest.raises(ModelRefused, match="train and publish it again"):
        from_model(_model(digest, len(pairs_of("oP").line) + more))
