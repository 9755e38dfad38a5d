"""The child process of `app.model_registry.convert`: `python -m app.model_registry.convert_worker FOLDER`.

FOLDER holds `jobs.json` and one `<n>.keras` for each job. For each, the child writes `<n>.tflite`, `<n>.npz` (golden
inputs and Keras' answers) and `<n>.json` (names and shapes), or an `error` in `<n>.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.errors import AppError, ModelRefused
from app.model_registry.keras_graph import graph, input_specs, load_keras, tensorflow
from app.model_registry.manifest import TensorSpec
from app.model_registry.runtime import SIGNATURE

GOLDEN_ROWS: Final = 64


def main(folder: Path) -> None:
    """Convert each job in turn; one that fails does not stop the others."""
    jobs: list[list[dict[str, Any]] | None] = json.loads((folder / "jobs.json").read_text())
    for number, inputs in enumerate(jobs):
        try:
            report = _convert(folder / f"{number}.keras", inputs)
        except AppError as error:
            report = {"error": error.message, "kind": error.kind}
        except Exception as error:  # a converter's own failure is a fact about this network
            report = {"error": f"The network cannot be converted ({type(error).__name__}).", "kind": ModelRefused.kind}
        (folder / f"{number}.json").write_text(json.dumps(report))


def _convert(path: Path, declared: list[dict[str, Any]] | None) -> dict[str, Any]:
    tf = tensorflow()
    model = load_keras(path)
    inputs = input_specs(model) if declared is None else tuple(TensorSpec.model_validate(spec) for spec in declared)
    run = graph(model, inputs)
    path.with_suffix(".tflite").write_bytes(_flat_buffer(tf, model, run, path.with_suffix("")))
    golden = _golden(inputs)
    answers = {name: value.numpy() for name, value in run({k: tf.constant(v) for k, v in golden.items()}).items()}
    outputs = [TensorSpec(name=n, shape=(None, *a.shape[1:]), dtype=a.dtype.name) for n, a in answers.items()]
    np.savez(path.with_suffix(".npz"), **{f"in:{k}": v for k, v in golden.items()}, **_prefixed("out:", answers))
    import keras

    return {
        "inputs": [spec.model_dump() for spec in inputs],
        "outputs": [spec.model_dump() for spec in outputs],
        "libraries": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def _flat_buffer(tf: Any, model: Any, run: Any, folder: Path) -> bytes:
    """By way of a SavedModel, which keeps the names of inputs and outputs and freezes the weights."""
    holder = tf.Module()
    holder.run = run
    holder.weights = [variable.value for variable in model.variables]
    tf.saved_model.save(holder, str(folder), signatures={SIGNATURE: run.get_concrete_function()})
    return tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()


def _prefixed(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _golden(inputs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Random normal inputs; a free axis other than the batch has length 1."""
    rng = np.random.default_rng(20260101)
    shapes = {spec.name: (GOLDEN_ROWS, *(n or 1 for n in spec.shape[1:])) for spec in inputs}
    return {spec.name: rng.normal(size=shapes[spec.name]).astype(spec.dtype) for spec in inputs}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
