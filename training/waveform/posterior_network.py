"""The network that answers: from a pulse's features to the probability of one scatter and of each separation of two.

Cross-entropy over cells of separation makes the network's answer the posterior under the simulator's law, so its mean
has the least mean squared error, its median the least mean absolute error, and its quantiles cover as they say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from app.waveform.detector import Detector
from app.waveform.features import NUMBERS, SHAPE_BINS, features_from_pulses, find_pulses
from app.waveform.models import cell_edges_us
from training.waveform.mixed import random_simulation
from training.waveform.settings import SIMULATIONS
from training.waveform.simulate import BLOCK, Events, block_generator, simulate

SEPARATION_MAX_US: Final = 8.0
CELLS: Final = 320
"""Of 25 ns: the shortest drifts tell a separation to 20 ns, and no cell may be much wider than that."""
REFERENCE: Final = "reference"
RARE: Final = 1e-3
"""Share of the training set at either end of a feature that its range leaves out; beyond it the range's end is seen."""


@dataclass(frozen=True)
class PosteriorArgs:
    """One training run.

    Attributes:
        events: simulated waveforms; each is seen with and without its drift time.
        reference_share: share of the events from the reference detector; the others each from a detector drawn anew.
        two_share: share of the events with two scatters; weights make the answer one for equal shares.
        layers: units of the hidden layers.
        epochs, batch_size, learning_rate: of Adam with a cosine decay.
        seed: of the events, the start and the order.
    """

    events: int = 600_000
    reference_share: float = 0.35
    two_share: float = 0.6
    layers: tuple[int, ...] = (384, 256, 256)
    epochs: int = 12
    batch_size: int = 1024
    learning_rate: float = 2e-3
    seed: int = 1


@dataclass(frozen=True)
class Rows:
    """Features with their targets.

    Attributes:
        d_us: separation; nan for one scatter.
    """

    shape: Float[np.ndarray, "row bin"]
    numbers: Float[np.ndarray, "row feature"]
    d_us: Float[np.ndarray, "row"]

    @property
    def cell(self) -> Int[np.ndarray, "row"]:
        """0 for one scatter, else 1 + the cell of the separation."""
        edges = cell_edges_us(SEPARATION_MAX_US, CELLS)
        cells = np.searchsorted(edges[1:-1], self.d_us, side="right") + 1
        return np.where(np.isnan(self.d_us), 0, cells)


# --- data -------------------------------------------------------------------------------------------------------------


def rows_from_events(events: Events, detector: Detector) -> Rows:
    """Features of every event, first with and then without its drift time."""
    pulses = find_pulses(events.samples)
    seen = [features_from_pulses(pulses, detector, drift) for drift in (events.drift_time_us, None)]
    d_us = np.where(events.scatters == 2, events.d_us, np.nan)
    return Rows(
        np.concatenate([one.shape for one in seen]),
        np.concatenate([one.numbers for one in seen]),
        np.tile(d_us, len(seen)),
    )


