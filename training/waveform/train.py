"""Train a network that looks at samples, and use it as a `Method`."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32
from tqdm import tqdm

from training.waveform.args import TrainArgs
from training.waveform.draft import installed_libraries
from training.waveform.methods import (
    Answer,
    Labelled,
    Predictor,
    Question,
    answer_from_normal,
    is_two,
    separations_us,
    two_only,
)
from training.waveform.networks import VIEWS, Network, architecture, build
from training.waveform.scores import UNIT_US
from training.waveform.sets import fingerprint

LOG_VARIANCE: Final = (-16.0, 4.0)
"""The logarithm of the variance is held in here in the loss: beyond lies overflow only."""
PREDICT_BATCH: Final = 256


@dataclass(frozen=True)
class Record:
    """What a run was and how it went; saved as ``record.json``.

    Attributes:
        args: what it was told.
        data_fingerprint: SHA-256 of the waveforms and separations.
        events: waveforms in training and in validation.
        parameters: numbers that were learned.
        history: metric -> value after each epoch; names that start with ``val_`` are of the validation part. Figures of
            the training part are means over the epoch, while the weights change.
        best_epoch: the epoch, from 1, whose weights were kept.
        seconds: how long it took.
        versions: of the libraries.
    """

    args: TrainArgs
    data_fingerprint: str
    events: tuple[int, int]
    parameters: int
    history: dict[str, tuple[float, ...]]
    best_epoch: int
    seconds: float
    versions: dict[str, str]

    def best(self, metric: str) -> float:
        """Give a metric at the epoch that was kept."""
        return self.history[metric][self.best_epoch - 1]


@dataclass(frozen=True)
class Trained:
    """A trained network and its record."""

    network: Network
    record: Record


def train(training: Sequence[Labelled], args: TrainArgs, *, progress: bool = True) -> Trained:
    """Train one network.

    For the task `separation` it learns from the events with two scatters, for `scatters` from all, mixed with their
    labels (0 for one scatter, 1 for two).

    Raises:
        ValueError: no such network, or only one kind of event for the task `scatters`.
    """
    import keras

    architecture(args.network)
    started = time.perf_counter()
    keras.utils.set_random_seed(args.seed)
    x, y = arrays(training, args)
    kept = len(y) - max(1, round(len(y) * args.validation_share))
    network = build(architecture(args.network), args.task, args.seed)
    _compile(network, args)
    stop = _early_stopping(args)
    history = network.fit(
        x[:kept],
        y[:kept],
        validation_data=(x[kept:], y[kept:]),
        batch_size=args.batch_size,
        epochs=args.epochs,
        callbacks=[stop, _progress_bar(args, disable=not progress)],
        verbose=0,
    ).history
    record = Record(
        args=args,
        data_fingerprint=fingerprint(list(training)),
        events=(kept, len(y) - kept),
        parameters=int(network.count_params()),
        history={name: tuple(float(v) for v in values) for name, values in history.items()},
        best_epoch=stop.best_epoch + 1,
        seconds=time.perf_counter() - started,
        versions={"python": platform.python_version(), **installed_libraries()},
    )
    return Trained(network, record)


def arrays(
    training: Sequence[Labelled], args: TrainArgs
) -> tuple[Float32[np.ndarray, "wave bin 1"], Float32[np.ndarray, "wave 1"]]:
    """Give inputs and targets, waveforms and targets in one random order. Targets have a column, as outputs have."""
    kept = two_only(training) if args.task == "separation" else list(training)
    y = separations_us(kept) / UNIT_US if args.task == "separation" else is_two(kept)
    if args.task == "scatters" and len(np.unique(y)) < 2:
        raise ValueError("events with one and with two scatters are needed to tell them apart")
    order = np.random.default_rng(args.seed).permutation(len(y))
    x = np.concatenate([_view(args.network, part.question.waveforms) for part in kept])
    return x[order][..., None], y[order].astype(np.float32)[:, None]


def _view(network: str, waveforms: Float[np.ndarray, "wave sample"]) -> Float32[np.ndarray, "wave bin"]:
    return VIEWS[architecture(network).view][0](waveforms)


def _compile(network: Network, args: TrainArgs) -> None:
    import keras

    optimizer: Any = keras.optimizers.get(args.optimizer)
    if args.learning_rate is not None:
        optimizer.learning_rate = args.learning_rate
    network.compile(optimizer, _loss(args), metrics=METRICS[args.task](), jit_compile=False)


def _early_stopping(args: TrainArgs) -> Any:
    import keras

    make: Any = keras.callbacks.EarlyStopping  # Keras' stubs want a whole number for min_delta
    return make(monitor="val_loss", patience=args.patience, min_delta=args.min_delta, restore_best_weights=True)


def _loss(args: TrainArgs) -> Any:
    if args.task == "scatters":
        return "binary_crossentropy"
    return negative_log_likelihood if architecture(args.network).spread else "mean_squared_error"


def negative_log_likelihood(target: Any, heads: Any) -> Any:
    """Give each row's negative logarithm of a normal density, without its constant (Keras tensors, ``batch 2``)."""
    from keras import ops

    log_variance: Any = ops.clip(heads[:, 1], *LOG_VARIANCE)
    return 0.5 * (log_variance + (target[:, 0] - heads[:, 0]) ** 2 * ops.exp(-log_variance))


