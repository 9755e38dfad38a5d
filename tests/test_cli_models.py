"""The commands on the store: what they print, and their exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli_models import models
from app.errors import AppError, Conflict, InvalidInput, NotFound
from app.model_registry.manifest import CARD_FILE, ModelDraft
from app.model_registry.store import ModelStore

DRAFT = ModelDraft(name="decay", family="polarization/test", description="Nothing but a card.")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "model_store")
    for _ in range(2):
        made.publish(DRAFT, {CARD_FILE: b"# The card\n"})
    return made


def run(store: ModelStore, *arguments: str) -> Result:
    return CliRunner().invoke(models, [*arguments, "--store", str(store.root)])


def failure(store: ModelStore, *arguments: str) -> AppError:
    error = run(store, *arguments).exception
    assert isinstance(error, AppError)
    return error


def test_list_names_versions_and_aliases(store: ModelStore) -> None:
    result = run(store, "list")
    assert result.output == "decay  versions 1, 2; latest -> 2, stable -> 1\n"
    assert run(ModelStore(store.root / "nothing"), "list").output == "no models\n"


def test_show_prints_the_manifest_or_the_card(store: ModelStore) -> None:
    assert '"version": 2' in run(store, "show", "decay", "latest").output
    assert run(store, "show", "decay", "--card").output == "# The card\n\n"
    assert isinstance(failure(store, "show", "decay", "9"), NotFound)
    assert isinstance(failure(store, "show", "../decay"), NotFound)


def test_promote_and_rollback_move_stable(store: ModelStore) -> None:
    assert run(store, "promote", "decay", "2").output == "decay: stable -> 2\n"
    assert run(store, "rollback", "decay").output == "decay: stable -> 1\n"
    assert isinstance(failure(store, "rollback", "decay"), Conflict)
    assert run(store, "promote", "decay", "2", "--alias", "beam-1").output == "decay: beam-1 -> 2\n"


def test_verify_fails_where_a_version_does(store: ModelStore) -> None:
    sound = run(store, "verify")
    assert sound.exit_code == 0
    (store.root / "decay" / "2" / "extra").write_bytes(b"")
    damaged = run(store, "verify", "decay")
    assert damaged.exit_code == 1
    assert "ok      decay version 1" in damaged.output
    assert "failed  decay version 2: The folder holds 'extra'" in damaged.output


def test_import_of_a_folder_without_models_says_so(store: ModelStore, tmp_path: Path) -> None:
    assert isinstance(failure(store, "import", str(tmp_path / "nothing")), InvalidInput)


def test_unload_and_load_take_a_model_out_of_service_and_back(store: ModelStore) -> None:
    assert run(store, "unload", "decay").output == "decay: unloaded\n"
    assert run(store, "list").output == "decay  versions 1, 2; latest -> 2, stable -> 1 (unloaded)\n"
    assert run(store, "load", "decay").output == "decay: loaded\n"
    assert not store.model("decay").unloaded
    assert isinstance(failure(store, "unload", "other"), NotFound)
