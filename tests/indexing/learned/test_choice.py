"""Which versions take part: what the store's aliases name, or what the caller does."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import InvalidInput, ModelUnavailable, NotFound
from app.indexing.learned.choice import ManifestOf, default_models, manifests_in, named_models
from app.indexing.learned.parts import PARTS
from app.indexing.problem import UsedModel
from app.model_registry.store import ModelStore
from tests.indexing_learned import publish_probability

NAME = "indexing-probability"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Two versions of the probability, of which the first is stable, and a model of another job."""
    made = ModelStore(tmp_path / "store")
    publish_probability(made, 0.5)
    publish_probability(made, 0.5, promote=False)
    publish_probability(made, 0.5, name="waveform-s2", family="waveform/posterior-network")
    return made


@pytest.fixture
def manifest_of(store: ModelStore) -> ManifestOf:
    return manifests_in(store)


def test_where_nothing_is_said_every_part_has_its_stable_version(store: ModelStore, manifest_of: ManifestOf) -> None:
    assert default_models(store.names(), manifest_of) == ((UsedModel(NAME, 1, "stable"),), ())
    store.promote(NAME, 2)
    assert default_models(store.names(), manifest_of)[0] == (UsedModel(NAME, 2, "stable"),)


def test_a_model_under_another_name_is_not_taken_by_itself(store: ModelStore, manifest_of: ManifestOf) -> None:
    publish_probability(store, 0.5, name="indexing-probability-mine")
    assert [one.name for one in default_models(store.names(), manifest_of)[0]] == [NAME]
    (mine,) = named_models(["indexing-probability-mine"], manifest_of)
    assert mine.version == 1


def test_one_that_should_take_part_and_cannot_is_told(store: ModelStore, manifest_of: ManifestOf) -> None:
    store.unload(NAME)
    models, (warning,) = default_models(store.names(), manifest_of)
    assert models == ()
    assert NAME in warning
    assert "unloaded" in warning


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (NAME, UsedModel(NAME, 1, "stable")),
        (f"{NAME}:2", UsedModel(NAME, 2)),
        (f"{NAME}:latest", UsedModel(NAME, 2, "latest")),
    ],
)
def test_a_model_is_named_with_or_without_a_version(manifest_of: ManifestOf, asked: str, found: UsedModel) -> None:
    assert named_models([asked], manifest_of) == (found,)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        (["Indexing Probability"], "name:version"),
        ([f"{NAME}:"], "name:version"),
        ([f"{NAME}:0"], "name:version"),
        ([f"../{NAME}"], "name:version"),
        ([NAME, f"{NAME}:2"], "named twice"),
        (["waveform-s2"], "of family 'waveform/posterior-network'"),
    ],
)
def test_what_cannot_take_part_is_refused(manifest_of: ManifestOf, asked: list[str], hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint) as caught:
        named_models(asked, manifest_of)
    field = caught.value.details["field"]
    assert field == ["models", len(asked) - 1]


def test_a_part_that_the_search_does_not_ask_takes_no_part(store: ModelStore, manifest_of: ManifestOf) -> None:
    family, part = next((family, part) for family, part in PARTS.items() if not part.earns)
    publish_probability(store, 0.5, name=part.name, family=family)
    assert [one.name for one in default_models(store.names(), manifest_of)[0]] == [NAME]
    with pytest.raises(InvalidInput, match=f"is of family '{family}'"):
        named_models([part.name], manifest_of)


def test_two_models_for_one_part_are_refused(store: ModelStore, manifest_of: ManifestOf) -> None:
    publish_probability(store, 0.5, name="mine")
    with pytest.raises(InvalidInput, match="2 models for probability"):
        named_models([NAME, "mine"], manifest_of)


@pytest.mark.parametrize("asked", ["indexing-nothing", f"{NAME}:3", f"{NAME}:night"])
def test_what_does_not_exist_is_not_found(manifest_of: ManifestOf, asked: str) -> None:
    with pytest.raises(NotFound):
        named_models([asked], manifest_of)


def test_an_unloaded_model_cannot_be_named(store: ModelStore, manifest_of: ManifestOf) -> None:
    store.unload(NAME)
    with pytest.raises(ModelUnavailable):
        named_models([NAME], manifest_of)


def test_a_store_that_is_not_there_has_no_parts(tmp_path: Path) -> None:
    nowhere = ModelStore(tmp_path / "nowhere")
    assert default_models(nowhere.names(), manifests_in(nowhere)) == ((), ())
