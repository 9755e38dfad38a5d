"""Write a trained model into the store: the compiled form is made and checked, then everything appears in one step."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np

from app.model_registry.convert import KerasNetwork, convert
from app.model_registry.manifest import CARD_FILE, Manifest, ModelDraft, PlainForm, TensorSpec
from app.model_registry.store import ModelStore
from training.plain import export, has_plain_form

NETWORK_FILE: Final = "model.keras"
GOLDEN_SEED: Final = 0


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
        scalers: role -> fitted scikit-learn scaler or forest (written as a pickle), or a boosting, logistic or
            isotonic estimator (written as plain arrays, see `training.plain`).
        promote: aliases to move to the new version besides ``latest``.

    Raises:
        ModelRefused: the network cannot be compiled, the compiled form or the plain arrays answer differently, or the
            draft is at fault.
        ModelUnavailable: TensorFlow is not installed here.
        Conflict: the store cannot be written.
    """
    written = {role: _written(role, value) for role, value in (scalers or {}).items()}
    files = {CARD_FILE: card.encode(), **{part.file: part.content for part in written.values()}}
    filled: dict[str, Any] = {
        "scalers": {role: part.file for role, part in written.items()},
        "plain": {role: part.record for role, part in written.items() if part.record},
    }
    if network is not None:
        files[NETWORK_FILE] = network.read_bytes()
        found = convert(KerasNetwork(files[NETWORK_FILE], inputs))
        files[found.record.file] = found.tflite
        filled |= {"network": NETWORK_FILE, "inputs": found.inputs, "outputs": found.outputs, "compiled": found.record}
    target = store if isinstance(store, ModelStore) else ModelStore(store)
    return target.publish(draft.model_copy(update=filled), files, promote=promote)


@dataclass(frozen=True)
class _Written:
    """One scaler or estimator as a file; a record where the file holds plain arrays."""

    file: str
    content: bytes
    record: PlainForm | None = None


def _written(role: str, value: Any) -> _Written:
    if not has_plain_form(value):
        return _Written(f"scaler_{role}.pkl", _dumped(value))
    exported = export(value, np.random.default_rng(GOLDEN_SEED))
    return _Written(f"estimator_{role}.npz", exported.content, exported.record)


def _dumped(value: Any) -> bytes:
    """As joblib writes it, uncompressed: the service reads nothing else."""
    stream = io.BytesIO()
    joblib.dump(value, stream, compress=0)
    return stream.getvalue()
