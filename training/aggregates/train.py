"""Train a convolutional classifier: progress, loss and accuracy of each epoch, early stopping, resuming.

What an epoch draws (order, mirror images) depends on the seed and the epoch's number alone, and a checkpoint holds the
weights and the optimizer's state: an interrupted run goes on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int
from tqdm import tqdm

from app.aggregates.setting import COUNTS
from training.aggregates.args import TrainArgs
from training.aggregates.methods import Answer, Classifier, Question, Sample, answer_all, method_key
from training.aggregates.networks import NETWORKS, Network, architecture, build, pattern_input

CHECKPOINT: Final = "checkpoint.npz"
NETWORK_FILE: Final = "model.keras"
RECORD_FILE: Final = "record.json"
PREDICTED_AT_ONCE: Final = 500
PACKAGES: Final = ("keras", "numpy", "scikit-learn", "tensorflow", "tensorflow-cpu")
"""TensorFlow is installed under one of two names."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class History:
    """Loss (cross-entropy) and accuracy of each epoch; training values are means while the weights move."""

    loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()

    @property
    def epochs(self) -> int:
        return len(self.loss)

    @property
    def best(self) -> int:
        """Number of the epoch with the lowest validation loss, from 0."""
        return int(np.argmin(self.validation_loss))

    def stopped(self, args: TrainArgs) -> bool:
        """Tell whether training is over: all epochs done, or none better within the patience."""
        over = self.epochs >= args.epochs
        return over or (self.epochs > 0 and self.epochs - 1 - self.best >= args.patience)

    def line(self) -> str:
        """Write the last epoch in words."""
        return (
            f"epoch {self.epochs:3d}: train loss {self.loss[-1]:.4f} accuracy {self.accuracy[-1]:.4f}, "
            f"validation loss {self.validation_loss[-1]:.4f} accuracy {self.validation_accuracy[-1]:.4f}"
        )


@dataclass(frozen=True)
class Record:
    """What a run was and how it went; saved as ``record.json``.

    Attributes:
        args, seed: what it was told.
        images, validation_images: how many patterns there were.
        parameters: trainable weights of the network.
        history: each epoch.
        seconds: how long training took, all parts of an interrupted run together.
        versions: of the libraries.
    """

    args: TrainArgs
    seed: int
    images: int
    validation_images: int
    parameters: int
    history: History
    seconds: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Trained:
    """A trained network, ready to answer."""

    network: Network
    record: Record

    def predict_proba(self, question: Question) -> Answer:
        """Give the softmax of the network's logits; it never abstains."""
        radius = architecture(self.record.args.network).radius
        parts = [
            _softmax(np.asarray(self.network(_inputs(question[first : first + PREDICTED_AT_ONCE], radius))))
            for first in range(0, len(question), PREDICTED_AT_ONCE)
        ]
        return answer_all(np.concatenate(parts) if parts else np.empty((0, len(COUNTS))))


@dataclass
class _State:
    """A run under way."""

    network: Network
    history: History
    seconds: float
    best: list[np.ndarray] = field(default_factory=list)


def fit_network(
    train: Sample, validation: Sample, args: TrainArgs, seed: int, *, folder: Path | None = None, say: Say | None = None
) -> Trained:
    """Train a network, or go on where a checkpoint in `folder` stands.

    Args:
        train, validation: patterns to learn from, and to stop by.
        args: how.
        seed: of the first weights, the order and the mirror images.
        folder: gets a checkpoint after each epoch, and network and record at the end.
        say: gets a line for each epoch; with it a bar shows each epoch's batches.

    Raises:
        ValueError: an unknown network, or a checkpoint of a run with other arguments.
    """
    row = architecture(args.network)
    state = _start(args, seed, len(train))
    if folder is not None:
        _resume(state, folder, _identity(args, seed, train, validation))
    data = tuple(_inputs(s.question, row.radius) for s in (train, validation))
    labels = tuple(s.truth.number - COUNTS[0] for s in (train, validation))
    while not state.history.stopped(args):
        started = time.perf_counter()
        _epoch(state, data, labels, args, seed, bar=say is not None)
        state.seconds += time.perf_counter() - started
        if say is not None:
            say(state.history.line())
        if folder is not None:
            _checkpoint(state, folder, _identity(args, seed, train, validation))
    state.network.set_weights(state.best)
    trained = Trained(state.network, _record(state, args, seed, (len(train), len(validation))))
    if folder is not None:
        save(trained, folder)
    return trained


