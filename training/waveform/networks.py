"""Networks that look at samples, as a table: `NETWORKS[name]` is an architecture, `build` makes it.

`source` is the network of the data science school in Coimbra, 2022. Names like `source-16-32-3` are points of its grid:
filters of the first convolution, filters of a second one behind the pooling, kernel of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float, Float32

from app.waveform.features import SAMPLES
from app.waveform.normalise import CENTRED_BINS, centred, min_max
from training.waveform.args import Task

Network = Any
"""A `keras.Model`; Keras is imported only where a network is made."""

View = Callable[[Float[np.ndarray, "wave sample"]], Float32[np.ndarray, "wave bin"]]
VIEWS: Final[Mapping[str, tuple[View, int]]] = MappingProxyType(
    {"min-max": (min_max, SAMPLES), "centred": (centred, CENTRED_BINS)}
)
"""What a network sees of a waveform, and how many numbers that are."""


@dataclass(frozen=True)
class Convolution:
    """One convolution with ReLU, and the maximum over `pool` neighbours after it."""

    filters: int
    kernel: int
    stride: int = 1
    pool: int = 1
    padding: Literal["valid", "same"] = "valid"


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        view: a key of `VIEWS`.
        convolutions: one after the other.
        hidden: units of the dense layers behind them, ReLU.
        spread: besides the separation, the logarithm of its variance is an output, and the likelihood is the loss;
            without, the output is a sigmoid and its mean squared error the loss.
    """

    view: str
    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...]
    spread: bool = False


def source(filters: int = 32, second: int = 0, kernel: int = 3) -> Architecture:
    """Give the school's network: Conv1D, MaxPool1D(16), perhaps a second Conv1D, Dense(100), sigmoid."""
    first = Convolution(filters, kernel, pool=16)
    return Architecture("min-max", (first, Convolution(second, kernel)) if second else (first,), (100,))


_STRIDED: Final = tuple(Convolution(filters, 7, stride=2, padding="same") for filters in (16, 32, 48, 64, 64))

NETWORKS: Final[Mapping[str, Architecture]] = MappingProxyType(
    {"source": source(), "strided": Architecture("centred", _STRIDED, (64,), spread=True)}
)
_GRID_NAME: Final = re.compile(r"source-(\d{1,4})-(\d{1,4})-(\d{1,3})")


def architecture(name: str) -> Architecture:
    """Look a name up.

    Raises:
        ValueError: no such name.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    found = _GRID_NAME.fullmatch(name)
    if not found or int(found[1]) == 0 or int(found[3]) == 0:
        known = ", ".join(NETWORKS)
        raise ValueError(f"no network {name!r}: give one of {known}, or source-FILTERS-SECOND-KERNEL")
    return source(*(int(group) for group in found.groups()))


def build(row: Architecture, task: Task, seed: int) -> Network:
    """Make a network with fresh weights.

    Input ``waveform`` (bin, 1). Output ``separation`` (1 column: d / 8 us; 2 columns where the row has a spread: mean
    and log variance) or ``two`` (1 column: probability of two scatters).
    """
    import keras

    draws = keras.random.SeedGenerator(seed)

    def drawn() -> Any:
        return keras.initializers.GlorotUniform(seed=draws)

    given = keras.Input((VIEWS[row.view][1], 1), name="waveform")
    x = given
    for layer in row.convolutions:
        x = keras.layers.Conv1D(
            layer.filters, layer.kernel, layer.stride, layer.padding, activation="relu", kernel_initializer=drawn()
        )(x)
        x = keras.layers.MaxPool1D(layer.pool)(x) if layer.pool > 1 else x
    x = keras.layers.Flatten()(x)
    for units in row.hidden:
        x = keras.layers.Dense(units, activation="relu", kernel_initializer=drawn())(x)
    if task == "scatters":
        out = keras.layers.Dense(1, activation="sigmoid", name="two", kernel_initializer=drawn())(x)
    elif row.spread:
        out = keras.layers.Dense(2, name="separation", kernel_initializer=drawn())(x)
    else:
        out = keras.layers.Dense(1, activation="sigmoid", name="separation", kernel_initializer=drawn())(x)
    return keras.Model(given, out, name=task)
