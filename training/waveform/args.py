"""What a training run of a waveform network is told. Saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["separation", "scatters"]
"""How far apart two scatters are, or whether there are two."""


@dataclass(frozen=True)
class DataArgs:
    """The simulated set a network learns from.

    Attributes:
        setting: name of a simulation, a key of `training.waveform.settings.SIMULATIONS`, or `mixed`: a detector drawn
            anew for each block of events.
        events: waveforms with two scatters; for the task `scatters`, as many again with one.
        seed: of the simulation.
    """

    setting: str = "reference"
    events: int = 16_000
    seed: int = 1


@dataclass(frozen=True)
class TrainArgs:
    """One training run. The defaults are the source's.

    Attributes:
        network: name of the architecture, a key of `networks.NETWORKS` or `source-{filters}-{second}-{kernel}`.
        task: what the output says.
        epochs: passes over the training set at most.
        batch_size: waveforms in one step.
        optimizer: adam, SGD or RMSprop.
        learning_rate: of the optimizer; None is what Keras takes for it (SGD 1e-2, else 1e-3).
        validation_share: of the training set, its last part; it decides when to stop and is never a test.
        patience: epochs without a better validation loss before training stops.
        min_delta: what counts as better. The source's 1e-3 is as large as the loss it reaches.
        seed: of weights and order.
    """

    network: str = "source"
    task: Task = "separation"
    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "RMSprop"
    learning_rate: float | None = 1e-3
    validation_share: float = 0.1
    patience: int = 5
    min_delta: float = 0.0
    seed: int = 0
