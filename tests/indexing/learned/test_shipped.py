"""The learned parts that the project ships: a worker has all of them at hand, lightly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.indexing.learned.parts import PARTS
from app.model_registry.store import ModelStore

REPOSITORY = Path(__file__).resolve().parents[3]
STORE = ModelStore(REPOSITORY / "model_store")
SHIPPED = [name for name in STORE.names() if any(part.takes(name) for part in PARTS.values())]
MOST_BYTES = 60_000_000
HEAVY = {"tensorflow", "keras", "sklearn", "joblib"}
LOAD = """
import json, sys
from pathlib import Path
from app.indexing.learned.shelf import Shelf
shelf = Shelf(Path(sys.argv[1]))
found = shelf.at_hand(shelf.default())
print(json.dumps([[model.name for model in found.models], found.warnings, sorted(sys.modules)]))
"""


def test_a_worker_has_all_of_them_without_heavy_libraries() -> None:
    if not SHIPPED:
        pytest.skip("no learned part is in the store")
    command = [sys.executable, "-c", LOAD, str(STORE.root)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    models, warnings, modules = json.loads(done.stdout.splitlines()[-1])
    assert models == SHIPPED
    assert warnings == []
    assert not HEAVY & set(modules)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_is_of_the_family_of_its_part(name: str) -> None:
    part = PARTS[STORE.manifest(name, STORE.version_number(name)).family]
    assert part.takes(name)


def test_all_of_them_are_small() -> None:
    folders = [STORE.root / name for name in SHIPPED]
    assert sum(file.stat().st_size for folder in folders for file in folder.rglob("*")) <= MOST_BYTES
