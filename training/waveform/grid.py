"""The school's grid search as a command that may be interrupted: a finished trial is a file.

The grid has batch size, filters, filters of a second convolution, kernel and optimizer, all with early stopping. Trials
run in a random order, so that the first few of them already say something about the whole grid. They are ranked on the
validation part; the winner is measured by `evaluate`, on events that the search has not seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from app.model_registry.durable import replace_durably
from training.waveform.args import DataArgs, TrainArgs
from training.waveform.sets import training_set
from training.waveform.tables import markdown
from training.waveform.train import Record, train


@dataclass(frozen=True)
class GridArgs:
    """The axes of the grid, with the school's values, and what all trials share.

    Attributes:
        batch_sizes: waveforms in one step.
        filters: of the first convolution.
        second_filters: of the convolution behind the pooling; 0 is none.
        kernels: of both.
        optimizers: each with the learning rate that Keras takes for it.
        epochs, patience: at most so many, and after so many without a better validation loss no more.
        data: the events.
        seed: of weights, orders and the order of the trials.
    """

    batch_sizes: tuple[int, ...] = (4, 32, 128)
    filters: tuple[int, ...] = (16, 32, 64)
    second_filters: tuple[int, ...] = (16, 32)
    kernels: tuple[int, ...] = (3,)
    optimizers: tuple[str, ...] = ("adam", "SGD", "RMSprop")
    epochs: int = 10
    patience: int = 5
    data: DataArgs = field(default_factory=DataArgs)
    seed: int = 0


@dataclass(frozen=True)
class Trial:
    """A finished trial; figures are of the validation part at the epoch that was kept."""

    args: TrainArgs
    mse: float
    mae: float
    accuracy: float
    epochs: int
    parameters: int
    seconds: float
    history: dict[str, tuple[float, ...]]


def trials_of(args: GridArgs) -> list[TrainArgs]:
    """List all points of the grid, in the random order in which they run."""
    points = product(args.batch_sizes, args.filters, args.second_filters, args.kernels, args.optimizers)
    listed = [
        TrainArgs(
            network=f"source-{first}-{second}-{kernel}",
            batch_size=batch,
            optimizer=optimizer,
            learning_rate=None,
            epochs=args.epochs,
            patience=args.patience,
            seed=args.seed,
        )
        for batch, first, second, kernel, optimizer in points
    ]
    return [listed[i] for i in np.random.default_rng(args.seed).permutation(len(listed))]


def search(
    args: GridArgs, folder: Path, *, limit: int | None = None, budget_s: float | None = None, progress: bool = True
) -> list[Trial]:
    """Run the trials that are not finished yet and give all finished ones, the best first.

    Args:
        args: the grid.
        folder: where trials are kept, one file each.
        limit: run at most so many now.
        budget_s: start none after so many seconds.
        progress: show a bar.
    """
    listed = trials_of(args)
    waiting = [trial for trial in listed if not trial_file(folder, args.data, trial).exists()][:limit]
    started = time.monotonic()
    data = training_set(args.data, singles=False) if waiting else []
    bar = tqdm(waiting, unit="trial", total=len(listed), initial=len(listed) - len(waiting), disable=not progress)
    for trial in bar:
        if budget_s is not None and time.monotonic() - started > budget_s:
            break
        bar.set_postfix_str(f"{trial.network} batch {trial.batch_size} {trial.optimizer}")
        _write(trial_file(folder, args.data, trial), train(data, trial, progress=False).record)
    found = [trial_file(folder, args.data, trial) for trial in listed]
    return sorted((read_trial(file) for file in found if file.exists()), key=lambda trial: trial.mse)


def trial_file(folder: Path, data: DataArgs, trial: TrainArgs) -> Path:
    """Give a trial's file; its name changes with the events and everything that the trial is told."""
    digest = sha256(repr((data, trial)).encode()).hexdigest()[:10]
    return folder / f"{trial.network}-batch{trial.batch_size}-{trial.optimizer}-{digest}.json"


def _write(file: Path, record: Record) -> None:
    trial = Trial(
        args=record.args,
        mse=record.best("val_mse"),
        mae=record.best("val_mae"),
        accuracy=record.best("val_accuracy"),
        epochs=len(record.history["loss"]),
        parameters=record.parameters,
        seconds=record.seconds,
        history=record.history,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(file, json.dumps(asdict(trial), indent=1).encode())


def read_trial(file: Path) -> Trial:
    """Read a finished trial."""
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    args = {f.name: content["args"][f.name] for f in fields(TrainArgs)}
    history = {name: tuple(values) for name, values in content["history"].items()}
    return Trial(**{**content, "args": TrainArgs(**args), "history": history})


def ranking(trials: Sequence[Trial]) -> str:
    """Write finished trials as a Markdown table."""
    head = ["network", "batch", "optimizer", "MSE", "MAE", "accuracy", "epochs", "parameters", "s"]
    body = [
        [
            t.args.network,
            str(t.args.batch_size),
            t.args.optimizer,
            f"{t.mse:.2e}",
            f"{t.mae:.4f}",
            f"{t.accuracy:.3f}",
            str(t.epochs),
            f"{t.parameters:,}",
            f"{t.seconds:.0f}",
        ]
        for t in trials
    ]
    return markdown([head, *body])
