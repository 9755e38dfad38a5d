"""The live registry: what an alias names answers; what fails a check never does, and nothing else notices."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ModelUnavailable, NotFound
from app.model_registry.kept import Kept
from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import ModelDraft
from app.model_registry.registry import MAX_ON_DEMAND, Registry
from app.model_registry.store import ModelStore
from tests.model_registry.conftest import Publish


@pytest.fixture
def registry(store: ModelStore) -> Iterator[Registry]:
    opened = Registry(store, poll_s=0.02)
    yield opened
    opened.stop()


def largest(registry: Registry, name: str = "decay", ref: str | int | None = None) -> float:
    model = registry.resolve(name, ref)
    value = float(model.scalers["y"].inverse_transform([[1.0]])[0, 0])
    assert value == model.parameters["largest"]
    return value


class System:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def publish_malicious(store: ModelStore, marker: Path, name: str = "decay", **options: Any) -> None:
    draft = ModelDraft(name=name, family="polarization/test", description="x", scalers={"y": "scaler_y.pkl"})
    store.publish(draft, {"scaler_y.pkl": pickle.dumps(System(f"touch {marker}"))}, **options)


def test_an_alias_or_a_number_finds_its_version(registry: Registry, publish: Publish) -> None:
    for value in (2.0, 3.0, 4.0):
        publish(largest=value)
    registry.refresh()
    assert [largest(registry, ref=ref) for ref in (None, "stable", "latest", 2, "2", "1")] == [2, 2, 4, 3, 3, 2]


@pytest.mark.parametrize(
    ("name", "ref"), [("decay", "9"), ("decay", 0), ("decay", "newest"), ("other", None), ("..", 1)]
)
def test_what_does_not_exist_is_not_found_and_what_does_is_listed(
    name: str, ref: Any, registry: Registry, publish: Publish
) -> None:
    publish()
    registry.refresh()
    with pytest.raises(NotFound) as missing:
        registry.resolve(name, ref)
    assert missing.value.details


def test_a_network_runs_after_loading(registry: Registry, publish_sum: Publish) -> None:
    publish_sum()
    registry.refresh()
    assert registry.resolve("sum").run({"x": np.array([[1.0, 2.0]], np.float32)})["y"] == [[3.0]]


def test_a_malicious_pickle_is_refused_reported_and_the_others_answer(
    registry: Registry, store: ModelStore, publish: Publish, tmp_path: Path
) -> None:
    publish("good")
    publish_malicious(store, tmp_path / "ran", "bad")
    registry.refresh()
    assert not (tmp_path / "ran").exists()
    assert largest(registry, "good") == 2
    with pytest.raises(ModelUnavailable, match="system"):
        registry.resolve("bad")
    states = {state.name: state for state in registry.status()}
    assert (states["good"].state, states["bad"].state) == ("ready", "refused")
    assert states["bad"].aliases == ("latest", "stable")
    assert "system" in states["bad"].reason


def test_a_bad_new_version_leaves_the_old_one_answering(
    registry: Registry, store: ModelStore, publish: Publish, tmp_path: Path
) -> None:
    publish()
    registry.refresh()
    publish_malicious(store, tmp_path / "ran", promote=("stable",))
    registry.refresh()
    assert largest(registry) == 2
    assert not (tmp_path / "ran").exists()
    old, new = registry.status()
    assert (old.version, old.state, old.aliases) == ("1", "ready", ("latest", "stable"))
    assert (new.version, new.state, new.aliases) == ("2", "refused", ())


def test_a_file_changed_under_a_loaded_version_is_reported_and_the_loaded_one_answers_on(
    registry: Registry, store: ModelStore, publish: Publish
) -> None:
    publish()
    registry.refresh()
    file = store.root / "decay" / "1" / "scaler_y.pkl"
    sound = file.read_bytes()
    file.write_bytes(sound[:-1] + b"x")
    registry.refresh()
    assert largest(registry) == 2
    assert "digest" in registry.status()[0].reason
    file.write_bytes(sound)
    os.utime(file, ns=(1, 1))
    registry.refresh()
    assert registry.status()[0].reason == ""


def test_a_version_repaired_on_disk_is_loaded(registry: Registry, store: ModelStore, publish: Publish) -> None:
    publish()
    extra = store.root / "decay" / "1" / "extra"
    extra.write_bytes(b"")
    registry.refresh()
    with pytest.raises(ModelUnavailable):
        registry.resolve("decay")
    extra.unlink()
    registry.refresh()
    assert largest(registry) == 2


def test_damaged_aliases_leave_everything_as_it_was(registry: Registry, store: ModelStore, publish: Publish) -> None:
    publish()
    registry.refresh()
    aliases = store.root / "decay" / "aliases.json"
    aliases.write_text("{")
    registry.refresh()
    assert largest(registry) == 2
    assert largest(registry, ref="latest") == 2
    aliases.write_text(json.dumps({"stable": 7}))
    registry.refresh()
    assert largest(registry) == 2
    dangling = next(state for state in registry.status() if state.version == "7")
    assert dangling.state == "refused"


def test_a_store_that_goes_away_leaves_everything_as_it_was(
    registry: Registry, store: ModelStore, publish: Publish
) -> None:
    publish()
    registry.refresh()
    store.root.rename(store.root.with_name("away"))
    registry.refresh()
    assert largest(registry) == 2


def test_a_removed_model_is_no_longer_found(registry: Registry, store: ModelStore, publish: Publish) -> None:
    publish()
    publish("other")
    registry.refresh()
    shutil.rmtree(store.root / "decay")
    registry.refresh()
    with pytest.raises(NotFound):
        registry.resolve("decay")
    assert largest(registry, "other") == 2


def test_what_was_not_touched_is_not_loaded_again(registry: Registry, publish: Publish) -> None:
    publish()
    registry.refresh()
    before = registry.resolve("decay")
    publish("other")
    registry.refresh()
    assert registry.resolve("decay") is before


def test_a_version_that_answers_no_more_leaves_memory(registry: Registry, publish: Publish) -> None:
    kept: Kept[tuple[LoadedModel, str]] = Kept()
    publish()
    registry.refresh()
    seen = []
    for _ in range(3):
        loaded = registry.resolve("decay")
        made = kept.model(loaded, lambda loaded: (loaded, "made of it"))
        assert kept.model(loaded, lambda _: pytest.fail("it was made before")) is made
        seen.append(weakref.ref(loaded))
        del loaded, made
        publish(promote=("stable",))
        registry.refresh()
    assert [reference() for reference in seen] == [None] * 3


def test_versions_asked_for_by_number_stay_few(registry: Registry, publish: Publish) -> None:
    for value in range(1, MAX_ON_DEMAND + 5):
        publish(largest=float(value))
    registry.refresh()
    for value in range(2, MAX_ON_DEMAND + 4):
        assert largest(registry, ref=value) == value
    assert len(registry._on_demand) == MAX_ON_DEMAND


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the watcher did not notice"
        time.sleep(0.01)


def test_a_new_version_and_a_moved_alias_are_picked_up_while_requests_run(
    registry: Registry, store: ModelStore, publish: Publish
) -> None:
    publish(largest=1.0)
    registry.start()
    failures: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                assert largest(registry) in (1, 2)
            except Exception as error:
                failures.append(error)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    publish(largest=2.0)
    _until(lambda: registry.resolve("decay", "latest").version == 2)
    assert largest(registry) == 1
    store.promote("decay", 2)
    _until(lambda: largest(registry) == 2)
    store.rollback("decay")
    _until(lambda: largest(registry) == 1)
    done.set()
    for thread in asking:
        thread.join()
    assert failures == []


def test_the_description_holds_manifest_and_card(registry: Registry, publish: Publish) -> None:
    publish()
    publish(largest=5.0)
    registry.refresh()
    detail = registry.describe("decay", "latest")
    assert detail.manifest.parameters == {"largest": 5.0}
    assert detail.card == "# A card\n"
    assert detail.state.state == "ready"
    with pytest.raises(NotFound):
        registry.describe("decay", "3")
