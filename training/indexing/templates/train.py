"""Train the network that scores low-order assignments; stops and goes on where it is started again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from jaxtyping import Float, Int

from app.indexing.learned.template_features import template_features
from app.indexing.learned.templates import INPUT, Pairs, pairs_of
from app.model_registry.runtime import Network
from training.indexing.templates.data import TemplateSet, measured
from training.indexing.templates.network import BETA, NetworkArgs, build, heads, loss_and_slope

MODEL_FILE, RECORD_FILE = "model.keras", "record.json"
_ALWAYS = 1000
"""First rows of a list that every sum over all rows has."""


PATTERNS: Mapping[str, int] = MappingProxyType(
    {"hR": 3000, "hP": 3000, "tI": 3000, "tP": 3000, "oF": 5000, "oI": 5000, "oC": 5000, "oP": 6000}
    | {"mC": 23_000, "mP": 24_000, "aP": 27_000}
)
"""Random patterns of each lattice; more where the list is long. Cubic lists have a thousand rows: none to choose."""


@dataclass(frozen=True)
class TrainArgs:
    """How the network is trained.

    Attributes:
        patterns: random patterns by lattice.
        epochs: times that each is seen, with other errors each time.
        batch: patterns in one step, all of one lattice.
        rows: rows that stand for all of a list.
        k: rows that are to be solved, see `loss_and_slope`.
        rate: largest learning rate; it falls to 0 as a cosine.
        seed: of patterns, weights and errors.
    """

    patterns: Mapping[str, int] = field(default_factory=lambda: PATTERNS)
    epochs: int = 6
    batch: int = 128
    rows: int = 8000
    k: float = 200.0
    rate: float = 2e-3
    seed: int = 1
    network: NetworkArgs = field(default_factory=NetworkArgs)


def train(sets: Mapping[str, TemplateSet], args: TrainArgs, out: Path, tell: Callable[[str], None]) -> keras.Model:
    """Train on the patterns of each lattice.

    Args:
        sets: patterns by lattice.
        args: see `TrainArgs`.
        out: folder of the run; the network lies there after each epoch.
        tell: takes a line of progress after each epoch.
    """
    keras.utils.set_random_seed(args.seed)
    model = build(tuple(sets), args.network)
    steps = args.epochs * sum(len(one) // args.batch for one in sets.values())
    rate: Any = keras.optimizers.schedules.CosineDecay(args.rate, steps)
    optimizer = keras.optimizers.Adam(rate)
    learner = Learner(model, optimizer, args)
    for epoch in range(args.epochs):
        rng = np.random.default_rng([args.seed, epoch])
        losses: dict[str, list[float]] = {symbol: [] for symbol in sets}
        for symbol, part in _batches(sets, args.batch, rng):
            losses[symbol].append(learner.step(symbol, part, rng))
        out.mkdir(parents=True, exist_ok=True)
        model.save(out / MODEL_FILE)
        mean = {symbol: round(float(np.mean(values)), 3) for symbol, values in losses.items()}
        (out / RECORD_FILE).write_text(json.dumps({"args": _plain(args), "epoch": epoch + 1, "loss": mean}))
        tell(f"epoch {epoch + 1}: " + " ".join(f"{symbol} {value:.3f}" for symbol, value in mean.items()))
    return model


def _plain(args: TrainArgs) -> dict[str, object]:
    return {**vars(args), "patterns": dict(args.patterns), "network": asdict(args.network)}


def _batches(sets: Mapping[str, TemplateSet], size: int, rng: np.random.Generator) -> Iterator[tuple[str, TemplateSet]]:
    """All lattices in turn, in random order."""
    parts = [
        (symbol, order[start : start + size])
        for symbol, one in sets.items()
        for order in (rng.permutation(len(one)),)
        for start in range(0, len(one) - size + 1, size)
    ]
    for place in rng.permutation(len(parts)):
        symbol, rows = parts[place]
        yield symbol, sets[symbol].part(rows)


class Learner:
    """One step of training; the loss is compiled code outside of the graph."""

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, args: TrainArgs) -> None:
        self.heads, self.optimizer, self.args = heads(model), optimizer, args
        optimizer.build(model.trainable_variables)
        self._all = model.trainable_variables

    def step(self, symbol: str, part: TemplateSet, rng: np.random.Generator) -> float:
        """Learn from some patterns of a lattice; give their mean loss."""
        features = tf.constant(template_features(*measured(part.q2, rng)))
        head = self.heads[symbol]
        tape: Any = tf.GradientTape()
        with tape:
            value = head(features, training=True)
        loss, slope = self.loss(pairs_of(symbol), value.numpy(), part, rng)
        known = max(int(np.count_nonzero(part.right[:, 0] >= 0)), 1)
        variables = head.trainable_variables
        gradient = tape.gradient(value, variables, output_gradients=tf.constant(slope / known))
        self.optimizer.apply_gradients(zip(gradient, variables, strict=True))
        return float(loss.sum() / known)

    def loss(
        self, pairs: Pairs, value: Float[np.ndarray, "pattern pair"], part: TemplateSet, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "pattern"], Float[np.ndarray, "pattern pair"]]:
        """Give the loss of each pattern and its slope."""
        some, weight = rows_for_all(pairs.rows.shape[1], self.args.rows, rng)
        loss, slope = np.empty(len(value), np.float32), np.empty(value.shape, np.float32)
        loss_and_slope(
            value, pairs.rows, pairs.prior, some, weight, part.right, part.quality,
            float(np.log(self.args.k)), BETA, loss, slope,
        )  # fmt: skip
        return loss, slope


def rows_for_all(
    n_rows: int, count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "some"], Float[np.ndarray, "some"]]:
    """Choose rows that stand for all: the first ones, and of the others every so many from a random start."""
    step = max(1, -(-(n_rows - _ALWAYS) // count))
    others = np.arange(_ALWAYS + int(rng.integers(step)), n_rows, step)
    some = np.concatenate((np.arange(min(_ALWAYS, n_rows)), others))
    weight = np.ones(len(some), np.float32)
    weight[_ALWAYS:] = (n_rows - _ALWAYS) / max(len(others), 1)
    return some, weight


def read_network(path: Path) -> tuple[Network, tuple[str, ...]]:
    """Read a trained network as the service runs it: arrays in, arrays out; and the lattices that it knows."""
    model: Any = keras.saving.load_model(path)

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = model(tf.constant(inputs[INPUT]))
        return {symbol: value.numpy() for symbol, value in values.items()}

    return run, tuple(model.output)
