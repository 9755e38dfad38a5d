"""What a training run is told. Saved beside the weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataArgs:
    """What a network is trained on.

    Attributes:
        setting: what is simulated, a key of `settings.SIMULATIONS`.
        images: patterns to train on.
        validation_images: patterns that decide when to stop; of other seeds, never scored afterwards.
        seed: of the patterns.
    """

    setting: str
    images: int = 10_000
    validation_images: int = 2_000
    seed: int = 0


@dataclass(frozen=True)
class TrainArgs:
    """How a network is trained.

    Attributes:
        network: name of the architecture, a key of `networks.NETWORKS`.
        epochs: passes over all patterns at most.
        patience: epochs without a lower validation loss before training stops; the best weights are kept.
        batch_size: patterns in one step.
        learning_rate: of Adam.
        augment: mirror and transpose at random. |FFT|^2 is the same after 180 degrees (Friedel), so the eight
            symmetries of a square give four different patterns, and these two moves reach them all.
    """

    network: str
    epochs: int = 20
    patience: int = 5
    batch_size: int = 64
    learning_rate: float = 1e-3
    augment: bool = True
