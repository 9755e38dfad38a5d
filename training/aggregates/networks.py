"""Convolutional classifiers as a table: `NETWORKS[name]` is an architecture, `build` makes it.

All take ``pattern`` (64, 64, 1), the counts as `pattern_input` gives them, and answer five logits. Those told the
radius have a second input, ``log_radius`` (1).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float

from app.aggregates.setting import COUNTS, DETECTOR_PX

Network = Any
"""A `keras.Model`; Keras is imported only where a network is made."""


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        filters: of each 3 x 3 convolution with ReLU.
        pooled: halve the picture after each convolution by taking maxima; else by a step of 2 in the convolution.
        hidden: units of the dense layer with ReLU.
        radius: hand the radius to the dense layer.
    """

    filters: tuple[int, ...]
    pooled: bool
    hidden: int
    radius: bool = False


NETWORKS: Final = MappingProxyType[str, Architecture](
    {
        # The published two-convolution classifier: 1.05 million weights, nearly all between picture and dense layer.
        "source": Architecture((16, 32), pooled=True, hidden=128),
        "source-radius": Architecture((16, 32), pooled=True, hidden=128, radius=True),
        "strided": Architecture((16, 32, 64, 64), pooled=False, hidden=32),
        "strided-radius": Architecture((16, 32, 64, 64), pooled=False, hidden=32, radius=True),
    }
)


def architecture(name: str) -> Architecture:
    """Look a name up.

    Raises:
        ValueError: no such name; the message lists those there are.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    raise ValueError(f"no network {name!r}: give one of {', '.join(NETWORKS)}")


def build(row: Architecture, seed: int) -> Network:
    """Make a network with weights drawn from a seed; its output is five logits."""
    import keras

    seeds = iter(range(seed * 1000, seed * 1000 + 1000))

    def drawn() -> Any:
        return keras.initializers.GlorotUniform(seed=next(seeds))

    pattern = keras.Input((DETECTOR_PX, DETECTOR_PX, 1), name="pattern")
    x = pattern
    for filters in row.filters:
        strides = 1 if row.pooled else 2
        x = keras.layers.Conv2D(filters, 3, strides, "same", activation="relu", kernel_initializer=drawn())(x)
        x = keras.layers.MaxPooling2D()(x) if row.pooled else x
    x = keras.layers.Flatten()(x)
    inputs = [pattern]
    if row.radius:
        inputs.append(keras.Input((1,), name="log_radius"))
        x = keras.layers.Concatenate()([x, inputs[1]])
    x = keras.layers.Dense(row.hidden, "relu", kernel_initializer=drawn())(x)
    return keras.Model(
        inputs, keras.layers.Dense(len(COUNTS), kernel_initializer=drawn(), name="logits")(x), name="count"
    )


def pattern_input(
    counts: Float[np.ndarray, "image row col"], mask: Bool[np.ndarray, "image row col"]
) -> Float[np.ndarray, "image row col 1"]:
    """What the networks see of photon counts: log(1 + counts), 0 where nothing is measured (`mask` is False)."""
    return np.where(mask, np.log1p(np.maximum(counts, 0.0)), 0.0).astype(np.float32)[..., None]
