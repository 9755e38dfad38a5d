"""What is said of a published network of assignment scores."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from app.errors import InvalidInput
from app.indexing.learned.parts import PARTS
from app.indexing.learned.templates import from_model, lists_digest
from app.model_registry.loading import load_version
from app.model_registry.store import ModelStore
from training.indexing.templates.evaluate import PREFIXES
from training.indexing.templates.network import NetworkArgs, build
from training.indexing.templates.publish import MODEL_FILE, RECORD_FILE, SCORES_FILE, card, draft_of, publish_run

RECORD = {"args": {"patterns": {"tP": 1500}, "k": 200.0, "batch": 128, "seed": 3}, "epoch": 2, "loss": {"tP": 0.4}}
SHARES = {"list": [0.85] * len(PREFIXES), "network": [0.95] * len(PREFIXES)}
SCORES = {"seed": 77, "patterns": 100, "solved": {"tP": SHARES}}


def test_the_draft_names_the_lists_that_the_network_belongs_to() -> None:
    draft = draft_of(RECORD, SCORES, "command")
    assert draft.parameters["lists_sha256"] == lists_digest()
    assert draft.training.command == "command"
    assert PARTS[draft.family].name == draft.name


def test_the_card_sets_the_network_beside_the_list() -> None:
    text = card(RECORD, SCORES)
    assert "| tP | list | 85.0%" in text
    assert "| tP | network | 95.0%" in text
    assert "tP 1,500" in text


def test_a_run_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="train and evaluate it first"):
        publish_run(ModelStore(tmp_path / "store"), tmp_path, "command")


@pytest.mark.slow
def test_a_published_network_is_taken_by_the_solver(tmp_path: Path) -> None:
    import json

    build(("tP",), NetworkArgs((8,), 4)).save(tmp_path / MODEL_FILE)
    (tmp_path / RECORD_FILE).write_text(json.dumps(RECORD))
    (tmp_path / SCORES_FILE).write_text(json.dumps(SCORES))
    store = ModelStore(tmp_path / "store")
    manifest = publish_run(store, tmp_path, "command", promote=True)
    templates = from_model(load_version(store.read(manifest.name, manifest.version)))
    assert templates.lattices == {"tP"}
