"""Train the network that counts particles and says whether a pattern fits what is declared of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int
from tqdm import tqdm

from app.aggregates.features import CHANNELS, COLUMNS, NUMBERS, PROFILES, ROWS, SYMMETRIES, profiles, symmetric
from app.aggregates.models import HEADS
from app.aggregates.setting import COUNTS, VERDICTS
from training.aggregates.lessons import LessonSet, lesson_set
from training.aggregates.school import SchoolArgs

Network = Any
"""A `keras.Model`; Keras is imported only where a network is made."""

NETWORK_FILE: Final = "model.keras"
RATIO_KNOWN: Final = tuple(VERDICTS.index(each) for each in ("fits", "radius"))
"""Verdicts for which true over declared radius has a meaning."""


@dataclass(frozen=True)
class CountNetworkArgs:
    """How the network is trained.

    Attributes:
        images: patterns to train on.
        validation_images: patterns that the run record's validation figures, and later the calibration, come from.
        filters: of the five convolutions.
        hidden: units of the layer before the answers.
        profile_hidden: units that the ring profiles are brought to.
        dropout: share of units dropped before the last layers.
        epochs: passes over all patterns.
        batch_size: patterns in one step.
        learning_rate: of AdamW at the start; falls to zero along a cosine.
        weight_decay: of AdamW.
        verdict_weight: of the verdict's cross-entropy in the loss.
        ratio_weight: of the absolute error of log(true/declared radius) in the loss.
        seed: of the training patterns, the weights, and the order; validation uses `seed + 1`.
        school: what the patterns are.
        start: folder of a run whose weights are the first ones; None for weights drawn anew.
    """

    images: int = 300_000
    validation_images: int = 20_000
    filters: tuple[int, int, int, int, int] = (24, 40, 64, 64, 96)
    hidden: int = 96
    profile_hidden: int = 64
    dropout: float = 0.15
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    verdict_weight: float = 0.3
    ratio_weight: float = 0.5
    seed: int = 100
    school: SchoolArgs = field(default_factory=SchoolArgs)
    start: str | None = None


def build(args: CountNetworkArgs) -> Network:
    """Five convolutions over the maps, beside them the numbers and the ring profiles; the output is `HEADS` numbers."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(args.seed)
    maps = keras.Input((ROWS, COLUMNS, len(CHANNELS)), name="maps")
    numbers = keras.Input((len(NUMBERS),), name="numbers")
    rings = keras.Input((PROFILES,), name="profiles")
    x = maps
    for filters, size, stride in zip(args.filters, (5, 3, 3, 3, 3), (2, 2, 1, 2, 1), strict=True):
        x = _normal(layers.Conv2D(filters, size, stride, "same", use_bias=False)(x))
    x = layers.Flatten()(_normal(layers.Conv2D(args.filters[1], 1, use_bias=False)(x)))
    profile = _normal(layers.Dense(args.profile_hidden, use_bias=False)(layers.BatchNormalization()(rings)))
    x = layers.Concatenate()([x, profile, layers.BatchNormalization()(numbers)])
    x = layers.Dense(args.hidden, "relu")(layers.Dropout(args.dropout)(x))
    heads = layers.Dense(HEADS, name="heads")(layers.Dropout(args.dropout)(x))
    return keras.Model([maps, numbers, rings], heads, name="aggregates_count")


def _normal(x: Any) -> Any:
    import keras

    return keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))


def loss(targets: Any, heads: Any, args: CountNetworkArgs) -> Any:
    """Cross-entropy of the number where all is declared rightly, and of the verdict, and the error of the radius.

    Args:
        targets: (batch, 3), see `LessonSet.targets`.
        heads: (batch, HEADS), see `app.aggregates.models`.
        args: the weights.
    """
    import tensorflow as tf

    number, verdict = tf.cast(targets[:, 0], tf.int32), tf.cast(targets[:, 1], tf.int32)
    fits = tf.cast(verdict == 0, tf.float32)
    known = fits + tf.cast(verdict == RATIO_KNOWN[1], tf.float32)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
    counting = cross_entropy(labels=number, logits=heads[:, : len(COUNTS)]) * fits
    judging = cross_entropy(labels=verdict, logits=heads[:, len(COUNTS) : -1])
    sizing = tf.abs(heads[:, -1] - targets[:, 2]) * known
    return tf.reduce_mean(counting + args.verdict_weight * judging + args.ratio_weight * sizing)


