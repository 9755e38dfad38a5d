"""The networks that every server runs, built once and published as any model is.

They are not trained: a server's speed does not depend on the weights. Both exist as `.keras`, as LiteRT (the form that
`training.publish` makes and holds against Keras), and in a store of their own beside the project's published models.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "runs" / "serving"
TIMES = 50
STATICS = 12
SAMPLES = 5000
DIGITS = 7
"""After the point, in JSON: 54 kB for a waveform."""

Arrays = Mapping[str, Float[np.ndarray, "row ..."]]


@dataclass(frozen=True)
class Asked:
    """One network, what it is asked, and what Keras answers.

    Attributes:
        inputs: float32 arrays by the network's names, first axis the rows.
        expected: Keras' outputs.
    """

    name: str
    inputs: Arrays
    expected: Arrays


@dataclass(frozen=True)
class Prepared:
    """What the servers are given.

    Attributes:
        store: model store with the networks and the project's models.
        networks: folder with `<name>.keras`, `<name>.tflite` and `<name>.json`, the names of inputs and outputs.
        asked: by the network's name.
    """

    store: Path
    networks: Path
    asked: Mapping[str, Asked]


def prepare(folder: Path = FOLDER) -> Prepared:
    """Build what is not there yet, and put the project's published models beside it.

    Raises:
        subprocess.CalledProcessError: the networks could not be built or published.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    stamp = folder / "complete"
    if not stamp.is_file() or stamp.read_text() != recipe:
        shutil.rmtree(folder / "store", ignore_errors=True)
        shutil.rmtree(folder / "networks", ignore_errors=True)
        # In a process of its own: TensorFlow stays out of the one that measures.
        subprocess.run([sys.executable, "-m", "benchmarks.serving.networks", str(folder)], cwd=REPOSITORY, check=True)
        stamp.write_text(recipe)
    _add_published(folder / "store")
    return Prepared(folder / "store", folder / "networks", {name: _asked(folder / "networks", name) for name in BUILD})


def _add_published(store: Path) -> None:
    for model in sorted((REPOSITORY / "model_store").glob("[a-z]*")):
        shutil.rmtree(store / model.name, ignore_errors=True)
        shutil.copytree(model, store / model.name)


def _asked(folder: Path, name: str) -> Asked:
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    halves = {
        half: {k.removeprefix(half): v for k, v in arrays.items() if k.startswith(half)} for half in ("in:", "out:")
    }
    return Asked(name, halves["in:"], halves["out:"])


# --- building, with TensorFlow ----------------------------------------------------------------------------------------


def mlp() -> Any:
    """12 statics and a time to mean and log-variance."""
    from keras import Input, Model, layers

    static, time = Input((STATICS,), name="static"), Input((1,), name="time")
    hidden = layers.Concatenate()([layers.Dense(32, "relu")(static), layers.Dense(8, "relu")(time)])
    hidden = layers.Dense(32, "relu")(hidden)
    outputs = [layers.Dense(1, name=name)(hidden) for name in ("mean", "log_var")]
    return Model([static, time], outputs)


def cnn1d() -> Any:
    """A waveform of 5,000 samples to three numbers, through strided convolutions."""
    from keras import Input, Model, layers

    samples = Input((SAMPLES,), name="samples")
    hidden = layers.Reshape((SAMPLES, 1))(samples)
    for filters, stride in ((16, 2), (32, 2), (64, 4)):
        hidden = layers.Conv1D(filters, 9, strides=stride, padding="same", activation="relu")(hidden)
    hidden = layers.Dense(32, "relu")(layers.GlobalAveragePooling1D()(hidden))
    return Model(samples, layers.Dense(3, name="answer")(hidden))


BUILD: Mapping[str, Callable[[], Any]] = {"mlp": mlp, "cnn1d": cnn1d}
ROWS = {"mlp": TIMES, "cnn1d": 1}


def main(folder: Path) -> None:
    """Build, publish and ask each network."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    networks = folder / "networks"
    networks.mkdir(parents=True)
    for name, build in BUILD.items():
        keras.utils.set_random_seed(1)
        model = build()
        model.save(networks / f"{name}.keras")
        _publish(folder / "store", networks, name)
        rng = np.random.default_rng(2)
        inputs = {i.name: _decimals(rng.normal(size=(ROWS[name], *i.shape[1:]))) for i in model.inputs}
        values = list(inputs.values())
        answers = model(values if len(values) > 1 else values[0], training=False)
        flat = answers if isinstance(answers, list) else [answers]
        outputs = {name: value.numpy() for name, value in zip(model.output_names, flat, strict=True)}
        halves = {f"in:{k}": v for k, v in inputs.items()} | {f"out:{k}": v for k, v in outputs.items()}
        np.savez(networks / f"{name}.npz", allow_pickle=False, **halves)


def _decimals(values: Float[np.ndarray, "row ..."]) -> Float[np.ndarray, "row ..."]:
    return np.round(values, DIGITS).astype(np.float32)


def _publish(store: Path, networks: Path, name: str) -> None:
    from app.model_registry.manifest import ModelDraft
    from training.publish import publish

    draft = ModelDraft(name=name, family=f"benchmark/{name}", description="Not trained; measures servers.")
    manifest = publish(store, draft, card=f"# {name}\n", network=networks / f"{name}.keras", promote=("stable",))
    assert manifest.compiled is not None
    shutil.copy(store / name / str(manifest.version) / manifest.compiled.file, networks / f"{name}.tflite")
    specs = {"inputs": manifest.inputs, "outputs": manifest.outputs}
    record = {half: [{"name": spec.name, "shape": spec.shape} for spec in tensors] for half, tensors in specs.items()}
    (networks / f"{name}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
