"""Train the network that tells how probable each Bravais lattice is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from app.indexing.learned.odds import INPUT, OUTPUT
from app.indexing.learned.template_features import N_FEATURES, template_features
from app.indexing.problem import BRAVAIS
from training.indexing.odds.data import Disturbance, Examples, disturbed

MODEL_FILE, RECORD_FILE = "model.keras", "record.json"


@dataclass(frozen=True)
class TrainArgs:
    """How the network is trained.

    Attributes:
        units: of the hidden layers.
        dropout: share of the units left out in training.
        epochs: times that each pattern is seen, with other errors each time.
        batch: patterns in one step.
        rate: largest learning rate; it falls to 0 as a cosine.
        decay: of the weights.
        seed: of weights and errors.
    """

    units: tuple[int, ...] = (192, 96)
    dropout: float = 0.2
    epochs: int = 14
    batch: int = 256
    rate: float = 1.5e-3
    decay: float = 1e-4
    seed: int = 1
    disturbance: Disturbance = field(default_factory=Disturbance)


def build(args: TrainArgs) -> keras.Model:
    """Build the network; the last layer's temperature is set after training."""
    lines = keras.Input((N_FEATURES,), name=INPUT)
    x = lines
    for units in args.units:
        x = keras.layers.Dense(units, activation="gelu")(x)
        x = keras.layers.Dropout(args.dropout)(x)
    x = keras.layers.Dense(len(BRAVAIS), name="scores")(x)
    return keras.Model(lines, keras.layers.Softmax(name=OUTPUT)(x))


def features(examples: Examples, how: Disturbance, rng: np.random.Generator) -> Float[np.ndarray, "pattern feature"]:
    """What the network sees of patterns that were measured anew."""
    return np.concatenate(
        [
            template_features(*disturbed(part, how, rng))
            for part in np.array_split(examples.q2, len(examples) // 2000 + 1)
        ]
    )


def train(examples: Examples, args: TrainArgs, out: Path, tell: Callable[[str], None]) -> keras.Model:
    """Train on the patterns that may be learnt from, and calibrate on those that may not be.

    An epoch's network lies in ``out`` with the record, so that a run that is stopped goes on where it stood.

    Args:
        examples: all patterns.
        args: see `TrainArgs`.
        out: folder of the run.
        tell: takes a line after each epoch.
    """
    keras.utils.set_random_seed(args.seed)
    learnt, held = examples.take(~examples.validation), examples.take(examples.validation & examples.real)
    rng = np.random.default_rng([args.seed, 1])
    check = features(held, args.disturbance, rng), held.lattice
    model, done, history = _start(args, out)
    steps = args.epochs * (len(learnt) // args.batch + 1)
    schedule: Any = keras.optimizers.schedules.CosineDecay(args.rate, steps)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=args.decay), "sparse_categorical_crossentropy")
    model.optimizer.iterations.assign(done * (len(learnt) // args.batch + 1))
    weight = learnt.weight / learnt.weight.mean()
    for epoch in range(done, args.epochs):
        seen = features(learnt, args.disturbance, np.random.default_rng([args.seed, 2, epoch]))
        quiet: Any = 0
        fit = model.fit(seen, learnt.lattice, batch_size=args.batch, sample_weight=weight, verbose=quiet)
        loss = log_loss(predicted(model, check[0]), check[1])
        history.append({"loss": float(fit.history["loss"][0]), "validation": loss})
        tell(f"epoch {epoch + 1}/{args.epochs}: loss {history[-1]['loss']:.4f}, validation {loss:.4f}")
        _keep(model, args, history, out)
    return model


def calibrate(
    model: keras.Model, given: Float[np.ndarray, "pattern feature"], lattice: Int[np.ndarray, "pattern"]
) -> float:
    """Divide the scores by the temperature that makes the log loss smallest; give it (C. Guo et al., ICML 2017)."""
    layer = model.get_layer("scores")
    scores = predicted(keras.Model(model.input, layer.output), given)

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(lattice)), lattice]))

    found: Any = minimize_scalar(loss, bounds=(-1.0, 1.5), method="bounded")
    temperature = float(np.exp(found.x))
    layer.set_weights([weights / temperature for weights in layer.get_weights()])
    return temperature


def predicted(model: keras.Model, given: Float[np.ndarray, "pattern feature"]) -> Float[np.ndarray, "pattern lattice"]:
    """What a network answers to many patterns."""
    quiet: Any = 0
    return np.asarray(model.predict(given, batch_size=1024, verbose=quiet), float)


def log_loss(probability: Float[np.ndarray, "pattern lattice"], lattice: Int[np.ndarray, "pattern"]) -> float:
    """Mean of -ln of the probability of the true lattice, nats."""
    return float(-np.mean(np.log(np.maximum(probability[np.arange(len(lattice)), lattice], 1e-12))))


def _start(args: TrainArgs, out: Path) -> tuple[keras.Model, int, list[dict[str, float]]]:
    record = out / RECORD_FILE
    if record.is_file() and (out / MODEL_FILE).is_file():
        told = json.loads(record.read_text())
        if told["args"] == json.loads(json.dumps(asdict(args))):
            return keras.models.load_model(out / MODEL_FILE), len(told["history"]), told["history"]  # pyright: ignore[reportReturnType]
    return build(args), 0, []


def _keep(model: keras.Model, args: TrainArgs, history: list[dict[str, float]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"part-{MODEL_FILE}"
    model.save(part)
    part.rename(out / MODEL_FILE)
    (out / RECORD_FILE).write_text(json.dumps({"args": asdict(args), "history": history}))