def _record(state: _State, args: TrainArgs, seed: int, images: tuple[int, int]) -> Record:
    return Record(
        args=args,
        seed=seed,
        images=images[0],
        validation_images=images[1],
        parameters=int(state.network.count_params()),
        history=state.history,
        seconds=state.seconds,
        versions=library_versions(),
    )


def _start(args: TrainArgs, seed: int, images: int) -> _State:
    import keras

    if images == 0:
        raise ValueError("there is no pattern to learn from")
    network = build(architecture(args.network), seed)
    optimizer = keras.optimizers.Adam(args.learning_rate)
    optimizer.build(network.trainable_variables)
    network.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return _State(network, History(), 0.0)


def _epoch(
    state: _State,
    data: tuple[list[np.ndarray], ...],
    labels: tuple[Int[np.ndarray, "image"], ...],
    args: TrainArgs,
    seed: int,
    *,
    bar: bool,
) -> None:
    rng = np.random.default_rng([seed, state.history.epochs])
    order = rng.permutation(len(labels[0]))
    batches = [order[first : first + args.batch_size] for first in range(0, len(order), args.batch_size)]
    seen, total = 0, np.zeros(2)
    shown = tqdm(batches, desc=f"epoch {state.history.epochs + 1}", unit="batch", leave=False, disable=not bar)
    for rows in shown:
        pattern, *others = (column[rows] for column in data[0])
        batch = [mirrored(pattern, rng) if args.augment else pattern, *others]
        found = state.network.train_on_batch(batch, labels[0][rows], return_dict=True)
        seen, total = seen + len(rows), total + len(rows) * np.array([found["loss"], found["accuracy"]])
        shown.set_postfix(loss=f"{total[0] / seen:.4f}", accuracy=f"{total[1] / seen:.4f}")
    checked = state.network.evaluate(data[1], labels[1], batch_size=PREDICTED_AT_ONCE, verbose=0, return_dict=True)
    state.history = _longer(state.history, (*(total / seen), checked["loss"], checked["accuracy"]))
    if state.history.best == state.history.epochs - 1:
        state.best = state.network.get_weights()


def _longer(history: History, values: tuple[float, ...]) -> History:
    return History(*((*old, float(value)) for old, value in zip(vars(history).values(), values, strict=True)))


def mirrored(
    patterns: Float32[np.ndarray, "image row col 1"], rng: np.random.Generator
) -> Float32[np.ndarray, "image row col 1"]:
    """Mirror and transpose each pattern at random, around the direct beam at (32, 32).

    The first column has no mate on the other side of the beam, so it becomes 0: not measured.
    """
    flip, transpose = rng.random((2, len(patterns))) < 0.5
    moved = patterns.copy()
    moved[flip, :, 1:] = patterns[flip, :, :0:-1]
    moved[flip, :, 0] = 0.0
    moved[transpose] = moved[transpose].swapaxes(1, 2)
    return moved


def _inputs(question: Question, radius: bool) -> list[np.ndarray]:
    columns = [pattern_input(question.counts, question.mask)]
    return [*columns, np.log(question.radius_px)[:, None].astype(np.float32)] if radius else columns


def _softmax(logits: Float32[np.ndarray, "image class"]) -> Float32[np.ndarray, "image class"]:
    odds = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


# --- on disk ----------------------------------------------------------------------------------------------------------