def training_blocks(args: PosteriorArgs) -> Iterator[Rows]:
    """Simulate the training set in blocks; the same arguments give the same rows."""
    for block in range(-(-args.events // BLOCK)):
        rng = block_generator(args.seed, block)
        reference = rng.random() < args.reference_share
        settings = SIMULATIONS[REFERENCE] if reference else random_simulation(rng)
        yield rows_from_events(simulate(settings, BLOCK, rng, two_share=args.two_share), settings.detector)


def joined(blocks: Iterator[Rows]) -> Rows:
    """Join blocks."""
    held = list(blocks)
    return Rows(*(np.concatenate([getattr(rows, name) for rows in held]) for name in ("shape", "numbers", "d_us")))


# --- network ----------------------------------------------------------------------------------------------------------


def build(args: PosteriorArgs, numbers: Float[np.ndarray, "row feature"]) -> Any:
    """Build the network: shape and numbers joined, dense layers, a softmax over one scatter and the separations.

    Args:
        numbers: of the training set; their mean and spread become part of the network.
    """
    import keras

    shape = keras.Input((SHAPE_BINS,), name="shape")
    given = keras.Input((len(NUMBERS),), name="numbers")
    scale = keras.layers.Normalization(mean=numbers.mean(axis=0), variance=numbers.var(axis=0) + 1e-6)
    x = keras.layers.Concatenate()([keras.layers.Rescaling(0.3)(shape), scale(given)])
    for units in args.layers:
        x = keras.layers.Dense(units, activation="swish")(x)
    out = keras.layers.Dense(CELLS + 1, activation="softmax", name="probability")(x)
    return keras.Model([shape, given], {"probability": out})


@dataclass(frozen=True)
class PosteriorRecord:
    """What a training run leaves beside the weights.

    Attributes:
        lowest, highest: range of each feature in training, `NUMBERS` in order; see `RARE`.
        history: metric -> value after each epoch.
    """

    args: PosteriorArgs
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    history: dict[str, list[float]]


MODEL_FILE: Final = "model.keras"
RECORD_FILE: Final = "record.json"
DATA_FILE: Final = "rows.npz"


def _kept_rows(args: PosteriorArgs, file: Path) -> Rows:
    """Rows from an earlier run with the same arguments, else new ones."""
    made_for = json.dumps(asdict(args) | dict.fromkeys(("layers", "epochs", "batch_size", "learning_rate")))
    if file.is_file():
        with np.load(file) as kept:
            if str(kept["made_for"]) == made_for:
                return Rows(kept["shape"], kept["numbers"], kept["d_us"])
    blocks = tqdm(training_blocks(args), total=-(-args.events // BLOCK), unit="block", desc="simulate")
    rows = joined(iter(blocks))
    np.savez(file, shape=rows.shape, numbers=rows.numbers, d_us=rows.d_us, made_for=made_for)
    return rows


def _usable(rows: Rows) -> Rows:
    """Leave out what holds no pulse: the service asks nothing of it."""
    found = rows.shape.any(axis=1)
    return Rows(rows.shape[found], rows.numbers[found], rows.d_us[found])


def _ranges(numbers: Float[np.ndarray, "row feature"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Range of each feature but for one row in a thousand at either end: noise can throw a moment anywhere."""
    lowest, highest = np.quantile(numbers, [RARE, 1.0 - RARE], axis=0)
    return tuple(map(float, lowest)), tuple(map(float, highest))


def train(args: PosteriorArgs, folder: Path) -> tuple[Any, PosteriorRecord]:
    """Simulate, train, and write network and record into a folder.

    Rows and the network after each epoch are kept there: a run that was interrupted goes on where it stopped.
    """
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    rows = _usable(_kept_rows(args, folder / DATA_FILE))
    lowest, highest = _ranges(rows.numbers)
    numbers = np.clip(rows.numbers, lowest, highest).astype(np.float32)
    keras.utils.set_random_seed(args.seed)
    network = build(args, numbers)
    cell = rows.cell
    held = len(cell) // 20
    steps = -(-(len(cell) - held) // args.batch_size) * args.epochs
    rate: Any = keras.optimizers.schedules.CosineDecay(args.learning_rate, steps, alpha=0.005)
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=[])
    inputs = {"shape": rows.shape, "numbers": numbers}
    weight = np.where(cell == 0, args.two_share / (1.0 - args.two_share), 1.0).astype(np.float32)
    history = network.fit(
        {name: value[held:] for name, value in inputs.items()},
        cell[held:],
        sample_weight=weight[held:],
        validation_data=({name: value[:held] for name, value in inputs.items()}, cell[:held], weight[:held]),
        batch_size=args.batch_size,
        epochs=args.epochs,
        callbacks=[keras.callbacks.BackupAndRestore(folder / "backup")],
        verbose=2,
    ).history
    record = PosteriorRecord(args, lowest, highest, {k: [float(x) for x in v] for k, v in history.items()})
    network.save(folder / MODEL_FILE)
    (folder / RECORD_FILE).write_text(json.dumps(asdict(record), indent=1))
    return network, record
