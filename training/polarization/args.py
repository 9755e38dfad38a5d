"""What a training run is told. Saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossArgs:
    """The loss of the D3 pipeline: NLL + stray penalty + over-estimation penalty.

    Attributes:
        stray_weight: B, weight of [log s^2 - log Var(mu)]^2, which keeps sigma near the spread of the predictions.
        overestimate_weight: C, weight of max(0, log s^2 - log Var(mu)), against buying a low loss with a large sigma.
        variance_floor: added to s^2 and to Var(mu), in scaled units, so that no logarithm is of zero.
    """

    stray_weight: float = 1e-2
    overestimate_weight: float = 5e-3
    variance_floor: float = 1e-6


@dataclass(frozen=True)
class DataArgs:
    """How experiments become rows.

    Attributes:
        augmentations: noisy copies made of each experiment besides itself, drawn from each measurement's sigma.
        cell_dropout: share of copies whose one-hot cell code is zeroed, so that an unknown cell is nothing new.
    """

    augmentations: int = 10
    cell_dropout: float = 0.15


@dataclass(frozen=True)
class TrainArgs:
    """One training run.

    Attributes:
        complexity: name of the architecture, a key of `networks.COMPLEXITIES`.
        data: how experiments become rows.
        loss: weights of the loss.
        epochs: passes over all rows.
        batch_size: rows in one step.
        learning_rate: of Adam.
    """

    complexity: str
    data: DataArgs = DataArgs()
    loss: LossArgs = LossArgs()
    epochs: int = 300
    batch_size: int = 32
    learning_rate: float = 1e-3
