"""Write a trained model into the store: the compiled form is made and checked, then everything appears in one step."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib

from app.model_registry.convert import KerasNetwork, convert
from app.model_registry.manifest import CARD_FILE, Manifest, ModelDraft, TensorSpec
from app.model_registry.store import ModelStore

NETWORK_FILE = "model.keras"


def publish(
    store: ModelStore | Path,
    draft: ModelDraft,
    *,
    card: str,
    network: Path | None = None,
    inputs: tuple[TensorSpec, ...] | None = None,
    scalers: Mapping[str, Any] | None = None,
    promote: tuple[str, ...] = (),
) -> Manifest:
    """Publish one version.

    Args:
        store: the model store or its folder.
        draft: name, family, description, features, parameters, training, metrics. The files, the network's inputs and
            outputs and the compiled form are filled in here.
        card: text of ``CARD.md``.
        network: the `.keras` file, made of Keras' built-in layers; none for a model without a network.
        inputs: shapes to compile for, None for the batch axis; the network's own when left out.
        scalers: role -> fitted scikit-learn scaler or forest.
        promote: aliases to move to the new version besides ``latest``.

    Raises:
        ModelRefused: the network cannot be compiled or the compiled form answers differently, or the draft is at fault.
        ModelUnavailable: TensorFlow is not installed here.
        Conflict: the store cannot be written.
    """
    fitted = scalers or {}
    files = {CARD_FILE: card.encode(), **{_scaler_file(role): _dumped(value) for role, value in fitted.items()}}
    filled: dict[str, Any] = {"scalers": {role: _scaler_file(role) for role in fitted}}
    if network is not None:
        files[NETWORK_FILE] = network.read_bytes()
        found = convert(KerasNetwork(files[NETWORK_FILE], inputs))
        files[found.record.file] = found.tflite
        filled |= {"network": NETWORK_FILE, "inputs": found.inputs, "outputs": found.outputs, "compiled": found.record}
    target = store if isinstance(store, ModelStore) else ModelStore(store)
    return target.publish(draft.model_copy(update=filled), files, promote=promote)


def _scaler_file(role: str) -> str:
    return f"scaler_{role}.pkl"


def _dumped(value: Any) -> bytes:
    """As joblib writes it, uncompressed: the service reads nothing else."""
    stream = io.BytesIO()
    joblib.dump(value, stream, compress=0)
    return stream.getvalue()
