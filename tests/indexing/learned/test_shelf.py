"""What a worker has at hand: read once, let go when it changes, and an answer whatever is wrong with it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInput, ModelOutputInvalid
from app.indexing.learned import parts, shelf
from app.indexing.learned.models import NOTHING_LEARNED, Learned
from app.indexing.learned.parts import PARTS, Part
from app.indexing.learned.shelf import NOTHING_AT_HAND, AtHand, Shelf, tried
from app.indexing.problem import SolveResult, UsedModel
from app.model_registry.manifest import ModelDraft
from app.model_registry.store import ModelStore, StoredVersion
from tests import indexing_fakes, indexing_results
from tests.indexing_learned import NUMBER, probability_of_each, publish_probability

NAME = "indexing-probability"
FIRST = UsedModel(NAME, 1, "stable")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "store")
    publish_probability(made, 0.5)
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def at(store: ModelStore, clock: Clock) -> Shelf:
    return Shelf(store.root, clock)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions that are read from disk."""
    found: list[int] = []
    load = shelf.load_version

    def loading(stored: StoredVersion) -> Any:
        found.append(stored.manifest.version)
        return load(stored)

    monkeypatch.setattr(shelf, "load_version", loading)
    return found


def solving(learned: Learned) -> SolveResult:
    result = replace(indexing_results.result(), warnings=())
    return result if learned.probability is None else learned.probability.answered(result)


# --- at hand ----------------------------------------------------------------------------------------------------------


def test_the_part_of_a_version_answers(at: Shelf) -> None:
    result = tried(solving, at.at_hand([FIRST]))
    assert result.models == (FIRST,)
    assert result.warnings == ()
    assert [one.probability for one in result.solutions] == pytest.approx([probability_of_each(0.5)] * 2)


def test_a_version_is_read_once(at: Shelf, clock: Clock, reads: list[int]) -> None:
    for _ in range(3):
        at.at_hand([FIRST])
        clock.now_s += 10.0
    assert reads == [1]


def test_parts_stay_made(at: Shelf) -> None:
    assert at.at_hand([FIRST]) is at.at_hand([FIRST])


def test_another_version_is_another_answer(at: Shelf, store: ModelStore) -> None:
    publish_probability(store, 0.9)
    versions = [UsedModel(NAME, version) for version in (1, 2)]
    answers = [tried(solving, at.at_hand([one])).solutions[0].probability for one in versions]
    assert answers == pytest.approx([probability_of_each(0.5), probability_of_each(0.9)])


def test_nothing_wanted_is_nothing_at_hand(at: Shelf, reads: list[int]) -> None:
    assert at.at_hand([]) is NOTHING_AT_HAND
    assert tried(solving, NOTHING_AT_HAND).models == ()
    assert reads == []


