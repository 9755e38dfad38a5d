"""What training publishes is what the registry serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from app.errors import ModelRefused
from app.model_registry.manifest import ModelDraft, TensorSpec
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from training.publish import publish

DRAFT = ModelDraft(name="line", family="test/line", description="A line.", parameters={"slope": 2.0})


def test_a_model_without_a_network_is_served(tmp_path: Path) -> None:
    scaler = StandardScaler().fit(np.array([[0.0], [2.0]]))
    store = ModelStore(tmp_path)
    assert publish(store, DRAFT, card="# Card\n", scalers={"static": scaler}).version == 1
    assert publish(store, DRAFT, card="# Card\n", scalers={"static": scaler}, promote=("stable",)).version == 2
    registry = Registry(store)
    registry.refresh()
    model = registry.resolve("line")
    assert model.version == 2
    assert model.parameters["slope"] == 2.0
    np.testing.assert_array_equal(model.scalers["static"].transform([[2.0]]), [[1.0]])


def test_a_network_that_is_no_archive_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    file.write_bytes(b"x")
    inputs = (TensorSpec(name="x", shape=(None, 1)),)
    with pytest.raises(ModelRefused):
        publish(tmp_path / "store", DRAFT, card="", network=file, inputs=inputs)
    assert not (tmp_path / "store").exists()