def _identity(args: TrainArgs, seed: int, train: Sample, validation: Sample) -> dict[str, Any]:
    """What must agree for a checkpoint to be taken up. More epochs or more patience are a longer run of the same."""
    told = {name: value for name, value in asdict(args).items() if name not in ("epochs", "patience")}
    sums = [float(s.truth.counts.sum(dtype=float)) for s in (train, validation)]
    return {**told, "seed": seed, "images": [len(train), len(validation)], "photons": sums}


def _checkpoint(state: _State, folder: Path, identity: dict[str, Any]) -> None:
    arrays = {
        **{f"weight{i}": w for i, w in enumerate(state.network.get_weights())},
        **{f"best{i}": w for i, w in enumerate(state.best)},
        **{f"optimizer{i}": np.asarray(v) for i, v in enumerate(state.network.optimizer.variables)},
    }
    said = json.dumps({"identity": identity, "history": asdict(state.history), "seconds": state.seconds})
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{CHECKPOINT}.part"
    with partial.open("wb") as stream:
        np.savez(stream, said=np.array(said), **arrays)
    partial.replace(folder / CHECKPOINT)


def _resume(state: _State, folder: Path, identity: dict[str, Any]) -> None:
    file = folder / CHECKPOINT
    if not file.exists():
        return
    with np.load(file) as stored:
        said = json.loads(str(stored["said"]))
        if said["identity"] != identity:
            raise ValueError(f"{folder.name} holds a run with other arguments or data: give another folder")
        count = len(state.network.get_weights())
        state.network.set_weights([stored[f"weight{i}"] for i in range(count)])
        state.best = [stored[f"best{i}"] for i in range(count)]
        for i, variable in enumerate(state.network.optimizer.variables):
            variable.assign(stored[f"optimizer{i}"])
    state.history = History(**{name: tuple(values) for name, values in said["history"].items()})
    state.seconds = said["seconds"]


def save(trained: Trained, folder: Path) -> None:
    """Write ``model.keras`` and ``record.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    trained.network.save(folder / NETWORK_FILE)
    (folder / RECORD_FILE).write_text(json.dumps(asdict(trained.record), indent=1), "utf-8")


def load(folder: Path) -> Trained:
    """Read what `save` wrote."""
    import keras

    said = json.loads((folder / RECORD_FILE).read_text("utf-8"))
    history = History(**{name: tuple(values) for name, values in said.pop("history").items()})
    record = Record(**{**said, "args": TrainArgs(**said["args"]), "history": history})
    return Trained(keras.saving.load_model(folder / NETWORK_FILE, compile=False), record)


def library_versions() -> dict[str, str]:
    """Give the versions of what a trained model depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class NetworkMethod:
    """A network of `NETWORKS` as a method.

    Attributes:
        args: how it is trained.
        runs: folder for checkpoints; None keeps nothing.
        say: gets a line for each epoch.
    """

    args: TrainArgs
    runs: Path | None = field(default=None, repr=False)
    say: Say | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"{self.args.network}-network"

    def fit(self, train: Sample, validation: Sample, seed: int) -> Classifier:
        """Train, or go on with a run of the same arguments on as many patterns."""
        folder = None
        if self.runs is not None:
            photons = float(train.truth.counts.sum(dtype=float)), float(validation.truth.counts.sum(dtype=float))
            digest = hashlib.sha256(repr(photons).encode()).hexdigest()[:8]
            what = f"{train.truth.particle}-{len(train)}-{digest}-seed{seed}"
            folder = self.runs / f"{method_key(self)}-{what}"
        return fit_network(train, validation, self.args, seed, folder=folder, say=self.say)


def network_methods(runs: Path | None = None, say: Say | None = None, **changes: Any) -> tuple[NetworkMethod, ...]:
    """Give every network of the table; `changes` are fields of `TrainArgs`."""
    return tuple(NetworkMethod(replace(TrainArgs(name), **changes), runs, say) for name in NETWORKS)