def train(folder: Path, args: CountNetworkArgs) -> Network:
    """Train, or go on after the last complete epoch that the folder holds; leaves ``model.keras``, ``record.json``.

    Raises:
        ValueError: the folder holds a run of other arguments, or `args.start` a network of another shape.
    """
    import keras
    import tensorflow as tf

    told = json.loads(json.dumps(asdict(args)))
    history = _history(folder, told)
    taught = lesson_set(folder / "lessons-train", args.school, args.seed, args.images)
    asked = lesson_set(folder / "lessons-validation", args.school, args.seed + 1, args.validation_images)
    network = build(args)
    if args.start is not None:
        network.load_weights(Path(args.start) / NETWORK_FILE)
    steps = len(taught) // args.batch_size
    rate: Any = keras.optimizers.schedules.CosineDecay(args.learning_rate, max(args.epochs * steps, 1))
    optimizer = keras.optimizers.AdamW(rate, weight_decay=args.weight_decay)
    optimizer.build(network.trainable_variables)
    checkpoint = tf.train.Checkpoint(network=network, optimizer=optimizer)
    if history:
        checkpoint.read(str(folder / "checkpoint" / "latest")).assert_existing_objects_matched()

    @tf.function(reduce_retracing=True)
    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(targets, network(inputs, training=True), args)
        optimizer.apply(tape.gradient(value, network.trainable_variables), network.trainable_variables)
        return value

    for epoch in range(len(history), args.epochs):
        started, total = time.perf_counter(), 0.0
        rng = np.random.default_rng([args.seed, epoch])
        order = rng.permutation(len(taught))[: steps * args.batch_size].reshape(steps, -1)
        for rows in tqdm(order, desc=f"epoch {epoch + 1}", mininterval=10):
            inputs, targets = batch(taught, np.sort(rows), int(rng.integers(SYMMETRIES)))
            total += float(step([tf.constant(each) for each in inputs], tf.constant(targets)))
        history.append(
            {"loss": total / max(steps, 1), **validation(network, asked), "seconds": time.perf_counter() - started}
        )
        checkpoint.write(str(folder / "checkpoint" / "latest"))
        network.save(folder / NETWORK_FILE)
        (folder / "record.json").write_text(json.dumps({"args": told, "epochs": history}, indent=1), "utf-8")
    return network


def batch(
    lessons: LessonSet, rows: Int[np.ndarray, "batch"], symmetry: int
) -> tuple[list[Float32[np.ndarray, "batch ..."]], Float32[np.ndarray, "batch 3"]]:
    """The network's inputs in one of their symmetries, and the targets."""
    maps = lessons.maps[rows].astype(np.float32)
    return [symmetric(maps, symmetry), lessons.numbers[rows], profiles(maps)], lessons.targets(rows)


def lesson_heads(network: Network, lessons: LessonSet, size: int = 250) -> Float32[np.ndarray, "image head"]:
    """The network's answers, each the mean over the four symmetries as in service."""
    found = []
    for first in range(0, len(lessons), size):
        rows = np.arange(first, min(first + size, len(lessons)))
        inputs, _ = batch(lessons, rows, 0)
        turned = [network([symmetric(inputs[0], k), *inputs[1:]], training=False) for k in range(SYMMETRIES)]
        found.append(np.mean([np.asarray(each) for each in turned], axis=0))
    return np.concatenate(found)


def validation(network: Network, lessons: LessonSet, most: int = 5_000) -> dict[str, float]:
    """Accuracy of the number where all is declared rightly, and of the verdict, on the first patterns of a set."""
    some = lessons[:most]
    heads, targets = lesson_heads(network, some), some.targets()
    right = heads[:, : len(COUNTS)].argmax(axis=1) == targets[:, 0]
    judged = heads[:, len(COUNTS) : -1].argmax(axis=1) == targets[:, 1]
    return {"accuracy": float(right[some.fits].mean()), "verdict_accuracy": float(judged.mean())}


def _history(folder: Path, told: dict[str, Any]) -> list[dict[str, float]]:
    record = folder / "record.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not record.exists():
        return []
    kept = json.loads(record.read_text("utf-8"))
    if kept["args"] != told:
        raise ValueError("the folder holds a run of other arguments; name another folder, or remove it")
    return kept["epochs"]
