"""Small models: one of scalers alone, and one with a network that TensorFlow trains nothing for."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from app.model_registry.convert import Conversion, KerasNetwork, convert_all
from app.model_registry.manifest import CARD_FILE, Manifest, ModelDraft
from app.model_registry.store import ModelStore

MAKE_NETWORKS = """
import sys, keras
from pathlib import Path
folder = Path(sys.argv[1])
keras.utils.set_random_seed(1)
static, time = keras.Input((3,), name="static_input"), keras.Input((None, 1), name="time_input")
pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(4, 3, padding="same")(time))
hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()([static, pooled]))
mean = keras.layers.Dense(1, name="mean")(hidden)
log_variance = keras.layers.Dense(1, name="log_variance")(hidden)
keras.Model([static, time], [mean, log_variance]).save(folder / "two_heads.keras")
wide = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Lambda(lambda x: x * 2)])
wide.save(folder / "lambda.keras")
x = keras.Input((2,), name="x")
keras.Model(x, keras.layers.Dense(1, name="y", kernel_initializer="ones", use_bias=False)(x)).save(folder / "sum.keras")
"""


@dataclass(frozen=True)
class Networks:
    """`.keras` files, and the compiled form of the sound ones."""

    two_heads: bytes
    with_lambda: bytes
    summing: bytes
    two_heads_compiled: Conversion
    summing_compiled: Conversion


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """Made in child processes: TensorFlow stays out of the test process."""
    folder = tmp_path_factory.mktemp("networks")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", MAKE_NETWORKS, str(folder)], check=True, capture_output=True, env=environment)
    two_heads, with_lambda, summing = (
        (folder / f"{name}.keras").read_bytes() for name in ("two_heads", "lambda", "sum")
    )
    known = "tensorflow" in sys.modules
    compiled = convert_all([KerasNetwork(two_heads), KerasNetwork(summing)])
    assert ("tensorflow" in sys.modules) == known, "only the child process knows TensorFlow"
    assert all(isinstance(outcome, Conversion) for outcome in compiled), compiled
    return Networks(two_heads, with_lambda, summing, *compiled)  # type: ignore[arg-type]


def dumped(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream, **options)
    return stream.getvalue()


def scaler(largest: float = 2.0) -> MinMaxScaler:
    return MinMaxScaler().fit(np.array([[0.0], [largest]]))


Publish = Callable[..., Manifest]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "model_store")


@pytest.fixture
def publish(store: ModelStore) -> Publish:
    """Publish a model of one scaler; ``largest`` makes versions differ."""

    def published(name: str = "decay", *, largest: float = 2.0, **options: Any) -> Manifest:
        draft = ModelDraft(
            name=name,
            family="polarization/test",
            description="A scaler.",
            scalers={"y": "scaler_y.pkl"},
            parameters={"largest": largest},
        )
        files = {"scaler_y.pkl": dumped(scaler(largest)), CARD_FILE: b"# A card\n"}
        return store.publish(draft, files, **options)

    return published


@pytest.fixture
def publish_sum(store: ModelStore, networks: Networks) -> Publish:
    """Publish a network that adds its two inputs."""

    def published(name: str = "sum") -> Manifest:
        found = networks.summing_compiled
        draft = ModelDraft(
            name=name,
            family="test/sum",
            description="Adds.",
            network="model.keras",
            inputs=found.inputs,
            outputs=found.outputs,
            compiled=found.record,
        )
        files = {"model.keras": networks.summing, found.record.file: found.tflite, CARD_FILE: b"# Sum\n"}
        return store.publish(draft, files)

    return published
