"""A model taken out of service stays out, in every process, until it is loaded again."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.errors import Conflict, ModelRefused, ModelUnavailable, NotFound
from app.model_registry.registry import Registry
from app.model_registry.store import LOCK_FILE, ModelStore
from tests.model_registry.conftest import Publish

NOBODY = 65534


@pytest.fixture
def registry(store: ModelStore, publish: Publish) -> Registry:
    publish()
    publish(largest=3.0)
    opened = Registry(store)
    opened.refresh()
    return opened


def states(registry: Registry) -> list[tuple[str, str]]:
    return [(state.state, state.reason) for state in registry.status()]


def test_an_unloaded_model_answers_nothing_until_it_is_loaded(registry: Registry) -> None:
    registry.resolve("decay", 2)
    registry.unload("decay")
    assert states(registry) == [("unloaded", "unloaded")] * 2
    for ref in (None, "latest", 1, "2"):
        with pytest.raises(ModelUnavailable, match="unloaded"):
            registry.resolve("decay", ref)
    with pytest.raises(NotFound):
        registry.resolve("decay", 9)
    assert registry.describe("decay").manifest.version == 1
    registry.load("decay")
    assert states(registry) == [("ready", "")] * 2
    assert registry.resolve("decay").version == 1


def test_unloading_and_loading_twice_is_as_once(registry: Registry) -> None:
    registry.load("decay")
    for _ in range(2):
        registry.unload("decay")
    for _ in range(2):
        registry.load("decay")
    assert registry.resolve("decay", 2).version == 2


def test_other_registries_over_the_store_follow_and_a_new_one_keeps_to_it(
    registry: Registry, store: ModelStore
) -> None:
    other = Registry(store, poll_s=0.02)
    other.start()
    try:
        registry.unload("decay")
        _wait_for(other, "unloaded")
        restarted = Registry(store)
        restarted.refresh()
        assert states(restarted)[0][0] == "unloaded"
        registry.load("decay")
        _wait_for(other, "ready")
    finally:
        other.stop()


def _wait_for(registry: Registry, state: str) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if registry.status()[0].state == state:
            return
        pause.wait(0.02)
    raise AssertionError(f"{state} was expected within a minute, {registry.status()} was found")


def test_loading_sees_new_versions_at_once(registry: Registry, store: ModelStore, publish: Publish) -> None:
    registry.unload("decay")
    publish(largest=4.0, promote=("stable",))
    assert store.model("decay").unloaded
    registry.load("decay")
    assert registry.resolve("decay").parameters["largest"] == 4.0


def test_a_version_that_fails_its_check_is_reported_and_tried_again(registry: Registry, store: ModelStore) -> None:
    scaler = store.root / "decay" / "1" / "scaler_y.pkl"
    sound = scaler.read_bytes()
    registry.unload("decay")
    scaler.write_bytes(b"x" * len(sound))
    with pytest.raises(ModelRefused, match=r"scaler_y\.pkl differs"):
        registry.load("decay")
    scaler.write_bytes(sound)
    registry.load("decay")
    assert registry.resolve("decay").version == 1


@pytest.mark.parametrize("name", ["other", "..", "a/b", ""])
def test_a_model_that_does_not_exist_is_not_found(name: str, registry: Registry) -> None:
    for change in (registry.load, registry.unload):
        with pytest.raises(NotFound):
            change(name)


def test_what_is_not_in_memory_is_told_at_once(registry: Registry, publish: Publish) -> None:
    publish(largest=4.0)
    registry.refresh()
    assert registry.in_memory("decay", 2) is None
    assert registry.resolve("decay", 2) is registry.in_memory("decay", "2")
    assert registry.in_memory("decay") is registry.resolve("decay")


def test_a_request_that_holds_the_model_ends_well(registry: Registry) -> None:
    held = registry.resolve("decay")
    registry.unload("decay")
    assert held.scalers["y"].inverse_transform(np.array([[1.0]])) == [[2.0]]


@contextmanager
def without_rights() -> Iterator[None]:
    """What root may do says nothing of read-only folders."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only(registry: Registry) -> Iterator[Registry]:
    """A store in a folder that this process may read and not write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(registry.store.root, folder / "store")
        (folder / "store" / LOCK_FILE).unlink()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        opened = Registry(ModelStore(folder / "store"))
        opened.refresh()
        yield opened
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def test_a_read_only_store_says_so(read_only: Registry) -> None:
    with without_rights():
        with pytest.raises(Conflict, match="cannot be written"):
            read_only.unload("decay")
        read_only.load("decay")
    assert states(read_only) == [("ready", "")] * 2
