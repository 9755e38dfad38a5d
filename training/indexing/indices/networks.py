"""Train index assignment networks: one for each lattice system and size of the cell's error.

The source's network (2.3.3): dense layers of 200, 200, 200 and 100 units with layer normalization, GELU and 25%
dropout, shared by all lines, and one softmax head for each line over the reference reflections and "none of these".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from app.errors import InvalidInput
from app.indexing.learned.indices import INPUT, OUTPUT, AssignmentNetwork, least_symmetric
from app.indexing.learned.plain_network import Hidden, PlainNetwork, plain_network
from training.indexing.indices.rows import (
    IndexRows,
    Scaling,
    labels,
    network_input,
    noisy,
    perturbed,
    scaling_of,
    system_references,
    with_foreign,
)


@dataclass(frozen=True)
class Level:
    """One size of error.

    Attributes:
        noise: of the constants, in standard deviations of the training set; None for cells that a model predicted.
        epsilon: of the closeness, in standard deviations of q^2 (the source's for monoclinic).
    """

    noise: float | None
    epsilon: float


LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {
        "predicted": Level(None, 0.01),
        "0.10": Level(0.10, 0.01),
        "0.05": Level(0.05, 0.0075),
        "0.025": Level(0.025, 0.01),
        "0.01": Level(0.01, 0.005),
    }
)
"""From the largest error to the smallest, the order of training."""


@dataclass(frozen=True)
class IndexArgs:
    """One training run of one lattice system. The network's and optimizer's defaults are the source's.

    Attributes:
        system: lattice system.
        layers: units of the hidden layers.
        dropout: share of units left out in training.
        learning_rate, batch_size: of Adam.
        epochs: passes over the training set for each level, every one with fresh errors of the cells.
        warm_start: each level goes on from the weights of the one before; the first has twice the epochs.
        sigma_deg: normal error of the lines in 2theta.
        foreign: mean number of impurity lines in a pattern.
        stand_in: noise level in the place of predicted cells, where no regression network is given.
        seed: of weights, order and errors.
    """

    system: str
    layers: tuple[int, ...] = (200, 200, 200, 100)
    dropout: float = 0.25
    learning_rate: float = 2e-3
    batch_size: int = 256
    epochs: int = 10
    warm_start: bool = True
    sigma_deg: float = 0.015
    foreign: float = 0.25
    stand_in: float = 0.3
    seed: int = 1


Predict = Callable[[IndexRows], Float[np.ndarray, "cell param"]]
"""Gives the metric terms of cells that a regression model predicts from the lines."""


@dataclass(frozen=True)
class Lesson:
    """What a network of one level learns from, or is asked about.

    Attributes:
        rows: patterns with their impurities.
        target: class of each line, shape (pattern, peak).
        design: of the reference reflections.
        scaling: of the training set.
        predicted: metric terms of each pattern's predicted cell, where the level has no noise.
    """

    args: IndexArgs
    level: Level
    rows: IndexRows
    target: Int[np.ndarray, "pattern peak"]
    design: Float[np.ndarray, "ref param"]
    scaling: Scaling
    predicted: Float[np.ndarray, "pattern param"] | None = None

    @property
    def epsilon(self) -> float:
        """Of the closeness, Angstrom^-2."""
        return self.level.epsilon * self.scaling.q2_inv_ang2

    def cells(self, chosen: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "cell param"]:
        """Give cells with errors of this level to some of the patterns."""
        if self.predicted is not None and self.level.noise is None:
            return self.predicted[chosen]
        noise = self.args.stand_in if self.level.noise is None else self.level.noise
        return perturbed(self.rows.constants[chosen], self.args.system, noise, self.scaling, rng)

    def seen(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Give the metric terms and the lines that the network is given, with fresh errors."""
        return self.cells(chosen, rng), noisy(self.rows.q2[chosen], self.args.sigma_deg, rng)


@dataclass(frozen=True)
class School:
    """All that the levels of one system share.

    Attributes:
        training, validation: patterns with impurities.
        hkl: reference reflections.
    """

    args: IndexArgs
    training: IndexRows
    validation: IndexRows
    hkl: Int[np.ndarray, "ref 3"]
    scaling: Scaling
    predict: Predict | None = None

    def lesson(self, level: str, *, validation: bool = False) -> Lesson:
        """Make the lesson of one level."""
        rows = self.validation if validation else self.training
        predicted = self.predict(rows) if self.predict and LEVELS[level].noise is None else None
        design = least_symmetric(self.args.system).design(self.hkl).astype(float)
        target = labels(rows, self.args.system, self.hkl)
        return Lesson(self.args, LEVELS[level], rows, target, design, self.scaling, predicted)


def make_school(args: IndexArgs, training: IndexRows, validation: IndexRows, predict: Predict | None = None) -> School:
    """Measure the training patterns, sort the references by them, add impurities.

    Raises:
        InvalidInput: there are no patterns.
    """
    if not len(training) or not len(validation):
        raise InvalidInput(f"Found {len(training)} training and {len(validation)} validation {args.system} patterns.")
    return School(
        args,
        spoilt(training, args),
        spoilt(validation, args),
        system_references(args.system, training),
        scaling_of(training, args.system),
        predict,
    )


def spoilt(rows: IndexRows, args: IndexArgs) -> IndexRows:
    """Add the impurities of a run to patterns."""
    return with_foreign(rows, args.foreign, np.random.default_rng([args.seed, len(rows)]))


# --- network ----------------------------------------------------------------------------------------------------------


def build(args: IndexArgs, n_peaks: int, n_ref: int) -> Any:
    """Build the network with fresh weights: input "closeness" (peak, ref), output "logits" (peak, ref + 1)."""
    import keras

    draws = keras.random.SeedGenerator(args.seed)
    given = keras.Input((n_peaks, n_ref), name=INPUT)
    x = given
    for units in args.layers:
        start: Any = keras.initializers.GlorotUniform(seed=draws)
        x = keras.layers.Dense(units, kernel_initializer=start)(x)
        x = keras.layers.LayerNormalization()(x)
        x = keras.layers.Activation("gelu")(x)
        x = keras.layers.Dropout(args.dropout, seed=args.seed)(x)
    head_start: Any = keras.initializers.RandomNormal(stddev=args.layers[-1] ** -0.5, seed=draws)
    heads = keras.layers.EinsumDense(
        "bpi,pio->bpo",
        output_shape=(n_peaks, n_ref + 1),
        bias_axes="po",
        kernel_initializer=head_start,
        name=OUTPUT,
    )
    return keras.Model(given, {OUTPUT: heads(x)}, name="indices")


def plain_from_keras(network: Any) -> PlainNetwork:
    """Take the weights of a built network over into the plain form."""
    layers = [layer for layer in network.layers if layer.weights]
    *hidden, heads = [[np.asarray(w, np.float32) for w in layer.get_weights()] for layer in layers]
    pairs = zip(hidden[::2], hidden[1::2], strict=True)
    return PlainNetwork(tuple(Hidden(kernel, bias, *norm) for (kernel, bias), norm in pairs), *heads)


def _batches(lesson: Lesson, seed: int, *, fresh: bool) -> Any:
    """Make a data set of one level: errors are drawn anew each epoch, or once and for all."""
    import keras

    class Batches(keras.utils.PyDataset):
        """Patterns in random order."""

        def __init__(self) -> None:
            super().__init__()
            self._epoch = 0
            self._order = np.arange(len(lesson.rows))
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(lesson.rows) // lesson.args.batch_size)

        def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
            size = lesson.args.batch_size
            chosen = self._order[index * size : (index + 1) * size]
            x, q2 = lesson.seen(chosen, np.random.default_rng([seed, self._epoch, index]))
            near = network_input(x, q2, lesson.design, lesson.epsilon)
            weight = lesson.rows.real[chosen].astype(np.float32)
            return near, {OUTPUT: lesson.target[chosen]}, {OUTPUT: weight}

        def on_epoch_end(self) -> None:
            if fresh:
                self._epoch += 1
                self._order = np.random.default_rng([seed, self._epoch]).permutation(len(lesson.rows))

    return Batches()


@dataclass(frozen=True)
class IndexRecord:
    """What the training of one level leaves beside the weights.

    Attributes:
        level: name of the level.
        patterns: in training and in validation.
        epsilon: of the closeness, Angstrom^-2.
        history: metric -> value after each epoch.
        cpu_seconds: of this process while it trained.
    """

    args: IndexArgs
    level: str
    patterns: tuple[int, int]
    epsilon: float
    scaling: Scaling
    history: dict[str, list[float]]
    cpu_seconds: float


def train_level(school: School, level: str, folder: Path, start: PlainNetwork | None) -> PlainNetwork:
    """Train the network of one level and write it; a finished one is read, an interrupted one goes on.

    Leaves `<level>.keras`, `<level>.npz` (plain weights and references) and `<level>.json` (the record).
    """
    import keras

    file = folder / f"{level}.npz"
    if file.is_file():
        return read_plain(file)[0]
    args, lesson = school.args, school.lesson(level)
    keras.utils.set_random_seed(args.seed)
    network = build(args, lesson.rows.q2.shape[1], len(school.hkl))
    if start is not None:
        _load(network, start)
    network.compile(
        keras.optimizers.Adam(args.learning_rate),
        {OUTPUT: keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        weighted_metrics={OUTPUT: [keras.metrics.SparseCategoricalAccuracy("accuracy")]},
        jit_compile=False,
    )
    began = time.process_time()
    asked = _batches(school.lesson(level, validation=True), args.seed + 1, fresh=False)
    history = network.fit(
        _batches(lesson, args.seed, fresh=True),
        validation_data=asked,
        epochs=args.epochs if start is not None else 2 * args.epochs,
        callbacks=[keras.callbacks.BackupAndRestore(folder / f"{level}-backup")],
        verbose=2,
    ).history
    record = IndexRecord(
        args,
        level,
        (len(school.training), len(school.validation)),
        lesson.epsilon,
        school.scaling,
        {name: [float(v) for v in values] for name, values in history.items()},
        time.process_time() - began,
    )
    network.save(folder / f"{level}.keras")
    (folder / f"{level}.json").write_text(json.dumps(asdict(record), indent=1))
    plain = plain_from_keras(network)
    write_plain(file, plain, school.hkl, level, lesson.epsilon)
    return plain


def _load(network: Any, start: PlainNetwork) -> None:
    weights: list[np.ndarray] = []
    for layer in start.hidden:
        weights += [layer.kernel, layer.bias, layer.gamma, layer.beta]
    network.set_weights([*weights, start.heads, start.head_bias])


def train(school: School, folder: Path, levels: tuple[str, ...] = tuple(LEVELS)) -> dict[str, PlainNetwork]:
    """Train the networks of these levels, one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, PlainNetwork] = {}
    start: PlainNetwork | None = None
    for level in levels:
        found[level] = train_level(school, level, folder, start)
        start = found[level] if school.args.warm_start else None
    return found


# --- files ------------------------------------------------------------------------------------------------------------


def write_plain(file: Path, network: PlainNetwork, hkl: np.ndarray, level: str, epsilon: float) -> None:
    """Write a network's plain form with what it needs to be asked."""
    partial = file.with_suffix(".part")
    with partial.open("wb") as stream:
        np.savez(stream, **network.arrays(), hkl=hkl, level=level, epsilon=epsilon, allow_pickle=False)
    partial.replace(file)


def read_plain(file: Path) -> tuple[PlainNetwork, np.ndarray, str, float]:
    """Read a network's plain form, its reference reflections, level and epsilon."""
    with np.load(file) as arrays:
        held = dict(arrays)
    return plain_network(held), held["hkl"], str(held["level"]), float(held["epsilon"])


def read_network(file: Path, system: str) -> AssignmentNetwork:
    """Read a run's network of one level, answered by its plain form."""
    plain, hkl, level, epsilon = read_plain(file)
    return AssignmentNetwork(system, level, hkl, epsilon, plain.heads.shape[0], plain)


def finished_levels(folder: Path) -> tuple[str, ...]:
    """Levels whose networks are in a run's folder."""
    return tuple(level for level in LEVELS if (folder / f"{level}.npz").is_file())


def read_school(folder: Path, training: IndexRows, validation: IndexRows) -> School:
    """Give the school of a run by its record and its patterns.

    Raises:
        InvalidInput: no level of the run is finished.
    """
    levels = finished_levels(folder)
    if not levels:
        raise InvalidInput("the run has no finished network: train it first")
    told = json.loads((folder / f"{levels[0]}.json").read_text())["args"]
    return make_school(IndexArgs(**{**told, "layers": tuple(told["layers"])}), training, validation)
