"""A server process over a copy of the published models, for clients written by others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from app.model_registry.loading import LoadedModel, load_version
from app.model_registry.manifest import ModelDraft
from app.model_registry.store import ModelStore
from tests.served import REPOSITORY, served

MODEL = "polarization-crystalline"
ADMIN_KEY = "a-key-for-these-tests"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """The published models; of one there are two versions, and ``latest`` names the second."""
    folder = tmp_path_factory.mktemp("clients") / "model_store"
    shutil.copytree(REPOSITORY / "model_store", folder)
    made = ModelStore(folder)
    first = made.read(MODEL, 1)
    draft = {name: value for name, value in first.manifest.model_dump().items() if name in ModelDraft.model_fields}
    made.publish(ModelDraft(**draft), first.contents)
    return made


@pytest.fixture(scope="module")
def server(store: ModelStore) -> Iterator[str]:
    """``host:port``."""
    with served(store.root, admin_key=ADMIN_KEY, registry_poll_s="0.1") as address:
        yield address


@pytest.fixture(scope="module")
def model(store: ModelStore) -> LoadedModel:
    """The same model in this process."""
    return load_version(store.read(MODEL, 1))


@pytest.fixture(scope="module")
def models(store: ModelStore) -> dict[str, LoadedModel]:
    """What each model of the store serves, in this process."""
    return {name: load_version(store.read(name, store.version_number(name))) for name in store.names()}