def test_few_versions_are_kept(at: Shelf, store: ModelStore, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MOST_VERSIONS", 2)
    monkeypatch.setattr(shelf, "MOST_SETS", 1)
    for _ in range(2):
        publish_probability(store, 0.5)
    for version in (1, 2, 1, 3, 1, 2):
        at.at_hand([UsedModel(NAME, version)])
    assert reads == [1, 2, 3, 2]


def test_a_part_can_be_left_out(at: Shelf) -> None:
    found = at.at_hand([FIRST])
    assert found.without("odds") == found
    assert found.without("probability") == NOTHING_AT_HAND


# --- not at hand ------------------------------------------------------------------------------------------------------


def warning_of(found: AtHand) -> str:
    """The one warning of a search that goes on without its part."""
    assert (found.learned, found.models) == (NOTHING_LEARNED, ())
    assert tried(solving, found).solutions == indexing_results.result().solutions
    (warning,) = found.warnings
    assert warning.startswith(f"the learned part {NAME} version ")
    return warning


def test_a_version_that_is_not_there_is_told(at: Shelf) -> None:
    assert "no version 7" in warning_of(at.at_hand([UsedModel(NAME, 7)]))


def test_a_worker_that_sees_no_store_tells_so(tmp_path: Path) -> None:
    warning = warning_of(Shelf(tmp_path / "elsewhere").at_hand([FIRST]))
    assert "does not see the model store" in warning
    assert str(tmp_path) not in warning
    assert "was not told where" in warning_of(Shelf().at_hand([FIRST]))


def test_a_damaged_version_is_told(at: Shelf, store: ModelStore) -> None:
    (store.root / NAME / "1" / "even.npz").write_bytes(b"x")
    assert "digest" in warning_of(at.at_hand([FIRST]))


def test_an_unloaded_model_is_let_go_and_comes_back(at: Shelf, store: ModelStore, clock: Clock) -> None:
    assert at.at_hand([FIRST]).models == (FIRST,)
    store.unload(NAME)
    clock.now_s += 10.0
    assert "unloaded" in warning_of(at.at_hand([FIRST]))
    store.load(NAME)
    clock.now_s += 10.0
    assert at.at_hand([FIRST]).models == (FIRST,)


def test_a_store_that_comes_back_is_seen(at: Shelf, store: ModelStore, clock: Clock) -> None:
    away = store.root.with_name("away")
    store.root.rename(away)
    assert at.at_hand([FIRST]).warnings
    away.rename(store.root)
    clock.now_s += 10.0
    assert at.at_hand([FIRST]).models == (FIRST,)


def test_a_version_that_is_replaced_on_disk_is_read_anew(
    at: Shelf, store: ModelStore, clock: Clock, reads: list[int]
) -> None:
    at.at_hand([FIRST])
    shutil.rmtree(store.root / NAME)
    publish_probability(store, 0.9)
    clock.now_s += 10.0
    result = tried(solving, at.at_hand([FIRST]))
    assert reads == [1, 1]
    assert result.solutions[0].probability == pytest.approx(probability_of_each(0.9))


def test_a_family_that_the_worker_does_not_know_is_told(at: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PARTS", {})
    assert "of another version" in warning_of(at.at_hand([FIRST]))


def test_a_network_without_its_compiled_form_is_told(at: Shelf, store: ModelStore) -> None:
    draft = ModelDraft(name=NAME, family="indexing/probability", description="A network.", network="model.keras")
    store.publish(draft, {"model.keras": b"never read"})
    assert "no compiled form" in warning_of(at.at_hand([UsedModel(NAME, 2)]))


def test_a_model_that_its_part_refuses_is_told(at: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.indexing.learned.probability.FEATURES", ("other",))
    assert "other features" in warning_of(at.at_hand([FIRST]))


@pytest.mark.parametrize("step", ["from_model", "joined"])
def test_a_part_that_cannot_be_made_is_told(at: Shelf, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def failing(_: Any) -> Any:
        raise ZeroDivisionError

    family = "indexing/probability"
    monkeypatch.setattr(parts, "PARTS", {family: replace(PARTS[family], join="joined")})
    monkeypatch.setattr(f"app.indexing.learned.probability.{step}", failing, raising=False)
    assert "does not work (ZeroDivisionError)" in warning_of(at.at_hand([FIRST]))


def test_what_is_at_hand_takes_part_without_what_is_not(at: Shelf) -> None:
    found = at.at_hand([UsedModel("indexing-odds", 1), FIRST])
    assert found.models == (FIRST,)
    assert found.learned.probability is not None
    assert len(found.warnings) == 1


# --- failing in the middle --------------------------------------------------------------------------------------------


def test_a_part_that_fails_in_the_search_costs_no_answer(at: Shelf) -> None:
    def failing(learned: Learned) -> SolveResult:
        if learned is not NOTHING_LEARNED:
            raise ZeroDivisionError
        return solving(learned)

    result = tried(failing, at.at_hand([FIRST]))
    assert result.solutions == indexing_results.result().solutions
    assert result.models == ()
    assert "failed on these lines" in result.warnings[0]


def test_a_probability_that_fails_costs_no_second_search(at: Shelf, store: ModelStore) -> None:
    version = publish_probability(store, 0.5, estimator=NUMBER)
    searches: list[Learned] = []

    def counted(learned: Learned) -> SolveResult:
        searches.append(learned)
        return solving(learned)

    result = tried(counted, at.at_hand([UsedModel(NAME, version)]))
    assert len(searches) == 1
    assert result.solutions == indexing_results.result().solutions
    assert result.models == ()
    assert "failed on these lines" in result.warnings[0]


def test_what_the_solver_refuses_is_refused(at: Shelf) -> None:
    def refusing(learned: Learned) -> SolveResult:
        raise InvalidInput("these are no lines")

    for found in (NOTHING_AT_HAND, at.at_hand([FIRST])):
        with pytest.raises(InvalidInput, match="these are no lines"):
            tried(refusing, found)


def test_a_network_that_gives_no_number_is_an_error() -> None:
    def saying(value: float) -> Mapping[str, np.ndarray]:
        return shelf._Finite(lambda inputs: {"y": np.array([value])}, "odds")({})

    assert saying(1.0)["y"] == [1.0]
    with pytest.raises(ModelOutputInvalid, match="not finite"):
        saying(np.nan)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", PARTS)
def test_every_family_has_its_part(family: str) -> None:
    part = PARTS[family]
    module = importlib.import_module(part.module)
    assert family == module.FAMILY
    assert callable(module.from_model)
    assert not part.join or callable(getattr(module, part.join))
    assert part.field in Learned.__dataclass_fields__


def test_a_part_of_several_models_takes_those_whose_names_begin_alike() -> None:
    one, several = Part("odds", "indexing-odds", "m"), Part("regression", "indexing-regression", "m", join="joined")
    assert [one.takes(name) for name in ("indexing-odds", "indexing-odds-ap", "indexing")] == [True, False, False]
    assert [several.takes(name) for name in ("indexing-regression-ap", "indexing-regressions")] == [True, False]


def test_the_fake_solver_asks_the_probability(at: Shelf) -> None:
    peaks, options = indexing_results.peaks(), indexing_fakes.SolveOptions()
    result = tried(lambda learned: indexing_fakes.solve(peaks, options, learned=learned), at.at_hand([FIRST]))
    assert result.solutions[0].probability == pytest.approx(probability_of_each(0.5))
