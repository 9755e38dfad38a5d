"""Train a network of the D3 pipeline's kind, and use it as a `Method`."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from jaxtyping import Float

from app.polarization.correction import Anchor, Curve, slope_corrected
from app.polarization.experiment import Experiment, Query
from training.polarization.args import LossArgs, TrainArgs
from training.polarization.methods import Prediction, Predictor
from training.polarization.networks import Architecture, Network, architecture, build
from training.polarization.rows import Rows, Scalers, names_of, query_rows, scaled, training_rows
from training.polarization.splits import fingerprint

PADDED_TO = 1024
"""Rows are padded to a multiple of this, so that a compiled training step serves all folds."""
LARGEST_LOG_VARIANCE = 10.0
"""Log-variances are held below this in the loss: beyond it only overflow lies."""


@dataclass(frozen=True)
class Record:
    """What a run was and how it went; saved as ``record.json``.

    Attributes:
        args, seed: what it was told.
        features: the static input's feature list.
        data_fingerprint: SHA-256 of the experiments.
        experiments, rows: how many experiments and, with copies, training rows there were.
        loss_history: mean loss of each epoch.
        seconds: how long it took.
        versions: of the libraries.
    """

    args: TrainArgs
    seed: int
    features: tuple[str, ...]
    data_fingerprint: str
    experiments: int
    rows: int
    loss_history: tuple[float, ...]
    seconds: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Trained:
    """A trained network with what is needed to use it."""

    network: Network
    scalers: Scalers
    record: Record


def loss_terms(target: Any, heads: Any, args: LossArgs) -> Any:
    """Give each row's NLL + stray penalty + over-estimation penalty (TensorFlow tensors, shape ``batch``).

    Var(mu) is the variance of the batch's predicted means, with the square that the source's text leaves out and its
    code has. No gradient flows through it: it is a yardstick for sigma and must not pull the means apart. It still
    varies from batch to batch, by about sqrt(2/batch), which B and C make harmless.
    """
    import tensorflow as tf

    mean, log_variance = heads[:, 0], tf.minimum(heads[:, 1], LARGEST_LOG_VARIANCE)
    variance = tf.exp(log_variance) + args.variance_floor
    spread = tf.stop_gradient(tf.math.reduce_variance(mean)) + args.variance_floor
    log_ratio = tf.math.log(variance) - tf.math.log(spread)
    nll = 0.5 * (tf.math.log(variance) + (target - mean) ** 2 / variance)
    return nll + args.stray_weight * log_ratio**2 + args.overestimate_weight * tf.nn.relu(log_ratio)


@dataclass(frozen=True)
class _Engine:
    """A compiled training step; its network and optimizer are reset for every run."""

    network: Network
    optimizer: Any
    pristine: tuple[np.ndarray, ...]
    epoch: Any

    def reset(self, weights: list[np.ndarray]) -> None:
        self.network.set_weights(weights)
        for variable, value in zip(self.optimizer.variables, self.pristine, strict=True):
            variable.assign(value)


@lru_cache(maxsize=8)
def _engine(row: Architecture, features: int, loss: LossArgs, learning_rate: float) -> _Engine:
    """Compile one epoch: a loop over batches inside one XLA program, since a step of so small a network takes less
    time than Python needs to start it.
    """
    import keras
    import tensorflow as tf

    network = build(row, features, seed=0, mask_input=True)
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=True)
    def epoch(static: Any, times: Any, target: Any, batches: Any, masks: Any, steps: Any) -> Any:
        total = tf.constant(0.0)
        for step in tf.range(steps):
            rows = batches[step]
            inputs = [tf.gather(static, rows), tf.gather(times, rows)[:, None, None]]
            with tf.GradientTape() as tape:
                heads = network([*inputs, masks[step]] if row.dropout else inputs, training=True)
                value = tf.reduce_mean(loss_terms(tf.gather(target, rows), heads, loss))
                value = value + (tf.add_n(network.losses) if network.losses else 0.0)
            optimizer.apply(tape.gradient(value, network.trainable_variables), network.trainable_variables)
            total = total + value
        return total / tf.cast(steps, tf.float32)

    return _Engine(network, optimizer, tuple(v.numpy() for v in optimizer.variables), epoch)


def _padded(column: Float[np.ndarray, "sample ..."]) -> Float[np.ndarray, "padded ..."]:
    missing = -len(column) % PADDED_TO
    return np.pad(column.astype(np.float32), [(0, missing), *[(0, 0)] * (column.ndim - 1)])


def _batches(rows: int, batch_size: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Shuffle row numbers into full batches (the last one wraps round) and pad the list of batches."""
    steps = -(-rows // batch_size)
    order = np.resize(rng.permutation(rows), steps * batch_size).reshape(steps, batch_size)
    longest = -(-(rows + -rows % PADDED_TO) // batch_size)
    return np.pad(order, [(0, longest - steps), (0, 0)]).astype(np.int32), steps


def _masks(row: Architecture, shape: tuple[int, ...], rng: np.random.Generator) -> Float[np.ndarray, "step batch unit"]:
    """Draw inverted-dropout masks: 0, or 1/(1 - rate). Without dropout there is nothing to draw."""
    if not row.dropout:
        return np.ones((shape[0], 1, 1), np.float32)
    kept = rng.random((*shape, row.hidden[0]), np.float32) >= row.dropout
    return kept.astype(np.float32) / np.float32(1 - row.dropout)


def _run(rows: Rows, args: TrainArgs, seed: int, rng: np.random.Generator) -> tuple[Network, tuple[float, ...]]:
    import tensorflow as tf

    row = architecture(args.complexity)
    network = build(row, rows.static.shape[1], seed)
    engine = _engine(row, rows.static.shape[1], args.loss, args.learning_rate)
    engine.reset(network.get_weights())
    columns = [tf.constant(_padded(x)) for x in (rows.static, rows.time_s, rows.target)]
    history = []
    for _ in range(args.epochs):
        batches, steps = _batches(len(rows.target), args.batch_size, rng)
        masks = _masks(row, batches.shape, rng)
        history.append(float(engine.epoch(*columns, tf.constant(batches), tf.constant(masks), tf.constant(steps))))
    network.set_weights(engine.network.get_weights())
    return network, tuple(history)


def train(experiments: Sequence[Experiment], args: TrainArgs, seed: int) -> Trained:
    """Train one network on these experiments, all of one material.

    The seed draws the copies, the initial weights, the batches and the dropout.

    Raises:
        ValueError: an unknown complexity, or no point between anchors.
    """
    architecture(args.complexity)
    if not any(len(e.time_s) > 2 for e in experiments):
        raise ValueError("no experiment has a point between its first and its last: there is nothing to learn from")
    started, rng = time.perf_counter(), np.random.default_rng(seed)
    names = names_of(experiments)
    rows, scalers = training_rows(experiments, names, args.data, rng)
    network, history = _run(scaled(rows, scalers), args, seed, rng)
    record = Record(
        args=args,
        seed=seed,
        features=names,
        data_fingerprint=fingerprint(experiments),
        experiments=len(experiments),
        rows=len(rows.target),
        loss_history=history,
        seconds=time.perf_counter() - started,
        versions=library_versions(),
    )
    return Trained(network, scalers, record)


def library_versions() -> dict[str, str]:
    """Give the versions of what a trained model depends on."""
    packages = ("keras", "numpy", "scikit-learn", "tensorflow")
    installed = {p: version("tensorflow-cpu" if p == "tensorflow" and _cpu_only() else p) for p in packages}
    return {"python": platform.python_version(), **installed}


def _cpu_only() -> bool:
    from importlib.util import find_spec

    try:
        return find_spec("tensorflow") is not None and bool(version("tensorflow-cpu"))
    except ModuleNotFoundError:
        return False


def raw_curve(trained: Trained, query: Query) -> tuple[Curve, tuple[float, float]]:
    """Predict without correction: the curve at the query's times, and the means at both anchors' times."""
    rows = scaled(query_rows(query, trained.record.features), trained.scalers)
    heads = np.asarray(trained.network([rows.static.astype(np.float32), rows.time_s.astype(np.float32)[:, None, None]]))
    mean = trained.scalers.target.inverse_transform(heads[:, :1].astype(float))[:, 0]
    sigma = np.exp(heads[:, 1].astype(float) / 2) / trained.scalers.target.scale_[0]
    return Curve(mean[:-2], sigma[:-2]), (float(mean[-2]), float(mean[-1]))


@dataclass(frozen=True)
class NetworkMethod:
    """A network of the D3 pipeline, trained for each fold and slope-corrected.

    Attributes:
        args: the training run.
        corrected: subtract the line through the anchors; without, what the network itself says.
    """

    args: TrainArgs
    corrected: bool = True

    @property
    def name(self) -> str:
        return f"{self.args.complexity}_{self.args.data.augmentations}{'' if self.corrected else '-raw'}"

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        """Train on these experiments."""
        trained = train(experiments, self.args, seed)

        def predict(query: Query) -> Prediction:
            model, (at_initial, at_final) = raw_curve(trained, query)
            if not self.corrected:
                return Prediction(model.mean, model.sigma)
            found = slope_corrected(
                query.time_s, model, Anchor(query.initial, at_initial), Anchor(query.final, at_final)
            )
            return Prediction(found.mean, found.sigma)

        return predict


def save(trained: Trained, folder: Path) -> Path:
    """Write a run in the layout that D3's notebooks leave, plus ``record.json``.

    ``Model_{Complexity}_{n}/`` with ``Model_….keras``, ``scaler_static_PolarizationD3.pkl``, ``scaler_time_…`` and
    ``scaler_y_…``: the registry imports such a folder.
    """
    args = trained.record.args
    name = f"Model_{args.complexity}_{args.data.augmentations}"
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    trained.network.save(target / f"{name}.keras")
    scalers = {"static": trained.scalers.static, "time": trained.scalers.time, "y": trained.scalers.target}
    for what, scaler in scalers.items():
        joblib.dump(scaler, target / f"scaler_{what}_PolarizationD3.pkl")
    (target / "record.json").write_text(json.dumps(asdict(trained.record), indent=1), "utf-8")
    return target