def _separation_metrics() -> list[Any]:
    """Metrics of the first column, shape against equal shape: compared as (n,) with (n, 1), all meet all."""
    from keras import ops

    def mse(target: Any, heads: Any) -> Any:
        return (target[:, 0] - heads[:, 0]) ** 2

    def mae(target: Any, heads: Any) -> Any:
        return ops.abs(target[:, 0] - heads[:, 0])

    def accuracy(target: Any, heads: Any) -> Any:
        return ops.cast(ops.equal(ops.round(10 * target[:, 0]), ops.round(10 * heads[:, 0])), "float32")

    return [mse, mae, accuracy]


def _scatters_metrics() -> list[Any]:
    import keras

    return [keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")]


METRICS: Final = {"separation": _separation_metrics, "scatters": _scatters_metrics}


def _progress_bar(args: TrainArgs, *, disable: bool) -> Any:
    import keras

    class Bar(keras.callbacks.Callback):
        """One step for each epoch, with losses and accuracies."""

        def on_train_begin(self, logs: Any = None) -> None:
            self._bar = tqdm(total=args.epochs, unit="epoch", desc=args.network, disable=disable)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            shown = ("loss", "accuracy", "val_loss", "val_accuracy")
            self._bar.set_postfix({name: f"{logs[name]:.4g}" for name in shown if name in logs})
            self._bar.update()

        def on_train_end(self, logs: Any = None) -> None:
            self._bar.close()

    return Bar()


def save(trained: Trained, folder: Path) -> Path:
    """Write ``model.keras`` and ``record.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    trained.network.save(folder / "model.keras")
    (folder / "record.json").write_text(json.dumps(asdict(trained.record), indent=1), "utf-8")
    return folder


@dataclass(frozen=True)
class NetworkMethod:
    """A network of the table, trained when fitted.

    Attributes:
        args: the training run.
        progress: show a bar.
        keep: folder where the trained network and its record are left; None leaves nothing.
    """

    args: TrainArgs
    progress: bool = field(default=True, repr=False)
    keep: Path | None = field(default=None, repr=False)
    drift: bool = False
    learns: bool = True

    @property
    def name(self) -> str:
        return f"{self.args.network} network{' (classifier)' if self.args.task == 'scatters' else ''}"

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Train; weights and order come from the run's own seed."""
        trained = train(training, self.args, progress=self.progress)
        if self.keep is not None:
            save(trained, self.keep)
        return lambda question: answer(trained, question)


def answer(trained: Trained, question: Question) -> Answer:
    """Ask a trained network."""
    args = trained.record.args
    heads = _predicted(trained.network, args.network, question.waveforms)
    return _ANSWERS[args.task](heads)


def _predicted(
    network: Network, name: str, waveforms: Float32[np.ndarray, "wave sample"]
) -> Float[np.ndarray, "wave head"]:
    parts: Iterable[slice] = (slice(s, s + PREDICT_BATCH) for s in range(0, len(waveforms), PREDICT_BATCH))
    views = (_view(name, waveforms[part])[..., None] for part in parts)
    return np.concatenate([np.asarray(network(view, training=False), dtype=float) for view in views])


def _separation(heads: Float[np.ndarray, "wave head"]) -> Answer:
    mean_us = heads[:, 0] * UNIT_US
    if heads.shape[1] == 1:
        return Answer(mean_us)
    return answer_from_normal(mean_us, np.exp(np.clip(heads[:, 1], *LOG_VARIANCE) / 2) * UNIT_US)


def _scatters(heads: Float[np.ndarray, "wave head"]) -> Answer:
    return Answer(p_two=heads[:, 0])


_ANSWERS: Final = {"separation": _separation, "scatters": _scatters}
