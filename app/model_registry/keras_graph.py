"""A stored Keras network as a concrete graph with named inputs and outputs. TensorFlow is imported when called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.errors import ModelRefused, ModelUnavailable
from app.model_registry.manifest import TensorSpec


def tensorflow() -> Any:
    """TensorFlow, imported now.

    Raises:
        ModelUnavailable: it is not installed here.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ModelUnavailable(
            "This needs TensorFlow, which is not installed here. Install the project's training group, "
            "or publish the model with its compiled form."
        ) from error
    return tf


def load_keras(path: Path) -> Any:
    """A `.keras` file in safe mode and without its training losses.

    Raises:
        ModelUnavailable: TensorFlow is not installed here.
        ModelRefused: Keras cannot or will not load it.
    """
    tensorflow()
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras refuses in many ways
        raise ModelRefused(f"Keras refuses the network ({type(error).__name__}).") from error


def input_specs(model: Any) -> tuple[TensorSpec, ...]:
    """Name, shape and dtype of each input of a functional Keras network."""
    return tuple(TensorSpec(name=i.name, shape=tuple(i.shape), dtype=i.dtype) for i in model.inputs)


def graph(model: Any, inputs: Sequence[TensorSpec]) -> Any:
    """A ``tf.function`` from {input name: tensor} to {output name: tensor} for the given shapes.

    Raises:
        ModelRefused: the names differ from the network's.
    """
    tf = tensorflow()
    names = [i.name for i in model.inputs]
    if sorted(names) != sorted(spec.name for spec in inputs):
        raise ModelRefused(f"The network's inputs are {names}, the manifest's {[spec.name for spec in inputs]}.")
    signature = {spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs}

    @tf.function(input_signature=[signature])
    def run(tensors: dict[str, Any]) -> dict[str, Any]:
        return _named(model, model([tensors[name] for name in names], training=False))

    return run


def _named(model: Any, outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return outputs
    flat = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    return dict(zip(model.output_names, flat, strict=True))
