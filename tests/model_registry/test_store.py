"""The store: versions appear whole or not at all, and what is on disk is what the manifest says."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import AppError, Conflict, ModelRefused, NotFound
from app.model_registry import durable
from app.model_registry.manifest import CARD_FILE, ModelDraft
from app.model_registry.store import ModelStore
from tests.model_registry.conftest import Publish

DRAFT = ModelDraft(name="decay", family="polarization/test", description="Two files.")
FILES = {"a.bin": b"a" * 10, CARD_FILE: b"# Card\n"}


def test_versions_count_up_and_the_first_becomes_stable(store: ModelStore) -> None:
    assert [store.publish(DRAFT, FILES).version for _ in range(3)] == [1, 2, 3]
    model = store.model("decay")
    assert model.versions == (1, 2, 3)
    assert model.aliases == {"stable": 1, "latest": 3}
    assert json.loads((store.root / "decay" / "aliases.json").read_text()) == model.aliases


def test_what_was_published_is_read_back(store: ModelStore) -> None:
    manifest = store.publish(DRAFT, FILES)
    stored = store.read("decay", 1)
    assert stored.contents == FILES
    assert stored.manifest == manifest
    assert store.card("decay", 1) == "# Card\n"


def test_rollback_returns_along_the_way_that_promotion_took(store: ModelStore) -> None:
    for _ in range(3):
        store.publish(DRAFT, FILES)
    for version in (3, 2):
        store.promote("decay", version)
    assert store.rollback("decay") == 3
    assert store.rollback("decay") == 1
    with pytest.raises(Conflict):
        store.rollback("decay")
    store.promote("decay", 2)
    assert store.rollback("decay") == 1


def test_promotion_of_a_damaged_version_is_refused(store: ModelStore) -> None:
    store.publish(DRAFT, FILES)
    store.publish(DRAFT, FILES)
    (store.root / "decay" / "2" / "a.bin").write_bytes(b"b" * 10)
    with pytest.raises(ModelRefused):
        store.promote("decay", 2)
    assert store.model("decay").aliases["stable"] == 1


# --- crashes ----------------------------------------------------------------------------------------------------------

STEPS = ("fsync", "rename", "replace", "mkdir", "open")


def _killed_at(step: str, number: int, root: Path) -> None:
    """Publish, and die without any clean-up at the ``number``-th call of ``os.<step>``."""
    seen = 0
    real: Callable[..., Any] = getattr(os, step)

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(os, step, dying)
    ModelStore(root).publish(DRAFT, FILES, promote=("stable",))


@pytest.mark.parametrize("step", STEPS)
def test_a_publisher_killed_at_any_moment_leaves_the_last_version_served(step: str, store: ModelStore) -> None:
    fork = multiprocessing.get_context("fork")
    store.publish(DRAFT, FILES)
    deaths = 0
    for number in range(1, 50):
        before = store.model("decay").aliases["stable"]
        child = fork.Process(target=_killed_at, args=(step, number, store.root))
        child.start()
        child.join()
        aliases = store.model("decay").aliases
        for version in {*store.model("decay").versions, *aliases.values()}:
            store.read("decay", version)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        deaths += 1
        # Either nothing was seen to happen, or all of it (death after the last step that counts).
        assert aliases["stable"] == before or aliases["stable"] == max(store.model("decay").versions)
    assert deaths > 0
    newest = store.publish(DRAFT, FILES)
    assert newest.version == max(store.model("decay").versions)
    assert not list((store.root / "decay").glob(".tmp-*"))


def test_a_full_disk_leaves_the_last_version_served(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.publish(DRAFT, FILES)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(Conflict, match=r"No space left on device.*Make room"):
        store.publish(DRAFT, FILES)
    assert store.model("decay").aliases == {"stable": 1, "latest": 1}
    assert store.model("decay").versions == (1,)


def _publish_some(root: Path, count: int) -> None:
    for _ in range(count):
        ModelStore(root).publish(DRAFT, FILES)


def test_concurrent_publishers_never_take_one_number(store: ModelStore) -> None:
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_publish_some, args=(store.root, 5)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert store.model("decay").versions == tuple(range(1, 21))
    assert store.model("decay").aliases["latest"] == 20


# --- damage and malice ------------------------------------------------------------------------------------------------


def _manifest_with(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))

    return change


def _file_entry(name: str) -> dict[str, Any]:
    return {name: {"sha256": "0" * 64, "bytes": 1}}


def _link(folder: Path) -> None:
    outside = folder.parent / "outside"
    shutil.move(folder / "a.bin", outside)
    (folder / "a.bin").symlink_to(outside)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "swapped file": lambda f: (f / "a.bin").write_bytes(b"b" * 10),
    "longer file": lambda f: (f / "a.bin").write_bytes(b"a" * 11),
    "shorter file": lambda f: (f / "a.bin").write_bytes(b"a" * 9),
    "missing file": lambda f: (f / "a.bin").unlink(),
    "extra file": lambda f: (f / "extra.pkl").write_bytes(b"x"),
    "extra folder": lambda f: (f / "extra").mkdir(),
    "link": _link,
    "pipe": lambda f: ((f / "a.bin").unlink(), os.mkfifo(f / "a.bin")),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "half a manifest": lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text()[:100]),
    "huge manifest": lambda f: (f / "manifest.json").write_bytes(b" " * 2**21),
    "deep manifest": lambda f: (f / "manifest.json").write_text("[" * 100_000),
    "another name": _manifest_with(name="other"),
    "an older version replayed": _manifest_with(version=2),
    "unknown key": _manifest_with(surprise=1),
    "newer schema": _manifest_with(schema_version=2),
    "path with ..": _manifest_with(files=_file_entry("../../secret")),
    "absolute path": _manifest_with(files=_file_entry("/etc/passwd")),
    "hidden file": _manifest_with(files=_file_entry(".bashrc")),
    "scaler outside of the files": _manifest_with(scalers={"y": "scaler_y.pkl"}),
    "scaler with ..": _manifest_with(scalers={"y": "../1/a.bin"}),
    "huge declared file": _manifest_with(files={"a.bin": {"sha256": "0" * 64, "bytes": 2**60}}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_version_is_refused_without_a_path_in_the_message(damage: str, store: ModelStore) -> None:
    store.publish(DRAFT, FILES)
    DAMAGE[damage](store.root / "decay" / "1")
    with pytest.raises(ModelRefused) as refused:
        store.read("decay", 1)
    assert str(store.root) not in refused.value.message
    assert "passwd" not in refused.value.message


def test_a_version_folder_that_is_a_link_is_refused(store: ModelStore) -> None:
    store.publish(DRAFT, FILES)
    (store.root / "decay" / "1").rename(store.root / "elsewhere")
    (store.root / "decay" / "1").symlink_to(store.root / "elsewhere")
    with pytest.raises(ModelRefused):
        store.read("decay", 1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stable": "1"}', '{"stable": 1.5}', '{"stable": null}'])
def test_damaged_aliases_are_reported_and_never_guessed(text: str, store: ModelStore) -> None:
    store.publish(DRAFT, FILES)
    (store.root / "decay" / "aliases.json").write_text(text)
    model = store.model("decay")
    assert model.aliases == {}
    assert model.problem is not None


@pytest.mark.parametrize(
    "name", ["../decay", "..", ".", "", "/etc", "decay/1", "Decay", "a" * 65, "decay\n", "\x00", "é"]
)
def test_a_name_that_is_not_plain_is_not_found(name: str, store: ModelStore) -> None:
    store.publish(DRAFT, FILES)
    with pytest.raises(NotFound):
        store.model(name)


@pytest.mark.parametrize("file", ["../x", "a/b", "/x", ".x", "manifest.json", "", "x\n", "a" * 200])
def test_a_file_name_that_is_not_plain_is_not_published(file: str, store: ModelStore) -> None:
    with pytest.raises(ModelRefused):
        store.publish(DRAFT, {file: b""})
    assert store.names() == ()


def test_a_draft_that_names_a_file_it_does_not_bring_is_refused(store: ModelStore) -> None:
    with pytest.raises(ModelRefused):
        store.publish(DRAFT.model_copy(update={"scalers": {"y": "scaler_y.pkl"}}), FILES)


def test_other_things_in_the_store_are_passed_over(store: ModelStore, publish: Publish) -> None:
    publish()
    (store.root / "README.md").write_text("x")
    (store.root / "linked").symlink_to(store.root / "decay")
    (store.root / "decay" / "notes").mkdir()
    (store.root / "decay" / "007").mkdir()
    assert store.names() == ("decay",)
    assert store.model("decay").versions == (1,)


def test_every_reference_by_number_or_alias_finds_its_version(store: ModelStore) -> None:
    for _ in range(2):
        store.publish(DRAFT, FILES)
    refs: list[str | int | None] = [None, "stable", "latest", "2", 1]
    assert [store.version_number("decay", ref) for ref in refs] == [1, 1, 2, 2, 1]
    for ref in ("3", 0, -1, "newest", "01"):
        with pytest.raises(AppError):
            store.version_number("decay", ref)
